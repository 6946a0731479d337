//! One image by methods that need no training: observed with a synthetic camera, reconstructed, scored.
//!
//! `cargo run --release -p smalti-methods --example reconstruct`

use smalti_methods::{prelude::*, synthetic};

const CAMERA: &str = "kernel_size = 8\nsigma = 1.5\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 4";

const WPP: &str = "
    patch_size = 5
    references = 1000
    scales = 1
    stride = 1
    weight = { squared_errors = { lambda = 12.0, observed = 1024 } }
    descent = { iterations = 60, learning_rate = 0.02, schedule = 'cosine' }
    dual = { averaged_sgd = { steps = 10, step = 1.0 } }";

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let camera = ProblemEntry::configured("superresolution", CAMERA)?.instrument(None)?;
    let image = |seed| synthetic::microstructure(64, 64, Seed::new(seed), 0);
    let (truth, reference) = (image(1)?, image(2)?);
    let problem = camera.pose("image", &camera.observe(&truth, Seed::new(3))?, None)?;

    let run = Run::new(Seed::new(4), Device::Cpu);
    let material = TrainingData { references: vec![reference], ..TrainingData::none(camera.as_ref()) };
    let tv = "weight = { half_squared_errors = 5e-4 }\niterations = 300\ntolerance = 1e-5";
    let mut scores = Vec::new();
    for (key, settings) in [("bicubic", ""), ("tv", tv), ("wpp", WPP)] {
        let method = MethodEntry::configured(key, settings)?;
        let Prepared::Ready(method) = method.prepare(&material, &run)? else { continue };
        let estimate = method.reconstruct(&problem, &run)?;
        scores.push(camera.score(&estimate.image, &truth)?["psnr"]);
        println!("{key:8} {:6.2} dB", scores[scores.len() - 1]);
    }
    assert!(scores[1] > scores[0] && scores[2] > scores[0], "regularizers must beat interpolation");
    Ok(())
}
