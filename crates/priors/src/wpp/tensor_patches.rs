//! Patches as rows of tensors, on the device of the image, and the adjoint.

use super::patches::Patches;
use smalti_base::Result;
use tch::{Kind, Tensor};

impl Patches {
    /// The patches in the order and layout of [`Patches::rows`], `[N, d]`, in the dtype of `x`.
    pub(super) fn tensor_rows(self, x: &Tensor) -> Result<Tensor> {
        let axes = x.dim() - 2;
        let mut windows = x.shallow_clone();
        for axis in 0..axes {
            windows = windows.f_unfold(2 + axis as i64, self.size, self.stride)?;
        }
        // From [B, C, places, patch] to [B, places, C, patch].
        let order: Vec<i64> = [0].into_iter().chain(places(axes)).chain([1]).chain(within(axes)).collect();
        let rows = windows.f_permute(&order[..])?.f_reshape([-1, self.dim(x)])?;
        if !self.centred {
            return Ok(rows);
        }
        let mean = rows.f_mean_dim(1i64, true, Kind::Double)?;
        Ok(rows.f_sub(&mean)?.f_to_kind(x.kind())?)
    }

    /// The adjoint: a gradient `[N, d]` in the rows of `x` as one in its pixels, of the gradient's dtype. Every pixel
    /// gathers its own sum, in an order that is always the same.
    pub(super) fn tensor_rows_adjoint(self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let size = x.size();
        let axes = x.dim() - 2;
        let gradient = if self.centred {
            gradient.f_sub(&gradient.f_mean_dim(1i64, true, gradient.kind())?)?
        } else {
            gradient.shallow_clone()
        };
        let count = |n: &i64| (n - self.size) / self.stride + 1;
        let shape: Vec<i64> = std::iter::once(size[0])
            .chain(size[2..].iter().map(count))
            .chain([size[1]])
            .chain(std::iter::repeat_n(self.size, axes))
            .collect();
        // From [B, places, C, patch] to [B, C, places, patch].
        let channels = 1 + axes as i64;
        let order: Vec<i64> = [0, channels].into_iter().chain(1..channels).chain(within(axes)).collect();
        let mut windows = gradient.f_reshape(&shape[..])?.f_permute(&order[..])?.f_contiguous()?;
        for axis in (0..axes).rev() {
            let mut unfolded = windows.size();
            unfolded.pop();
            unfolded[2 + axis] = size[2 + axis];
            windows =
                Tensor::f_unfold_backward(&windows, &unfolded[..], 2 + axis as i64, self.size, self.stride)?;
        }
        Ok(windows)
    }

    /// Values of a patch of `x`.
    fn dim(self, x: &Tensor) -> i64 {
        x.size()[1] * self.size.pow(x.dim() as u32 - 2)
    }
}

/// Of `[B, C, places, patch]`: the axes of the places.
fn places(axes: usize) -> std::ops::Range<i64> {
    2..2 + axes as i64
}

/// Of either order: the axes within a patch.
fn within(axes: usize) -> std::ops::Range<i64> {
    2 + axes as i64..2 + 2 * axes as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use tch::Device;

    /// The flat position in the batch of every value of every patch, from patches of an image of positions.
    fn positions(patches: Patches, x: &Tensor) -> Tensor {
        let flat = Tensor::arange(x.numel() as i64, (Kind::Double, Device::Cpu)).reshape(x.size());
        Patches { centred: false, ..patches }.tensor_rows(&flat).unwrap().to_kind(Kind::Int64)
    }

    #[test]
    fn rows_and_their_adjoint_are_those_of_the_kernels() {
        for (size, p, stride) in [
            (vec![1, 1, 9, 11], 3, 1),
            (vec![2, 3, 8, 7], 2, 3),
            (vec![2, 2, 10, 9], 4, 2),
            (vec![1, 1, 6, 7, 5], 2, 1),
            (vec![2, 2, 7, 6, 8], 3, 2),
            (vec![1, 1, 4, 5], 4, 5),
        ] {
            for centred in [false, true] {
                let patches = Patches { size: p, stride, centred };
                let x = Seed::new(9).at("x", 0).uniform(&size);
                let rows = patches.tensor_rows(&x).unwrap();
                let expected = patches.rows("x", &x).unwrap();
                assert_eq!(rows.size(), [expected.len() as i64, expected.dim() as i64]);
                let mut row = vec![0.0; expected.dim()];
                for i in 0..expected.len() {
                    expected.read(i, &mut row);
                    let error = (rows.get(i as i64) - Tensor::from_slice(&row)).abs().max();
                    // Means in another order of summation.
                    assert!(error.double_value(&[]) < 1e-7, "{size:?}, row {i}: {error}");
                }

                let v = Seed::new(9).at("v", 0).normal(&rows.size()).to_kind(Kind::Double);
                let back = patches.tensor_rows_adjoint(&x, &v).unwrap();
                assert_eq!(back.size(), size);
                let v = if centred { &v - v.mean_dim(1i64, true, Kind::Double) } else { v };
                let scattered = Tensor::zeros([x.numel() as i64], (Kind::Double, Device::Cpu)).index_add(
                    0,
                    &positions(patches, &x).reshape([-1]),
                    &v.reshape([-1]),
                );
                let error = (back.reshape([-1]) - scattered).abs().max().double_value(&[]);
                assert!(error < 1e-12, "{size:?}, stride {stride}, centred {centred}: {error}");
            }
        }
    }
}
