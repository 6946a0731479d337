//! Tests that need measured data are skipped aloud, or fail where the data are required.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_testkit::measured;
use std::process::{Command, Output};

#[test]
#[ignore = "run by those below, with variables of their own"]
fn without_data() {
    assert!(measured(&["sic/ref.png", "sic/no such file"]).is_none());
}

/// What [`without_data`] does in a process with this value of `SMALTI_REQUIRE_DATA`.
fn with(value: &str) -> (Output, String) {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--ignored", "--exact", "data::without_data"]).env("SMALTI_REQUIRE_DATA", value);
    let output = test.output().unwrap();
    let told = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(told).unwrap())
}

const MISSING: &str = "no sic/ref.png with sic/no such file in SMALTI_DATA, data/ or ../shared/data";

#[test]
fn what_is_skipped_is_told() {
    for value in ["", "0"] {
        let (output, told) = with(value);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        assert!(told.contains(&format!("skipped: data::without_data: {MISSING}\n")), "{told}");
    }
}

#[test]
fn what_is_required_is_not_skipped() {
    let (output, told) = with("1");
    assert!(!output.status.success() && told.contains("1 failed"), "{told}");
    assert!(told.contains(&format!("SMALTI_REQUIRE_DATA=1, but {MISSING}\n")), "{told}");
}
