//! Archives of numpy and PyTorch as other people have them, and such as announce more than they hold.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::{npz_file, pytorch_file};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/other_arrays").join(name)
}

fn array() -> Tensor {
    Tensor::arange(15, tch::kind::FLOAT_CPU).view([3, 5]) / 8.0
}

#[test]
fn floats_are_read_whatever_their_order_and_the_rest_is_left_out() {
    let arrays = npz_file::load(&golden("kinds.npz")).unwrap();
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["big_endian", "empty", "fortran", "plain", "scalar"]);
    for name in ["plain", "fortran", "big_endian"] {
        let read = &arrays[name];
        assert!(read.is_contiguous() && read.to_kind(Kind::Float).equal(&array()), "{name}");
    }
    assert_eq!((arrays["scalar"].size(), arrays["scalar"].double_value(&[])), (vec![], 0.5));
    assert_eq!(arrays["empty"].size(), [0, 5]);
    assert_eq!(npz_file::load(&golden("deflated.npz")).unwrap()["a"].size(), [100_000]);
}

#[test]
fn archives_that_announce_more_than_they_hold_are_refused() {
    for (name, part) in [
        (
            "refused_shape.npz",
            "announces array a of shape [1099511627776], 4398046511104 bytes, which is more",
        ),
        (
            "refused_overflow.npz",
            "a number of bytes that cannot be counted, which is more than the file can hold",
        ),
        ("refused_long_head.npz", "has a head of 4294967280 bytes, more than 10000"),
        ("refused_deep_head.npz", "has a head of 4001 brackets in each other"),
        ("refused_short.npz", "is not a readable .npz file"),
        (
            "refused_expanded.pth",
            "announces tensor a of shape [2147483648, 1], 8589934592 bytes, which is more",
        ),
        (
            "refused_storage.pth",
            "announces tensor a of shape [1048576, 256], 1073741824 bytes, which is more",
        ),
    ] {
        let path = golden(name);
        let loaded =
            if name.ends_with("npz") { npz_file::load(&path) } else { pytorch_file::load_state_dict(&path) };
        let line = loaded.expect_err(name).to_string();
        assert!(line.lines().count() == 1 && line.contains(part), "{name}: {line}");
    }
}

#[test]
fn state_dicts_are_read_whatever_their_strides() {
    let read = |name: &str| pytorch_file::load_state_dict(&golden(name)).unwrap().remove("a").unwrap();
    assert!(read("plain.pth").equal(&array()));
    assert!(read("transposed.pth").equal(&array().transpose(0, 1)));
}
