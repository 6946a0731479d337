//! The experiment file that the guide shows is one.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_tables::experiment::{Experiment, ProfileName};

const GUIDE: &str = include_str!("../../../../docs/guide/experiment-files.md");

#[test]
fn the_file_of_the_guide_is_right() {
    let (_, rest) = GUIDE.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let experiment = Experiment::parse("mine", "experiments/mine.toml", text).unwrap();
    let quick = experiment.profile(ProfileName::Quick);
    assert!(quick.rows.contains_key("bicubic") && quick.rows.contains_key("l2_tv"));
    assert_eq!(quick.scenes[0].data.validation.as_deref(), Some("mine/validation.png"));
}
