//! Images to learn superresolution of.

#![allow(clippy::unwrap_used)]

use smalti_base::Seed;
use tch::Tensor;

/// Stripes of two grey values and random directions: images whose patches are of a kind.
pub(crate) fn texture(name: &str, n: i64, side: i64) -> Tensor {
    let mut stream = Seed::new(7).at(name, 0);
    let index = Tensor::arange(side, tch::kind::FLOAT_CPU);
    let stripes = |_| {
        let v: Vec<f64> = Vec::try_from(stream.uniform(&[2])).unwrap();
        let (angle, phase) = (std::f64::consts::PI * v[0], 6.3 * v[1]);
        let t = index.unsqueeze(1) * angle.cos() + index.unsqueeze(0) * angle.sin();
        (((t * 0.8 + phase).sin() * 4.0).tanh() * 0.3 + 0.5).view([1, 1, side, side])
    };
    Tensor::cat(&(0..n).map(stripes).collect::<Vec<_>>(), 0)
}
