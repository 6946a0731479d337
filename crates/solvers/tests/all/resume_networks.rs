//! Networks that are trained, or fitted to one observation, in several runs end with the very bits of one run.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Seed, Space};
use smalti_operators::{Boundary, Convolution, Gaussian, Operator};
use smalti_solvers::{
    Dip, DipSettings, Iteration, Objective, Pair, RunControl, SupervisedTraining, SupervisedTrainingSettings,
    UNet, UNetSettings, run,
};
use tch::Tensor;

#[test]
fn deep_image_prior_with_its_best_image_and_curve() {
    let domain = Space::image(1, 20, 24);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let y = operator.apply(&Seed::new(2).at("truth", 0).uniform(&domain.batch(1))).unwrap();
    let likelihood = Gaussian::new(0.05).unwrap();
    let net = UNetSettings::dip().with_channels([6, 6]);
    // So high a rate that the best image is not the last one.
    let settings = DipSettings::baguer_2020().with_net(net).with_steps(20).with_rate(0.1).with_curve_every(3);
    let result = |stops: &[u64]| {
        let prior = || smalti_priors::TotalVariation::new(domain, 1e-3).unwrap();
        let mut priors: Vec<_> = (0..=stops.len()).map(|_| prior()).collect();
        let mut priors = priors.iter_mut();
        let make = || {
            let prior = priors.next().unwrap();
            let problem = Objective {
                operator: &operator,
                likelihood: &likelihood,
                observation: &y,
                prior,
                weight: 0.1,
            };
            Dip::new(problem, settings.clone(), Seed::new(6)).unwrap()
        };
        in_pieces(20, stops, make).0
    };
    let (whole, pieces) = (result(&[]), result(&[1, 7, 19]));
    assert!(whole.image.equal(&pieces.image) && whole.curve == pieces.curve && whole.curve.len() == 8);
    assert_eq!((whole.step, whole.objective), (pieces.step, pieces.objective));
}

#[test]
fn unet_training_with_its_statistics_and_best_network() {
    let images = |name: &str, n: i64, side: i64| -> Vec<Pair> {
        let mut stream = Seed::new(2).at(name, 0);
        let pair = |_| {
            let target = stream.uniform(&[1, 1, side, side]);
            Pair { input: &target + stream.normal(&[1, 1, side, side]) * 0.3, target }
        };
        (0..n).map(pair).collect()
    };
    let (train, validation) = (images("training", 5, 14), images("validation", 2, 11));
    let settings =
        SupervisedTrainingSettings::fbp_unet(24, 2).with_crop(12).with_rate(0.05).with_validate_every(4);
    let make = || {
        let net = UNet::new(UNetSettings::fbp_unet().with_channels([4, 6]), Seed::new(3)).unwrap();
        SupervisedTraining::new(net, &train, Some(&validation), settings, Seed::new(4)).unwrap()
    };
    let (whole, pieces) = (in_pieces(24, &[], make).0, in_pieces(24, &[1, 6, 13, 23], make).0);
    let flat =
        |net: &UNet| Tensor::cat(&net.tensors().iter().map(|(_, t)| t.reshape([-1])).collect::<Vec<_>>(), 0);
    assert!(flat(&whole.net).equal(&flat(&pieces.net)) && whole.curve == pieces.curve);
    assert_eq!(whole.net.provenance, pieces.net.provenance);
    // Moments and statistics matter: with forgotten ones the result is another.
    for forgotten in ["adam.first", "in.norm.mean"] {
        let mut forgetful = make();
        run(&mut forgetful, 6, &RunControl::default()).unwrap();
        let mut file = forgetful.save().unwrap();
        for (_, tensor) in file.tensors.iter_mut().filter(|(name, _)| name.starts_with(forgotten)) {
            *tensor = tensor.zeros_like();
        }
        let mut again = make();
        again.restore(file).unwrap();
        (6..24).for_each(|k| drop(again.step(k).unwrap()));
        let again = again.finish().unwrap();
        assert!(again.curve != whole.curve, "{forgotten}");
    }
}
