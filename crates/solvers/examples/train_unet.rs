//! A U-Net learns to remove noise from generated pairs, of which there are as many as it wants.
//!
//! `cargo run --release -p smalti-solvers --example train_unet`

use smalti_base::{Result, Seed};
use smalti_solvers::{
    Iteration, Pair, PairedDataset, RunControl, SupervisedTraining, SupervisedTrainingSettings, UNet,
    UNetSettings, run,
};
use tch::Tensor;

/// Bright squares on a dark ground, and the same with noise.
struct Squares {
    seed: Seed,
    count: Option<u64>,
}

impl PairedDataset for Squares {
    fn count(&self) -> Option<u64> {
        self.count
    }

    fn pair(&self, index: u64) -> Result<Pair> {
        let mut stream = self.seed.at("squares", index);
        let target = Tensor::full([1, 1, 40, 48], 0.2, tch::kind::FLOAT_CPU);
        for _ in 0..4 {
            let (top, left, grey) = (stream.index(30), stream.index(38), stream.index(6));
            let _ = target.narrow(2, top, 10).narrow(3, left, 10).fill_(0.4 + 0.1 * grey as f64);
        }
        Ok(Pair { input: &target + stream.normal(&target.size()) * 0.2, target })
    }
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let train = Squares { seed: Seed::new(1), count: None };
    let validation = Squares { seed: Seed::new(2), count: Some(8) };
    let net = UNet::new(UNetSettings::fbp_unet().with_channels([16, 16, 32]), Seed::new(3))?;
    let settings = SupervisedTrainingSettings::fbp_unet(300, 8).with_crop(32);
    let mut training = SupervisedTraining::new(net, &train, Some(&validation), settings, Seed::new(4))?;
    let summary = run(&mut training, 300, &RunControl::default())?;
    println!("trained {} steps in {:.1} s", summary.steps, summary.elapsed.as_secs_f64());
    let trained = training.finish()?;
    for point in trained.curve.iter().step_by(4) {
        let validation = point.validation.unwrap_or(f64::NAN);
        println!(
            "    step {:4}: training error {:.5}, validation error {validation:.5}",
            point.step, point.train
        );
    }
    println!(
        "PSNR of the validation pairs {} dB (noise alone: 14 dB)",
        trained.net.provenance["validation_psnr"]
    );
    Ok(())
}
