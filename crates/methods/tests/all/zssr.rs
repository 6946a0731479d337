//! ZSSR learns from the observation alone.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::{Seed, image_file};
use smalti_methods::registry::{MethodEntry, ProblemEntry};
use smalti_methods::{InverseProblem, Prepared, Run, TrainingData, synthetic};
use tch::{Device, Kind, Tensor};

const TINY: &str = "channels = 16\nblocks = 1\nfactor = 2\nbatch = 4\ncrop = 32\nborder = 4\ncrops_of_father = 4\n\
                    smallest_scale = 0.7\nlearning_rate = 3e-3\nfinal_learning_rate = 1e-5\ntest_every = 20\n";

/// The problem of an observation of `truth`, PSNR of its start and of the estimate, and what was said about the training.
fn zero_shot(truth: &Tensor, noise: f64, more: &str) -> (InverseProblem, [f64; 2], Tensor, String) {
    let settings = format!(
        "kernel_size = 16\nsigma = 1.0\nstride = 2\nform = {{ reflect-by = 7 }}\nnoise = {noise:?}\ncrop = 7"
    );
    let camera = ProblemEntry::configured("superresolution", &settings).unwrap().instrument(None).unwrap();
    let observation = camera.observe(truth, Seed::new(3)).unwrap();
    let references = camera.surroundings(&observation).unwrap();
    let from = TrainingData { references, ..TrainingData::none(camera.as_ref()) };
    let run = Run::new(Seed::new(1), Device::Cpu);
    let method = MethodEntry::configured("zssr", &format!("{TINY}{more}")).unwrap();
    let Prepared::Ready(method) = method.prepare(&from, &run).unwrap() else { panic!("it needs no file") };
    let problem = camera.pose("drawn", &observation, None).unwrap();
    let image = method.reconstruct(&problem, &run).unwrap().image;
    let psnr = |x: &Tensor| camera.score(x, truth).unwrap()["psnr"];
    let scores = [psnr(&problem.start.image), psnr(&image)];
    let note = method.learned().unwrap().note.clone();
    (problem, scores, image, note)
}

#[test]
fn it_is_better_than_the_interpolation_that_it_corrects() {
    let truth = synthetic::microstructure(160, 160, Seed::new(2), 0).unwrap();
    let (problem, [start, reached], image, note) =
        zero_shot(&truth, 0.01, "steps = 300\nback_projections = 0");
    println!("{start:.2} dB to {reached:.2} dB; {note}");
    assert!(reached > start + 0.5, "{start:.2} dB to {reached:.2} dB");
    // Back-projection leads towards the observation, noise and all.
    let misfit = |problem: &InverseProblem, x: &Tensor| {
        let apart = problem.operator.apply(x).unwrap() - &problem.observation;
        apart.square().mean(Kind::Double).double_value(&[]).sqrt()
    };
    let (_, _, nearer, _) = zero_shot(&truth, 0.01, "steps = 300\nback_projections = 5");
    assert!(misfit(&problem, &nearer) < 0.7 * misfit(&problem, &image));
}

/// Nothing but noise is to be learned from a constant image: sons have that of the observation, so it is suppressed.
#[test]
fn a_constant_image_stays_constant() {
    let truth = Tensor::full([1, 1, 160, 160], 0.4, tch::kind::FLOAT_CPU);
    let (problem, _, image, _) = zero_shot(&truth, 0.05, "steps = 300\nback_projections = 0");
    let error = |x: &Tensor| (x - 0.4).square().mean(Kind::Double).double_value(&[]).sqrt();
    println!("{:.5} of {:.5}", error(&image), error(&problem.start.image));
    assert!(error(&image) < 0.6 * error(&problem.start.image));
    assert!((image.mean(Kind::Double).double_value(&[]) - 0.4).abs() < 5e-3);
}

/// On the centre of a photograph: better than the interpolation by half a decibel.
#[test]
fn a_photograph_gets_sharper() {
    let file = "bsd68/test032.png";
    let Some(folder) = smalti_testkit::measured(&[file]) else { return };
    let image = image_file::load_gray(&folder.join(file)).unwrap();
    let size = image.size();
    let centre = image.narrow(2, (size[2] - 160) / 2, 160).narrow(3, (size[3] - 160) / 2, 160).contiguous();
    let (_, [start, reached], ..) = zero_shot(&centre, 0.01, "steps = 300\nback_projections = 0");
    println!("{start:.2} dB to {reached:.2} dB");
    assert!(reached > start + 0.5, "{start:.2} dB to {reached:.2} dB");
}
