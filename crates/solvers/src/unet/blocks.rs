//! What the U-Net is put together from.

use smalti_base::Result;
use smalti_base::memory_format::to_fastest_memory_format;
use tch::{Device, Kind, Tensor};

/// Slope of the rectifiers for negative values.
const SLOPE: f64 = 0.2;
/// How far running statistics move towards those of a batch, and what is added to variances.
const MOMENTUM: f64 = 0.1;
const EPS: f64 = 1e-5;

/// Where mean and variance of a channel come from in batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// From the batch at hand, over its images and pixels; nothing is remembered.
    Batch,
    /// From the batch at hand, and running statistics move towards them by a tenth: training.
    Learning,
    /// The running statistics: results for an image do not depend on the batch.
    Running,
}

/// What a tensor of the network is; kernels and biases with the number of inputs of an output pixel.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Kernel(i64),
    Bias(i64),
    Scale,
    Shift,
    Mean,
    Variance,
}

/// Gives the tensor of a name, size and role.
pub(super) type Source<'a> = dyn FnMut(String, &[i64], Role) -> Result<Tensor> + 'a;

/// How a forward pass is computed.
pub(super) struct Pass {
    statistics: Statistics,
    /// [`SLOPE`] as a tensor.
    slope: Tensor,
}

impl Pass {
    pub(super) fn new(kind: Kind, statistics: Statistics, device: Device) -> Result<Self> {
        Ok(Self { statistics, slope: Tensor::f_full([1], SLOPE, (kind, device))? })
    }
}

#[derive(Debug)]
pub(super) struct Convolution {
    pub(super) kernel: Tensor,
    bias: Tensor,
    stride: i64,
}

impl Convolution {
    pub(super) fn new(
        source: &mut Source<'_>,
        name: &str,
        [inputs, outputs]: [i64; 2],
        side: i64,
    ) -> Result<Self> {
        let n = inputs * side * side;
        Ok(Self {
            kernel: source(format!("{name}.weight"), &[outputs, inputs, side, side], Role::Kernel(n))?,
            bias: source(format!("{name}.bias"), &[outputs], Role::Bias(n))?,
            stride: 1,
        })
    }

    /// The convolution in the dtype of `x`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let kernel = to_fastest_memory_format(&self.kernel.f_to_kind(x.kind())?)?;
        let (bias, zeros) = (self.bias.f_to_kind(x.kind())?, kernel.size()[2] / 2);
        Ok(x.f_conv2d(&kernel, Some(&bias), [self.stride; 2], [zeros; 2], [1, 1], 1)?)
    }
}

#[derive(Debug)]
pub(super) struct Norm {
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Norm {
    pub(super) fn new(source: &mut Source<'_>, name: &str, channels: i64) -> Result<Self> {
        let mut tensor = |part: &str, role| source(format!("{name}.norm.{part}"), &[channels], role);
        Ok(Self {
            scale: tensor("scale", Role::Scale)?,
            shift: tensor("shift", Role::Shift)?,
            mean: tensor("mean", Role::Mean)?,
            variance: tensor("variance", Role::Variance)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let running = |t: &Tensor| (pass.statistics != Statistics::Batch).then(|| t.shallow_clone());
        let of_batch = pass.statistics != Statistics::Running;
        let (scale, shift) = (Some(self.scale.shallow_clone()), Some(self.shift.shallow_clone()));
        let (mean, variance) = (running(&self.mean), running(&self.variance));
        Ok(x.f_batch_norm(scale, shift, mean, variance, of_batch, MOMENTUM, EPS, true)?)
    }
}

/// A convolution, batch normalisation and the rectifier.
#[derive(Debug)]
pub(super) struct Block {
    convolution: Convolution,
    norm: Norm,
}

impl Block {
    pub(super) fn new(source: &mut Source<'_>, name: &str, channels: [i64; 2], side: i64) -> Result<Self> {
        let convolution = Convolution::new(source, name, channels, side)?;
        Ok(Self { convolution, norm: Norm::new(source, name, channels[1])? })
    }

    /// The same block at every second pixel.
    pub(super) fn halved(mut self) -> Self {
        self.convolution.stride = 2;
        self
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(self.norm.forward(&self.convolution.forward(x)?, pass)?.f_prelu(&pass.slope)?)
    }
}

#[derive(Debug)]
pub(super) struct Up {
    pub(super) skip: Block,
    pub(super) norm: Norm,
    pub(super) blocks: [Block; 2],
}

impl Up {
    /// `u_s` from `u_{s+1}` and `x_s`.
    pub(super) fn forward(&self, below: &Tensor, beside: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (size, small) = (beside.size(), below.size());
        let large = below.f_upsample_bilinear2d([2 * small[2], 2 * small[3]], true, None, None)?;
        let large = large.f_narrow(2, 0, size[2])?.f_narrow(3, 0, size[3])?;
        let both = Tensor::f_cat(&[large, self.skip.forward(beside, pass)?], 1)?;
        let [first, second] = &self.blocks;
        second.forward(&first.forward(&self.norm.forward(&both, pass)?, pass)?, pass)
    }
}
