//! Files of formats that the build leaves out: run by `cargo test -p smalti-base`, where all features are off, and by CI.

#[cfg(not(all(feature = "hdf5", feature = "tiff")))]
use std::path::Path;

#[test]
#[cfg(not(feature = "tiff"))]
fn a_tiff_file_is_refused_by_a_line_that_names_the_feature() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images/refused_nan.tif");
    let error = smalti_base::image_file::load_gray(&path).unwrap_err();
    assert!(matches!(error, smalti_base::Error::Feature { feature: "tiff", .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains("feature `tiff`") && line.lines().count() == 1, "{line}");
}

#[test]
#[cfg(not(feature = "hdf5"))]
fn an_hdf5_file_is_refused_by_a_line_that_names_the_feature() {
    let error = smalti_base::hdf5_file::load_crops(Path::new("crops.h5"), None).unwrap_err();
    assert!(matches!(error, smalti_base::Error::Feature { feature: "hdf5", .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains("feature `hdf5`") && line.lines().count() == 1, "{line}");
}
