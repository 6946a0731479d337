//! The dtype of matrix products.

use smalti_kernels::bf16::Engine;
use tch::Device;

/// The dtype of matrix products. Parameters, sums over patches and gradients in the patches stay in the
/// dtype of the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// That of the parameters (float32, or float64 in the laws).
    #[default]
    Full,
    /// bfloat16 operands with float32 accumulation between hidden layers; [`Precision::Full`] elsewhere.
    Bf16,
}

impl Precision {
    /// bfloat16 where products in it are known to be faster than those in float32: on GPUs, and on CPUs with a matrix
    /// unit (AMX).
    ///
    /// The dot products of AVX-512 BF16 alone are not enough: on an Intel Xeon without AMX, patchNR takes about twice and a WPPNet
    /// 1.4 times as long in bfloat16 as in float32 (`docs/benchmarks.md`, "Precision without a matrix unit").
    pub fn fastest(device: Device) -> Self {
        if Engine::best() == Engine::Amx || device.is_cuda() { Self::Bf16 } else { Self::Full }
    }
}
