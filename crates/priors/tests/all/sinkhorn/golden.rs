//! Values and gradients of POT, made by `golden/pot.py`: patches of one pixel with five channels.

use super::settings;
use smalti_base::Seed;
use smalti_priors::Regularizer;
use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior};
use std::path::Path;
use tch::{Kind, Tensor};

#[test]
fn values_and_gradients_are_those_of_pot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/sinkhorn/golden/pot.safetensors");
    let arrays = Tensor::read_safetensors(path).unwrap();
    let array = |name: &str| arrays.iter().find(|(n, _)| n == name).unwrap().1.shallow_clone();
    let (x, y) = (array("x"), array("y"));
    let mut compared = 0;
    for (name, expected) in arrays.iter().filter(|(name, _)| name.ends_with(".value")) {
        let key = name.trim_end_matches(".value");
        let parts: Vec<&str> = key.splitn(2, '.').collect();
        // "uniform.0.05.0.02": the numbers are x.y each.
        let numbers: Vec<&str> = parts[1].split('.').collect();
        let number = |k: usize| format!("{}.{}", numbers[k], numbers[k + 1]).parse::<f64>().unwrap();
        let (eps, rho) = (number(0), Some(number(2)).filter(|rho| *rho > 0.0));
        let method = SinkhornMethod { rho, ..settings(1, eps).method };
        let with = settings(1, eps).with_method(method);
        let mut prior = SinkhornPatchPrior::new(&x.size(), &[&y], &with, Seed::new(1)).unwrap();
        if parts[0] == "weighted" {
            prior = prior.with_pixel_weights(&array("weights")).unwrap();
        }
        let (value, gradient) = prior.value_and_grad(&x.to_kind(Kind::Double)).unwrap();
        let expected = expected.double_value(&[0]);
        assert!((value / expected - 1.0).abs() < 1e-5, "{key}: {value} {expected} {:?}", prior.reports());
        let of_pot = array(&format!("{key}.gradient"));
        let error = ((&gradient - &of_pot).norm() / of_pot.norm()).double_value(&[]);
        assert!(error < 1e-4, "{key}: {error} {:?}", prior.reports());
        compared += 1;
    }
    assert_eq!(compared, 8);
}
