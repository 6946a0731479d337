//! In which order data are looked for, and what is said about missing files.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_base::{Seed, ValueRange, image_file};
use smalti_methods::synthetic::microstructure;
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_testkit::measured;
use std::path::{Path, PathBuf};

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// A folder with small images under the names of the quick profile.
fn fill(folder: &Path) -> PathBuf {
    let mut names = vec!["ref".to_owned(), "val".into(), "test".into()];
    names.extend((1..=50).map(|i| format!("testset/img{i}")));
    for (i, name) in names.iter().enumerate() {
        let image = microstructure(6, 7, Seed::new(3), i as u64).unwrap();
        image_file::save_png8(&folder.join(format!("sic/{name}.png")), &image).unwrap();
    }
    folder.to_owned()
}

fn find(option: Option<&Path>, environment: Option<&Path>, repository: &Path) -> Result<DataSource, String> {
    let experiment = Experiment::parse("superres_sic", "superres_sic.toml", TEXT).unwrap();
    let profile = experiment.profile(ProfileName::Quick);
    experiment.find_data(profile, option, environment, repository).map_err(|e| e.to_string())
}

fn named_by(source: &DataSource) -> Option<NamedBy> {
    match source {
        DataSource::Folder { named_by, .. } => Some(*named_by),
        DataSource::Synthetic | DataSource::SyntheticVolumes | DataSource::Drawn(_) => None,
    }
}

#[test]
fn option_before_environment_before_repository_before_synthetic() {
    let root = tempfile::tempdir().unwrap();
    let repository = root.path().join("repository");
    let (option, environment) = (fill(&root.path().join("option")), fill(&root.path().join("environment")));
    let found = find(None, None, &repository).unwrap();
    assert_eq!(found, DataSource::Synthetic);
    assert!(found.sentence().contains("synthetic"));
    fill(&repository.join("data"));
    let found = find(None, None, &repository).unwrap();
    assert_eq!(named_by(&found), Some(NamedBy::Repository));
    let found = find(None, Some(&environment), &repository).unwrap();
    assert_eq!(named_by(&found), Some(NamedBy::Environment));
    let found = find(Some(&option), Some(&environment), &repository).unwrap();
    assert_eq!(named_by(&found), Some(NamedBy::Option));
    assert!(found.sentence().contains(&option.display().to_string()), "{}", found.sentence());
    assert!(!found.sentence().contains('\n'));
}

#[test]
fn missing_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = fill(&root.path().join("some"));
    std::fs::remove_file(folder.join("sic/testset/img7.png")).unwrap();
    let error = find(Some(&folder), None, root.path()).unwrap_err();
    assert!(error.contains("50 images are needed, 49 are there") && error.contains("img*.png"), "{error}");
    std::fs::remove_file(folder.join("sic/val.png")).unwrap();
    let error = find(None, Some(&folder), root.path()).unwrap_err();
    assert!(error.contains("sic/val.png: there is no such file") && error.contains("SMALTI_DATA"), "{error}");
    // A data folder of the repository that is there in part is not passed over in silence.
    std::fs::rename(&folder, root.path().join("data")).unwrap();
    let error = find(None, None, root.path()).unwrap_err();
    assert!(error.contains("sic/val.png") && error.contains("cargo xtask fetch-data"), "{error}");
    let error = find(Some(&root.path().join("nowhere")), None, root.path()).unwrap_err();
    assert!(error.contains("nowhere/sic/ref.png"), "{error}");
}

#[test]
fn patterns_take_the_first_in_natural_order() {
    let root = tempfile::tempdir().unwrap();
    let folder = fill(root.path());
    let source = find(Some(&folder), None, root.path()).unwrap();
    let names = source.names(&["sic/testset/img*.png".into()], Some(11)).unwrap();
    assert_eq!(names[1], "sic/testset/img2.png");
    assert_eq!(names[9], "sic/testset/img10.png");
    assert_eq!(source.label(&names), "sic/testset/img1.png, img2.png, ..., img11.png");
    assert_eq!(source.names(&["sic/test*.png".into()], None).unwrap(), ["sic/test.png"]);
    assert_eq!(source.load("sic/ref.png", ValueRange::ByType).unwrap().size(), [1, 1, 6, 7]);
}

/// What macOS and editors leave beside images is not meant by a pattern, and found where it is.
#[test]
fn hidden_files_are_no_images() {
    let root = tempfile::tempdir().unwrap();
    let folder = fill(root.path());
    for name in ["._img1.png", ".img3.png"] {
        std::fs::write(folder.join("sic/testset").join(name), b"no image").unwrap();
    }
    let source = find(Some(&folder), None, root.path()).unwrap();
    let names = source.names(&["sic/testset/*.png".into()], None).unwrap();
    assert_eq!((names.len(), names[0].as_str()), (50, "sic/testset/img1.png"));
    let hidden = source.names(&["sic/testset/.*.png".into()], None).unwrap();
    assert_eq!(hidden, ["sic/testset/._img1.png", "sic/testset/.img3.png"]);
}

/// A range that is given brings the stored values of every file to it, and a constant reference is refused.
#[test]
fn values_are_in_the_range_that_the_file_gives() {
    let root = tempfile::tempdir().unwrap();
    let folder = fill(root.path());
    let source = find(Some(&folder), None, root.path()).unwrap();
    let text = TEXT.replacen("[data]", "[data]\nvalues = [0, 51]", 1);
    let experiment =
        Experiment::parse("superres_sic", "superres_sic.toml", &text).map_err(|e| e.to_string()).unwrap();
    let values = experiment.profile(ProfileName::Quick).scenes[0].data.values;
    assert_eq!(values, ValueRange::Given { low: 0.0, high: 51.0 });
    let [by_type, given] =
        [ValueRange::ByType, values].map(|range| source.load("sic/ref.png", range).unwrap());
    assert!((given - by_type * 5.0).abs().max().double_value(&[]) < 1e-5);
    let text = TEXT.replacen("[data]", "[data]\nvalues = [51, 0]", 1);
    let refused = Experiment::parse("superres_sic", "superres_sic.toml", &text).err().unwrap().to_string();
    assert!(refused.contains("the second one larger") || refused.contains("values"), "{refused}");
}

/// Without data: the test before, on images of its own.
#[test]
fn the_measured_images_are_found_where_they_are() {
    let Some(folder) = measured(&["sic/ref.png"]) else { return };
    let source = find(Some(&folder), None, Path::new("nowhere")).unwrap();
    let names = source.names(&["sic/testset/img*.png".into()], Some(50)).unwrap();
    assert_eq!((names[0].as_str(), names[49].as_str()), ("sic/testset/img1.png", "sic/testset/img50.png"));
    assert_eq!(source.load("sic/ref.png", ValueRange::ByType).unwrap().size(), [1, 1, 600, 600]);
}
