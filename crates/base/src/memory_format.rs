//! The memory layout in which libtorch convolves fastest.

use crate::error::Result;
use tch::{Device, Tensor};

/// The kernel `[outputs, inputs, h, w]` in the memory layout that is the fastest where it is. Results of a convolution of
/// an image with one channel, and of convolutions that follow, have the layout of the kernels.
///
/// Channels of a pixel lie side by side, which saves libtorch from rearranging every image, but not on x86 processors
/// without AVX-512: there the gradient in a kernel of that layout runs at half the speed or less
/// (`docs/benchmarks.md`).
///
/// # Errors
/// Those of libtorch.
pub fn to_fastest_memory_format(kernel: &Tensor) -> Result<Tensor> {
    with_memory_format(kernel, kernel.device() != Device::Cpu || channels_last())
}

fn with_memory_format(kernel: &Tensor, channels_last: bool) -> Result<Tensor> {
    if channels_last {
        Ok(kernel.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
    } else {
        Ok(kernel.f_contiguous()?)
    }
}

#[cfg(target_arch = "x86_64")]
fn channels_last() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn channels_last() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::{to_fastest_memory_format, with_memory_format};
    use crate::seed::Seed;
    use tch::Tensor;

    /// Results of a convolution take on the layout of the kernel, whose values and gradient it does not change.
    #[test]
    fn layouts_differ_in_memory_only() {
        let random = |name: &str, size: &[i64]| Seed::new(3).at(name, 0).normal(size);
        let (x, g) = (random("image", &[2, 1, 7, 6]), random("gradient", &[2, 5, 7, 6]));
        let convolved = |layout: &dyn Fn(&Tensor) -> Tensor| {
            let kernel = random("kernel", &[5, 1, 3, 3]).set_requires_grad(true);
            let after = layout(&random("after", &[5, 5, 3, 3]));
            let y = x.conv2d(&layout(&kernel), None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
            let y = y.conv2d(&after, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
            let gradient = Tensor::run_backward(&[(&y * &g).sum(g.kind())], &[&kernel], false, false);
            (y.stride(), y.detach(), gradient[0].copy())
        };
        let plain = convolved(&|kernel| kernel.shallow_clone());
        let chosen = convolved(&|kernel| to_fastest_memory_format(kernel).unwrap());
        let last = convolved(&|kernel| with_memory_format(kernel, true).unwrap());
        let first = convolved(&|kernel| with_memory_format(kernel, false).unwrap());
        assert_eq!(first.0.as_slice(), [210, 42, 6, 1]);
        assert_eq!(last.0.as_slice(), [210, 1, 30, 5]);
        for (_, y, gradient) in [&chosen, &last] {
            assert!(y.allclose(&plain.1, 1e-5, 1e-5, false));
            assert!(gradient.allclose(&plain.2, 1e-5, 1e-4, false));
        }
    }
}
