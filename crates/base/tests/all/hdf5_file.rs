//! HDF5 files written by h5py are read as they were written, and wrong ones are refused in one line.
#![allow(clippy::unwrap_used)] // in helpers, too

use proptest::prelude::*;
use smalti_base::hdf5_file::load_crops;
use smalti_testkit::measured;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hdf5").join(name)
}

/// Image `k` of the golden files.
fn image(k: i64, h: i64, w: i64) -> Tensor {
    let index = |n: i64| Tensor::arange(n, tch::kind::FLOAT_CPU);
    (index(h).unsqueeze(1) * 7.0 + index(w) * 3.0 + k as f64) / 64.0
}

fn images(ks: std::ops::Range<i64>, h: i64, w: i64) -> Tensor {
    Tensor::stack(&ks.map(|k| image(k, h, w)).collect::<Vec<_>>(), 0).unsqueeze(1)
}

#[test]
fn crops_come_in_the_order_of_their_numbers() {
    let crops = load_crops(&golden("crops.h5"), None).unwrap();
    assert_eq!((crops.size(), crops.kind()), (vec![4, 1, 5, 6], Kind::Float));
    assert!(crops.equal(&images(0..4, 5, 6)));
    assert!(load_crops(&golden("crops.h5"), Some("2")).unwrap().equal(&images(1..3, 5, 6)));
}

#[test]
fn pairs_are_read_by_their_names() {
    let path = golden("pairs.h5");
    assert!(load_crops(&path, Some("gt")).unwrap().equal(&images(0..2, 10, 12)));
    assert!(load_crops(&path, Some("obs")).unwrap().equal(&images(0..2, 5, 6)));
}

#[test]
fn every_kind_of_values_is_read() {
    let path = golden("pairs.h5");
    for name in ["f8", "gzip"] {
        assert!(load_crops(&path, Some(name)).unwrap().equal(&images(0..2, 5, 6)), "{name}");
    }
    let integers = [("u1", 255.0), ("i1", 127.0), ("u2", 65535.0), ("i2", 32767.0), ("i4", 2e9), ("u4", 4e9)];
    for (name, largest) in integers {
        let read = load_crops(&path, Some(name)).unwrap();
        let error = (read - images(0..2, 5, 6)).abs().max().double_value(&[]);
        assert!(error <= 0.5 / largest + 1e-7, "{name}: {error}");
    }
}

fn refused(path: &Path, name: Option<&str>) -> String {
    let line = load_crops(path, name).unwrap_err().to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    line
}

#[test]
fn wrong_datasets_are_refused_by_name() {
    let path = golden("refused.h5");
    for (name, part) in [
        ("volume", "dataset volume: expected [H, W], [N, H, W] or [N, 1, H, W], got [1, 1, 2, 3, 4]"),
        ("colour", "got [1, 3, 4, 4]"),
        ("empty", "at least one pixel"),
        ("text", "expected float32"),
        ("i8", "integers of 8 to 32 bits"),
        ("hole", "got NaN at row 2, column 5"),
        ("sizes", "dataset g1/sizes: expected images of [5, 6] as in g0/sizes, got [5, 7]"),
        ("obs", "has no dataset \"obs\""),
    ] {
        let line = refused(&path, Some(name));
        assert!(line.contains(part), "{name}: {line}");
    }
    assert!(refused(&golden("pairs.h5"), None).contains("no dataset in its root group"));
}

#[test]
fn files_that_are_cut_off_or_no_hdf5_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.h5");
    for (name, dataset) in [("crops.h5", None), ("pairs.h5", Some("gt")), ("pairs.h5", Some("gzip"))] {
        let whole = std::fs::read(golden(name)).unwrap();
        let tenths = (0..10).map(|k| k * whole.len() / 10);
        for length in tenths.chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            match load_crops(&path, dataset) {
                Err(error) => assert!(error.to_string().contains("damaged, or no HDF5 file"), "{error}"),
                // Bytes at the end may belong to no dataset that was asked for.
                Ok(read) => assert!(read.equal(&load_crops(&golden(name), dataset).unwrap())),
            }
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(load_crops(&path, dataset).is_err(), "{name}: half of a file was read");
    }
    std::fs::write(&path, b"\x89PNG no HDF5").unwrap();
    assert!(refused(&path, None).contains("invalid HDF5 magic"));
    assert!(refused(&folder.path().join("none.h5"), None).contains("check the path"));
}

const DATASETS: [(&str, Option<&str>); 4] =
    [("crops.h5", None), ("pairs.h5", Some("gt")), ("pairs.h5", Some("gzip")), ("pairs.h5", Some("u2"))];

/// Finite images of one size, or one line that says what to do.
fn read_or_refused(bytes: &[u8], dataset: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.h5");
    std::fs::write(&path, bytes).unwrap();
    match load_crops(&path, dataset) {
        Ok(read) => {
            assert!(matches!(read.size()[..], [n, 1, h, w] if n * h * w > 0), "{:?}", read.size());
            assert_eq!(read.isfinite().all().int64_value(&[]), 1);
        }
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_are_read_or_refused(
        (file, dataset) in prop::sample::select(&DATASETS[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = std::fs::read(golden(file)).unwrap();
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        read_or_refused(&bytes, dataset);
    }

    /// Another number wherever a size of a dataset may stand.
    #[test]
    fn other_shapes_are_read_or_refused(
        (file, dataset) in prop::sample::select(&DATASETS[..]),
        place in any::<prop::sample::Index>(),
        size in prop_oneof![0u64..20, any::<u64>(), Just(u64::MAX), Just(1 << 40)],
    ) {
        let mut bytes = std::fs::read(golden(file)).unwrap();
        let sizes: Vec<usize> = (0..bytes.len() - 8)
            .filter(|&k| matches!(bytes[k..k + 8], [2 | 5 | 6 | 10 | 12, 0, 0, 0, 0, 0, 0, 0]))
            .collect();
        let at = sizes[place.index(sizes.len())];
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        read_or_refused(&bytes, dataset);
    }
}

/// Without data: the tests of the golden files.
#[test]
fn the_published_crops() {
    let Some(data) = measured(&["wppnets/training_img"]) else { return };
    let folder = data.join("wppnets/training_img");
    for (name, n, size) in [
        ("SiC_x4", 1080, 25),
        ("SiC_x6", 750, 20),
        ("SiC_x8", 270, 20),
        ("FS", 1080, 25),
        ("grass", 1200, 25),
    ] {
        let crops = load_crops(&folder.join(format!("train_{name}.h5")), None).unwrap();
        assert_eq!(crops.size(), [n, 1, size, size], "{name}");
        let obs = load_crops(&folder.join(format!("val_{name}.h5")), Some("obs")).unwrap();
        let truth = load_crops(&folder.join(format!("val_{name}.h5")), Some("gt")).unwrap();
        assert_eq!((obs.size()[0], truth.size()), (2, vec![2, 1, 600, 600]), "{name}");
    }
}
