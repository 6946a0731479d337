//! Patches as rows of tensors, on the device of the image, and the adjoint.

use super::patches::Patches;
use crate::windows::{windows, windows_adjoint};
use smalti_base::Result;
use tch::{Kind, Tensor};

impl Patches {
    /// The patches in the order and layout of [`Patches::rows`], `[N, d]`, in the dtype of `x`.
    pub(super) fn tensor_rows(self, x: &Tensor) -> Result<Tensor> {
        let dim = x.size()[1] * self.size.pow(x.dim() as u32 - 2);
        let rows = windows(x, self.size, self.stride)?.f_reshape([-1, dim])?;
        if !self.centred {
            return Ok(rows);
        }
        let mean = rows.f_mean_dim(1i64, true, Kind::Double)?;
        Ok(rows.f_sub(&mean)?.f_to_kind(x.kind())?)
    }

    /// The adjoint: a gradient `[N, d]` in the rows of `x` as one in its pixels, of the gradient's dtype.
    pub(super) fn tensor_rows_adjoint(self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let mean = |gradient: &Tensor| gradient.f_mean_dim(1i64, true, gradient.kind());
        let centred = if self.centred { Some(gradient.f_sub(&mean(gradient)?)?) } else { None };
        windows_adjoint(centred.as_ref().unwrap_or(gradient), &x.size(), self.size, self.stride)
    }
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
