//! The data that benchmarks share: the same on every machine.

use smalti_base::{Result, Seed, Space};
use smalti_flows::{PatchNr, PatchNrShape, Precision};
use smalti_methods::synthetic::microstructure;
use tch::Tensor;

/// The seed of everything random in the benchmarks.
pub const SEED: u64 = 2023;

/// Side of the square benchmark image, that of the SiC slices.
pub const SIDE: i64 = 600;

/// The seed of everything random in the benchmarks.
pub fn seed() -> Seed {
    Seed::new(SEED)
}

/// The space of [`image`]: one channel, 600 x 600.
pub fn domain() -> Space {
    Space::image(1, SIDE, SIDE)
}

/// A synthetic slice of SiC diamonds, `[1, 1, 600, 600]`, float32 on the CPU, values in `[0, 1]`.
///
/// # Errors
/// Those of libtorch.
pub fn image() -> Result<Tensor> {
    microstructure(SIDE, SIDE, seed(), 0)
}

/// Another slice of the same kind.
///
/// # Errors
/// Those of libtorch.
pub fn other_image() -> Result<Tensor> {
    microstructure(SIDE, SIDE, seed(), 1)
}

/// Uniform values in `[0, 1)`: a batch of one of `space`.
pub fn noise(space: Space) -> Tensor {
    seed().at("benchmark noise", 0).uniform(&space.batch(1))
}

/// The untrained patchNR flow of the paper (6 x 6 patches, 5 blocks, hidden width 512).
///
/// # Errors
/// Those of libtorch.
pub fn flow(precision: Precision) -> Result<PatchNr> {
    flow_of_width(PatchNrShape::default().hidden, precision)
}

/// The same with another hidden width.
///
/// # Errors
/// Where the width is not positive; those of libtorch.
pub fn flow_of_width(hidden: i64, precision: Precision) -> Result<PatchNr> {
    let mut flow = PatchNr::new(PatchNrShape::default().with_hidden(hidden), seed())?;
    flow.set_precision(precision)?;
    Ok(flow)
}

/// The precisions to measure, with the names that stand in benchmark ids.
pub const PRECISIONS: [(&str, Precision); 2] = [("f32", Precision::Full), ("bf16", Precision::Bf16)];
