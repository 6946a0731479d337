//! Fan beams beside those of ASTRA: golden data of `golden/fan.py`.

use super::*;
use smalti_kernels::radon::Curve;

/// What is too much, as a share of the norm: both are models of the same integrals.
const TOLERANCE: f64 = 0.01;

#[test]
fn fans_are_those_of_astra() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/radon/golden/fan.safetensors");
    let all: std::collections::HashMap<String, Tensor> =
        Tensor::read_safetensors(path).unwrap().into_iter().collect();
    let angles = Vec::<f64>::try_from(&all["angles"]).unwrap();
    let pixels = Pixels { rows: 120, columns: 96, size: 5e-4 };
    let sharp = Detector { count: 180, spacing: 7e-4, offset: 2.1e-3 };
    let wide = Detector { count: 62, spacing: 2.1e-3, offset: -2.1e-3 };
    let batch = |name: &str| all[name].unsqueeze(0).unsqueeze(0);
    let norm = |x: &Tensor| x.to_kind(Kind::Double).norm().double_value(&[]);
    for (curve, name) in [(Curve::Flat, "flat"), (Curve::Curved, "curved")] {
        let of = |detector| {
            Radon::new(FanBeam::new(angles.clone(), pixels, detector, curve, [0.12, 0.05]).unwrap())
        };
        assert_eq!(
            (of(sharp).beam().footprint(), of(wide).beam().footprint()),
            (Footprint::Line, Footprint::Strip)
        );
        let compared = [
            (of(sharp).apply(&batch("image")), name.to_owned()),
            (of(wide).apply(&batch("image")), format!("{name}_wide")),
        ];
        for (ours, what) in compared {
            let expected = batch(&what);
            let distance = norm(&(ours.unwrap() - &expected)) / norm(&expected);
            println!("{what}: {distance:.2e}");
            assert!(distance < TOLERANCE, "{what}: {distance}");
        }
    }
}
