//! Times value and gradient of 9,801 patches of 6 x 6 in patchNR flows of 5 couplings, by the kernel on every instruction set
//! that the processor has.
//!
//! `cargo run --release -p smalti-kernels --example coupling_flow [-- WIDTH]`; threads by `RAYON_NUM_THREADS`.

use smalti_kernels::affine::Clamp;
use smalti_kernels::coupling_flow::{CouplingFlow, CouplingWeights, Isa, LinearWeights};
use smalti_kernels::error::KernelError;
use smalti_kernels::mlp::Matrix;
use std::time::Instant;

const PATCHES: usize = 9801;
const DIM: usize = 36;
const COUPLINGS: usize = 5;

fn main() -> Result<(), KernelError> {
    let hidden = std::env::args().nth(1).and_then(|width| width.parse().ok()).unwrap_or(128);
    let widths = [DIM / 2, hidden, hidden, DIM];
    let layer = |k: usize| {
        let (inputs, outputs) = (widths[k], widths[k + 1]);
        let value = |i: usize| ((i * 37 + k) % 199) as f32 / 100.0 - 1.0;
        let weight: Vec<f32> = (0..inputs * outputs).map(|i| value(i) / (inputs as f32).sqrt()).collect();
        (weight, (0..outputs).map(|i| 0.1 * value(i)).collect::<Vec<f32>>())
    };
    let layers: Vec<_> = (0..3).map(layer).collect();
    let subnet: Vec<_> = layers.iter().map(|(weight, bias)| LinearWeights { weight, bias }).collect();
    let permutation: Vec<i64> = (0..DIM as i64).map(|i| (5 * i + 3) % DIM as i64).collect();
    let coupling = CouplingWeights {
        subnets: [subnet.clone(), subnet],
        clamp: Clamp { bound: 1.0176, slope: 1.0 },
        permutation: &permutation,
    };
    let couplings = vec![coupling; COUPLINGS];
    let values: Vec<f32> = (0..PATCHES * DIM).map(|i| ((i * 37) % 199) as f32 / 199.0).collect();
    let patches = Matrix { values: &values, stride: DIM };
    let (mut nll, mut grad) = (vec![0.0; PATCHES], vec![0.0; PATCHES * DIM]);
    let products = 2 * COUPLINGS * widths.windows(2).map(|w| w[0] * w[1]).sum::<usize>();
    for isa in [Isa::V4, Isa::V3, Isa::Plain] {
        // The median of 15 runs after a first one; the weights are packed in every run.
        let mut times = Vec::new();
        for _ in 0..16 {
            let start = Instant::now();
            let flow = CouplingFlow::with_isa(DIM, &couplings, isa)?;
            flow.nll_and_grad(patches, &mut nll, &mut grad)?;
            times.push(start.elapsed().as_secs_f64());
        }
        times[1..].sort_by(f64::total_cmp);
        let speed = (4 * products * PATCHES) as f64 / times[8] / 1e9;
        println!("{isa:?}: {:.1} ms, {speed:.0} GFLOP/s", times[8] * 1e3);
    }
    Ok(())
}
