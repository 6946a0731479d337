//! Patches of images and volumes on a grid as windows of a tensor, and the adjoint.

use smalti_base::Result;
use tch::Tensor;

/// The patches of side `size` at every `stride`-th position of `x: [B, C, H, W]` or `[B, C, D, H, W]`, each position along
/// each axis: `[B, places, C, patch]`, with as many axes of places and of patches as `x` has beyond channels.
pub(crate) fn windows(x: &Tensor, size: i64, stride: i64) -> Result<Tensor> {
    let axes = x.dim() as i64 - 2;
    let mut windows = x.shallow_clone();
    for axis in 0..axes {
        windows = windows.f_unfold(2 + axis, size, stride)?;
    }
    // From [B, C, places, patch].
    let order: Vec<i64> = [0].into_iter().chain(2..2 + axes).chain([1]).chain(within(axes)).collect();
    Ok(windows.f_permute(&order[..])?)
}

/// The adjoint: `v`, with the values of [`windows`] in the same order in any shape, as a gradient of the shape `size_of_x`.
/// Every pixel gathers its own sum, in an order that is always the same.
pub(crate) fn windows_adjoint(v: &Tensor, size_of_x: &[i64], size: i64, stride: i64) -> Result<Tensor> {
    let (sides, axes) = (&size_of_x[2..], size_of_x.len() as i64 - 2);
    let shape: Vec<i64> = std::iter::once(size_of_x[0])
        .chain(sides.iter().map(|n| (n - size) / stride + 1))
        .chain([size_of_x[1]])
        .chain(sides.iter().map(|_| size))
        .collect();
    // From [B, places, C, patch] to [B, C, places, patch].
    let order: Vec<i64> = [0, 1 + axes].into_iter().chain(1..1 + axes).chain(within(axes)).collect();
    let mut windows = v.f_reshape(&shape[..])?.f_permute(&order[..])?.f_contiguous()?;
    for (axis, n) in sides.iter().enumerate().rev() {
        let mut unfolded = windows.size();
        unfolded.pop();
        unfolded[2 + axis] = *n;
        windows = Tensor::f_unfold_backward(&windows, &unfolded[..], 2 + axis as i64, size, stride)?;
    }
    Ok(windows)
}

/// The axes within a patch, of either order.
fn within(axes: i64) -> std::ops::Range<i64> {
    2 + axes..2 + 2 * axes
}
