//! Broken Markov kernels.

use smalti_base::{Result, seed::Stream};
use smalti_flows::Mapped;
use smalti_flows::stochastic::{Energy, MarkovKernel};
use tch::{Kind, Tensor};

/// A kernel with a mistake.
pub struct BrokenKernel {
    /// The correct kernel.
    pub kernel: Box<dyn MarkovKernel>,
    /// The mistake.
    pub mistake: KernelMistake,
}

/// What is wrong with a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelMistake {
    /// Half of the accepted moves go 5 % further.
    TooFar,
    /// After every walk the first coordinate grows by 0.02: every chain moves in one direction.
    Drift,
    /// The importance term of the step back.
    Flipped,
    /// No importance term.
    Forgotten,
}

impl MarkovKernel for BrokenKernel {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped> {
        let right = self.kernel.walk(energy, x, steps, stream)?;
        Ok(match self.mistake {
            KernelMistake::TooFar => {
                let some = stream.uniform(&[x.size()[0], 1]).lt(0.5).to_kind(Kind::Double) * 0.05 + 1.0;
                let value = x + (&right.value - x) * some;
                let log_det = energy.energy(&value)? - energy.energy(x)?;
                Mapped { value, log_det }
            }
            KernelMistake::Drift => {
                let value = right.value + Tensor::from_slice(&[0.02, 0.0]);
                let log_det = energy.energy(&value)? - energy.energy(x)?;
                Mapped { value, log_det }
            }
            KernelMistake::Flipped => Mapped { log_det: -right.log_det, value: right.value },
            KernelMistake::Forgotten => Mapped { log_det: right.log_det.zeros_like(), value: right.value },
        })
    }
}
