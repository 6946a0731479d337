//! Convolutional subnets.

use smalti_base::{Error, Result, parallel::Shared, seed::Stream};
use tch::{Device, Kind, Tensor};

/// Hidden activations of a subnet are computed in strips of rows that hold at most so many bytes.
const HIDDEN_BYTES: i64 = 256 << 20;

/// The sizes of a [`ConvNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub inputs: i64,
    /// Hidden channels.
    pub hidden: i64,
    /// Output channels.
    pub outputs: i64,
    /// Side of both kernels, odd.
    pub side: i64,
}

/// `K_2 * relu(K_1 * x + b_1) + b_2` with square kernels and zeros around the image:
/// `[B, inputs, H, W] -> [B, outputs, H, W]`.
///
/// # Cost
/// Where the hidden activations of the images would take more than 256 MiB, they are computed in strips of rows which
/// overlap so far that nothing but rounding changes: without a graph, memory does not grow with `hidden H W`.
#[derive(Debug)]
pub struct ConvNet {
    kernels: Shared<[Tensor; 2]>,
    biases: Shared<[Tensor; 2]>,
}

impl ConvNet {
    /// A subnet whose output is zero: the first layer is uniform within `+- 1 / sqrt(inputs of a pixel)`, as is PyTorch's
    /// default, the last one zero.
    ///
    /// # Errors
    /// [`Error::Value`] where a number of channels is not positive or the side is not odd.
    pub fn new(shape: ConvShape, stream: &mut Stream) -> Result<Self> {
        let ConvShape { inputs, hidden, outputs, side } = shape;
        if [inputs, hidden, outputs].iter().any(|&n| n < 1) || side < 1 || side % 2 == 0 {
            let expected = "positive numbers of channels and an odd side";
            return Err(Error::value("sizes of a subnet", expected, format!("{shape:?}")));
        }
        let bound = 1.0 / ((inputs * side * side) as f64).sqrt();
        let mut draw = |size: &[i64]| ((stream.uniform(size) * 2.0 - 1.0) * bound).set_requires_grad(true);
        let zeros = |size: &[i64]| Tensor::zeros(size, tch::kind::FLOAT_CPU).set_requires_grad(true);
        Ok(Self {
            kernels: Shared::new([
                draw(&[hidden, inputs, side, side]),
                zeros(&[outputs, hidden, side, side]),
            ]),
            biases: Shared::new([draw(&[hidden]), zeros(&[outputs])]),
        })
    }

    /// The subnet's value.
    ///
    /// # Errors
    /// Those of libtorch where `x` does not have the channels, dtype and device of the first layer.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, w) = (x.size()[0], x.size().last().copied().unwrap_or(1));
        let row = b * w * self.biases[0].size()[0] * x.kind().elt_size_in_bytes() as i64;
        self.in_strips(x, HIDDEN_BYTES / row.max(1))
    }

    /// The same with at most `rows` rows at a time.
    fn in_strips(&self, x: &Tensor, rows: i64) -> Result<Tensor> {
        let kernels = [self.kernel(0)?, self.kernel(1)?];
        let [first, last] =
            [0, 1].map(|k| move |kernels: &[Tensor; 2], x: &Tensor| self.layer(kernels, k, x));
        let h = x.size().get(2).copied().unwrap_or(0);
        if rows >= h {
            return last(&kernels, &first(&kernels, x)?.f_relu_()?);
        }
        let reach = self.kernels[0].size()[2] / 2;
        let strip = |start: i64| {
            let end = (start + rows.max(1)).min(h);
            let around = |n: i64| ((start - n).max(0), (end + n).min(h));
            let ((seen, seen_end), (hidden, hidden_end)) = (around(2 * reach), around(reach));
            let part = first(&kernels, &x.f_narrow(2, seen, seen_end - seen)?)?.f_relu_()?;
            let part = part.f_narrow(2, hidden - seen, hidden_end - hidden)?;
            Ok::<_, Error>(last(&kernels, &part)?.f_narrow(2, start - hidden, end - start)?)
        };
        let strips = (0..h).step_by(rows.max(1) as usize).map(strip).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&strips, 2)?)
    }

    /// A kernel in the layout that the device prefers.
    fn kernel(&self, k: usize) -> Result<Tensor> {
        let kernel = &self.kernels[k];
        if kernel.device() == Device::Cpu && kernel.kind() == Kind::Float {
            // Channels of a pixel lie side by side, which saves libtorch from rearranging every image.
            return Ok(kernel.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?);
        }
        Ok(kernel.shallow_clone())
    }

    fn layer(&self, kernels: &[Tensor; 2], k: usize, x: &Tensor) -> Result<Tensor> {
        let border = self.kernels[k].size()[2] / 2;
        Ok(x.f_conv2d(&kernels[k], Some(&self.biases[k]), [1, 1], [border; 2], [1, 1], 1)?)
    }

    /// Weights and biases with the names that PyTorch gives them in a `Sequential` with ReLU between.
    pub fn parameters(&self, prefix: &str) -> Vec<(String, &Tensor)> {
        let named = |k: usize| {
            let name = format!("{prefix}.{}", 2 * k);
            [(format!("{name}.weight"), &self.kernels[k]), (format!("{name}.bias"), &self.biases[k])]
        };
        [0, 1].into_iter().flat_map(named).collect()
    }

    /// The same tensors in the same order.
    pub fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.kernels
            .iter_mut()
            .zip(self.biases.iter_mut())
            .flat_map(|(kernel, bias)| [kernel, bias])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{ConvNet, ConvShape};
    use smalti_base::Seed;
    use tch::Kind;

    #[test]
    fn strips_change_nothing() {
        for side in [1, 3, 5] {
            let shape = ConvShape { inputs: 3, hidden: 6, outputs: 4, side };
            let mut net = ConvNet::new(shape, &mut Seed::new(1).at("weights", 0)).unwrap();
            for (k, parameter) in net.parameters_mut().into_iter().enumerate() {
                *parameter =
                    Seed::new(2).at("weights", k as u64).normal(&parameter.size()).to_kind(Kind::Double);
            }
            let x = Seed::new(3).at("x", 0).normal(&[2, 3, 11, 7]).to_kind(Kind::Double);
            let whole = net.forward(&x).unwrap();
            for rows in [0, 1, 2, 4, 10, 11] {
                let gap = (net.in_strips(&x, rows).unwrap() - &whole).abs().max().double_value(&[]);
                assert!(gap < 1e-12, "side {side}, {rows} rows: {gap}");
            }
        }
    }

    #[test]
    fn sizes_are_checked() {
        let shape = ConvShape { inputs: 3, hidden: 6, outputs: 4, side: 3 };
        for wrong in [ConvShape { side: 2, ..shape }, ConvShape { hidden: 0, ..shape }] {
            assert!(ConvNet::new(wrong, &mut Seed::new(1).at("weights", 0)).is_err());
        }
    }
}
