//! HDF5 files as other people have them: read as they were written, or refused in a line that says what they use.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::ValueRange;
use smalti_base::hdf5_file::{load_crops, load_crops_in};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/other_hdf5").join(name)
}

/// Images `from..to` of the golden files.
fn images(from: i64, to: i64) -> Tensor {
    let index = |n: i64| Tensor::arange(n, tch::kind::FLOAT_CPU);
    let image = |k: i64| (index(8).unsqueeze(1) * 7.0 + index(6) * 3.0 + k as f64) / 64.0;
    Tensor::stack(&(from..to).map(image).collect::<Vec<_>>(), 0).unsqueeze(1)
}

fn refused(file: &str, name: Option<&str>) -> String {
    let line = load_crops(&golden(file), name).expect_err("was read").to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    assert!(!line.contains("download it again"), "nothing is damaged: {line}");
    line
}

#[test]
fn filters_types_and_layouts_are_read() {
    for name in ["shuffle", "lz4", "big_endian", "growing"] {
        assert!(load_crops(&golden("read.h5"), Some(name)).unwrap().equal(&images(0, 4)), "{name}");
    }
    for name in ["compact", "soft"] {
        assert!(load_crops(&golden("read.h5"), Some(name)).unwrap().equal(&images(0, 1)), "{name}");
    }
    for name in ["scaleoffset", "szip"] {
        let read = load_crops(&golden("read.h5"), Some(name)).unwrap() * 65535.0 / 64.0;
        assert!((read - images(0, 4)).abs().max().double_value(&[]) < 1e-5, "{name}");
    }
}

#[test]
fn filters_that_are_not_read_are_named_with_the_remedy() {
    for (name, filter) in [
        ("lzf", "LZF (filter id 32000)"),
        ("blosc", "Blosc (filter id 32001)"),
        ("blosc2", "Blosc2 (filter id 32026)"),
        ("bitshuffle", "bitshuffle (filter id 32008)"),
        ("zstd", "Zstandard (filter id 32015)"),
    ] {
        let line = refused("refused.h5", Some(name));
        let said = format!("dataset {name}: is compressed by {filter}, a filter of HDF5 that is not read; ");
        assert!(line.contains(&said) && line.ends_with("h5repack -f GZIP=4 FILE NEW_FILE"), "{line}");
    }
}

#[test]
fn layouts_and_types_that_are_no_grey_images_are_named() {
    for (name, part) in [
        (
            "hwc",
            "dataset hwc: [9, 8, 3] looks like [H, W, C] with 3 channels last; expected [H, W], [N, H, W] or",
        ),
        ("hw1", "with 1 channels last"),
        ("nhwc", "[2, 9, 8, 3] looks like [H, W, C] with 3 channels last"),
        ("scalar", "expected [H, W], [N, H, W] or [N, 1, H, W], got []"),
        ("compound", "got the type Compound"),
        ("complex", "got the type Compound"),
        ("bool", "got the type Enum"),
        ("half", "got float16"),
        ("text", "expected [H, W]"),
        ("ragged", "got the type VarLen"),
        ("empty_space", "expected"),
        (
            "sparse",
            "dataset sparse: 1048576 images of 32768 x 32768 pixels, 4503599627370496 bytes, which is more than the file",
        ),
        ("holes", "got NaN at row 0, column 0 (10 that are not)"),
    ] {
        let line = refused_any(name);
        assert!(line.contains(part), "{name}: {line}");
    }
}

#[test]
fn a_virtual_dataset_is_named() {
    let line = refused("virtual.h5", Some("virtual"));
    assert!(
        line.contains("holds a virtual dataset, which is not read; give the files that it is made of"),
        "{line}"
    );
}

fn refused_any(name: &str) -> String {
    let line = load_crops(&golden("refused.h5"), Some(name)).expect_err("was read").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn links_to_other_files_are_followed_or_named() {
    assert!(load_crops(&golden("links.h5"), None).unwrap().equal(&images(0, 2)));
    assert!(load_crops(&golden("external_data.h5"), None).unwrap().equal(&images(2, 3)));
    let line = refused("links_missing.h5", None);
    assert!(
        line.contains("an external link leads to nowhere.h5, which is not there; put that file into"),
        "{line}"
    );
    let line = refused("links_absolute.h5", None);
    assert!(line.contains("an external link leads to /nowhere/read.h5: "), "{line}");
}

#[test]
fn the_range_of_values_is_what_is_asked_for() {
    let path = golden("read.h5");
    let range = |range| load_crops_in(&path, Some("camera"), range).unwrap();
    let by_type = range(ValueRange::ByType);
    assert!(by_type.max().double_value(&[]) < 0.0625, "12 bits in 16 are dark");
    let given = range(ValueRange::given(0.0, 4095.0).unwrap());
    assert_eq!((given.max().double_value(&[]), given.kind()), (1.0, Kind::Float));
    assert!((given - by_type * (65535.0 / 4095.0)).abs().max().double_value(&[]) < 1e-6);
    assert_eq!(range(ValueRange::ByData).min().double_value(&[]), 0.0);
}
