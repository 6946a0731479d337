//! Methods and problems from a text of settings: what is wrong with it is said in one line.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_methods::{MethodEntry, ProblemEntry};

const CAMERA: &str = "kernel_size = 4\nsigma = 1.0\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2";
const TV: &str = "weight = { half_squared_errors = 5e-4 }\niterations = 50\ntolerance = 1e-4";

#[test]
fn settings_are_read_and_print() {
    let tv = MethodEntry::configured("tv", TV).unwrap();
    let text = format!("{tv:?}");
    assert!(text.starts_with("tv(TvSettings {") && text.contains("iterations: 50"), "{text}");
    let camera = ProblemEntry::configured("superresolution", CAMERA).unwrap();
    assert!(format!("{camera:?}").starts_with("superresolution(SuperresolutionSettings {"), "{camera:?}");
    assert!(camera.instrument(None).is_ok());
}

#[test]
fn faults_name_the_key_in_one_line() {
    let method = |key: &str, text: &str| MethodEntry::configured(key, text).err().unwrap().to_string();
    let problem = |name: &str, text: &str| ProblemEntry::configured(name, text).err().unwrap().to_string();
    for (line, fault) in [
        (method("tvv", TV), "fbp_unet"),
        (method("tvv", TV), "got tvv"),
        (method("tv", "iterations = "), "settings of tv: "),
        (method("tv", &TV.replace("tolerance = 1e-4", "")), "missing field `tolerance`"),
        (method("tv", &format!("{TV}\nsteps = 3")), "unknown field `steps`"),
        (method("tv", &TV.replace("50", "'many'")), "iterations: invalid type: string"),
        (method("tv", &TV.replace("50", "0")), "iterations: lower than 1"),
        (method("tv", &TV.replace("5e-4", "-1.0")), "weight"),
        (problem("super", CAMERA), "got super"),
        (problem("superresolution", &CAMERA.replace("stride = 2", "stride = -2")), "stride: lower than 1"),
        (problem("superresolution", &CAMERA.replace("sigma = 1.0", "")), "sigma"),
    ] {
        assert!(line.contains(fault) && line.lines().count() == 1, "{line} lacks {fault}");
    }
}
