//! What a piece of work depends on is in its identity: files by what they hold, precisions by what they mean on a device.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::Seed;
use smalti_methods::{Estimate, Instrument, MethodEntry, Prepared, ProblemEntry, Run, TrainingData};
use std::path::Path;
use tch::{Device, Tensor};
use toml::de::Deserializer;

fn instrument(name: &str, text: &str, folder: Option<&Path>) -> Box<dyn Instrument> {
    let problem = (ProblemEntry::find(name).unwrap().read)(Deserializer::parse(text).unwrap()).unwrap();
    problem.instrument(folder).unwrap()
}

#[test]
fn estimated_operators_are_known_by_what_their_file_holds() {
    let root = tempfile::tempdir().unwrap();
    let camera = |folder: &str, content: &str| {
        let folder = root.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("operator.pt"), content).unwrap();
        let text = "estimated = 'operator.pt'\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2";
        instrument("superresolution", text, Some(&folder)).identity()
    };
    let (first, again, other) = (camera("a", "one"), camera("b", "one"), camera("a", "two"));
    assert_eq!(first, again, "the same file elsewhere");
    assert_ne!(first, other, "another file of the same name");
    // Nor do they share what was computed.
    let run = Run::new(Seed::new(1), Device::Cpu).in_folder(root.path());
    let made = |identity: &str, seconds: f64| {
        let estimate = |_: &Run| Ok(Estimate::of(Tensor::ones([1, 1, 2, 2], tch::kind::FLOAT_CPU), seconds));
        run.once("tv test.png", identity, estimate).unwrap().seconds
    };
    assert_eq!([made(&first, 1.0), made(&other, 2.0), made(&again, 3.0)], [1.0, 2.0, 1.0]);
}

/// What estimates of the deep image prior depend on besides the settings.
fn of_dip(precision: &str, device: Device) -> String {
    let camera = instrument(
        "superresolution",
        "kernel_size = 4\nsigma = 1.0\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2\nsize = 24",
        None,
    );
    let text = format!(
        "channels = 4\nscales = 2\nweight = {{ likelihood = {{ lambda = 1.0, observed = 500 }} }}\niterations = 3\n\
         learning_rate = 1e-3\nprecision = '{precision}'"
    );
    let dip = (MethodEntry::find("dip_tv").unwrap().read)(Deserializer::parse(&text).unwrap()).unwrap();
    let run = Run::new(Seed::new(1), device);
    let Prepared::Ready(dip) = dip.prepare(&TrainingData::none(camera.as_ref()), &run).unwrap() else {
        panic!("a deep image prior needs nothing")
    };
    dip.learned().unwrap().identity.clone()
}

/// A precision that the settings leave to the device: state of another device is not gone on with.
#[test]
fn the_precision_of_a_deep_image_prior_is_in_its_identity() {
    let (cpu, gpu) = (Device::Cpu, Device::Cuda(0));
    let [full, half] = ["float32", "bfloat16"].map(|precision| of_dip(precision, cpu));
    assert_ne!(full, half);
    assert_eq!([of_dip("float32", gpu), of_dip("bfloat16", gpu)], [full.clone(), half.clone()]);
    assert_eq!(of_dip("auto", gpu), half);
    let fast = smalti_flows::Precision::fastest(cpu) == smalti_flows::Precision::Bf16;
    assert_eq!(of_dip("auto", cpu), if fast { half } else { full });
}
