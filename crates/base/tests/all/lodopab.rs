//! Files of the layout of LoDoPaB-CT, written by h5py, are read slice by slice; wrong ones are refused in one line.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::lodopab::{Content, Pairs, Part, Slices};
use std::path::{Path, PathBuf};
use tch::Tensor;

const IMAGE: [i64; 2] = [16, 16];
const DATA: [i64; 2] = [12, 9];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lodopab")
}

/// Slice `k` of the golden files.
fn slice(k: usize, [h, w]: [i64; 2]) -> Tensor {
    let index = |n: i64| Tensor::arange(n, tch::kind::FLOAT_CPU);
    ((index(h).unsqueeze(1) * 7.0 + index(w) * 3.0 + k as f64) / 1024.0).reshape([1, 1, h, w])
}

fn refused(folder: &Path, content: Content, size: [i64; 2]) -> String {
    let mut slices = match Slices::open(folder, content, Part::Train, size) {
        Ok(slices) => slices,
        Err(error) => return one_line(error),
    };
    one_line((0..slices.len()).find_map(|k| slices.read(k).err()).unwrap())
}

fn one_line(error: smalti_base::Error) -> String {
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    line
}

#[test]
fn pairs_come_in_order_over_all_files_and_layouts() {
    let mut pairs = Pairs::with_sizes(&golden(), Part::Train, [IMAGE, DATA]).unwrap();
    assert_eq!(pairs.len(), 5);
    for k in [0, 1, 2, 3, 4, 0, 4, 2] {
        let (image, observation) = pairs.read(k).unwrap();
        assert_eq!(image, slice(k, IMAGE), "image {k}");
        assert_eq!(observation, slice(100 + k, DATA), "observation {k}");
    }
    let line = pairs.read(5).unwrap_err().to_string();
    assert!(line.contains("below 5") && line.contains("got 5"), "{line}");
    let mut contiguous = Pairs::with_sizes(&golden(), Part::Validation, [IMAGE, DATA]).unwrap();
    assert_eq!(contiguous.read(1).unwrap(), (slice(1, IMAGE), slice(101, DATA)));
    assert_eq!(contiguous.len(), 2);
    // Ground truths alone: the last file as long as it is.
    assert_eq!(Slices::open(&golden(), Content::GroundTruth, Part::Train, IMAGE).unwrap().len(), 6);
}

#[test]
fn wrong_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ground_truth_train_000.hdf5");
    for (name, part) in [
        ("named", "has no dataset \"data\""),
        ("narrow", "expected [N, 16, 16] with N > 0, got [1, 16, 15]"),
        ("flat", "got [16, 16]"),
        ("empty", "got [0, 16, 16]"),
        ("double", "expected float32"),
        ("hole", "slice 1 has NaN at row 3, column 4"),
    ] {
        std::fs::copy(golden().join(format!("refused/{name}.hdf5")), &path).unwrap();
        let line = refused(folder.path(), Content::GroundTruth, IMAGE);
        assert!(line.contains(part) && line.contains("ground_truth_train_000"), "{name}: {line}");
    }
    std::fs::write(&path, b"no HDF5").unwrap();
    assert!(refused(folder.path(), Content::GroundTruth, IMAGE).contains("no HDF5 file"));
    let published = Content::GroundTruth.published_size();
    assert!(refused(&golden(), Content::GroundTruth, published).contains("expected [N, 362, 362]"));
    assert!(Pairs::open(&golden(), Part::Train).is_err());
    let none = refused(&folder.path().join("none"), Content::Observation, DATA);
    assert!(none.contains("observation_train_000.hdf5") && none.contains("check the path"), "{none}");
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, size) in [
        ("ground_truth_train_000", Content::GroundTruth, IMAGE),
        ("observation_train_000", Content::Observation, DATA),
        ("observation_train_001", Content::Observation, DATA),
        ("ground_truth_validation_000", Content::GroundTruth, IMAGE),
    ] {
        let whole = std::fs::read(golden().join(format!("{name}.hdf5"))).unwrap();
        let first = match content {
            Content::GroundTruth => "ground_truth_train_000.hdf5",
            Content::Observation => "observation_train_000.hdf5",
        };
        for length in (0..20).map(|k| k * whole.len() / 20).chain([whole.len() - 1]) {
            std::fs::write(folder.path().join(first), &whole[..length]).unwrap();
            let line = refused(folder.path(), content, size);
            assert!(line.contains("cut off"), "{name}, {length} bytes: {line}");
        }
        // Damage in the middle of compressed data.
        if name == "observation_train_000" {
            let mut broken = whole.clone();
            let end = broken.len();
            broken[end - 40..].fill(0xff);
            std::fs::write(folder.path().join(first), &broken).unwrap();
            assert!(refused(folder.path(), content, size).contains("damaged"));
        }
    }
}

#[test]
fn a_file_missing_in_between_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        let file = |name: &str| format!("{name}.hdf5");
        std::fs::copy(golden().join(file(from)), folder.path().join(file(to))).unwrap();
    };
    copy("ground_truth_train_000", "ground_truth_train_000");
    copy("ground_truth_train_001", "ground_truth_train_002");
    let line = refused(folder.path(), Content::GroundTruth, IMAGE);
    assert!(line.contains("ground_truth_train_001.hdf5: is missing"), "{line}");
    // More observations than images.
    copy("observation_train_000", "observation_train_000");
    copy("observation_train_001", "observation_train_001");
    std::fs::remove_file(folder.path().join("ground_truth_train_002.hdf5")).unwrap();
    let line = one_line(Pairs::with_sizes(folder.path(), Part::Train, [IMAGE, DATA]).err().unwrap());
    assert!(line.contains("5 observations of part train for 3 images"), "{line}");
}
