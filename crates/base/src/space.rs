//! Spaces: the shapes that operators map between.

use crate::error::{Error, Result};
use tch::Tensor;

/// The set of images `[B, C, H, W]`, or of volumes `[B, C, D, H, W]`, with fixed channels and axes and any batch size `B`.
///
/// ```
/// use smalti_base::Space;
/// let (image, volume) = (Space::image(3, 480, 640), Space::volume(1, 32, 48, 64));
/// assert_eq!((image.batch(2), image.axes()), (vec![2, 3, 480, 640], vec![480, 640]));
/// assert_eq!((volume.batch(2), volume.axes()), (vec![2, 1, 32, 48, 64], vec![32, 48, 64]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Channels `C`.
    pub channels: i64,
    /// Slices `D` of a volume; images have none.
    pub depth: Option<i64>,
    /// Rows `H`.
    pub height: i64,
    /// Columns `W`.
    pub width: i64,
}

impl Space {
    /// Images with `channels` channels of `height` x `width` pixels.
    pub const fn image(channels: i64, height: i64, width: i64) -> Self {
        Self { channels, depth: None, height, width }
    }

    /// Volumes with `channels` channels of `depth` x `height` x `width` voxels.
    pub const fn volume(channels: i64, depth: i64, height: i64, width: i64) -> Self {
        Self { channels, depth: Some(depth), height, width }
    }

    /// The space that `x` (`[B, C, H, W]` or `[B, C, D, H, W]`) lies in.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is neither.
    pub fn of(what: &str, x: &Tensor) -> Result<Self> {
        Self::of_batch(what, &x.size())
    }

    /// The space whose batches have the shape `size`: what [`batch`](Self::batch) came from.
    ///
    /// # Errors
    /// [`Error::Shape`] where there is none.
    pub fn of_batch(what: &str, size: &[i64]) -> Result<Self> {
        match *size {
            [_, channels, height, width] => Ok(Self::image(channels, height, width)),
            [_, channels, depth, height, width] => Ok(Self::volume(channels, depth, height, width)),
            _ => Err(Error::shape(what, "[B, C, H, W], or [B, C, D, H, W] of volumes", size)),
        }
    }

    /// The sides along which elements extend: `[H, W]` or `[D, H, W]`.
    pub fn axes(&self) -> Vec<i64> {
        self.depth.into_iter().chain([self.height, self.width]).collect()
    }

    /// The same with every side of [`axes`](Self::axes) changed by `change`.
    #[must_use]
    pub fn map_axes(self, change: impl Fn(i64) -> i64) -> Self {
        let Self { channels, depth, height, width } = self;
        Self { channels, depth: depth.map(&change), height: change(height), width: change(width) }
    }

    /// `[H, W]` of images, for what makes sense for images only.
    ///
    /// # Errors
    /// [`Error::Shape`] naming `what` where these are volumes.
    pub fn plane(&self, what: &str) -> Result<[i64; 2]> {
        match self.depth {
            None => Ok([self.height, self.width]),
            Some(_) => Err(Error::shape(what, "images, [B, C, H, W]", self.shape())),
        }
    }

    /// The shape of one element: `[C, H, W]` or `[C, D, H, W]`.
    fn shape(&self) -> Vec<i64> {
        std::iter::once(self.channels).chain(self.axes()).collect()
    }

    /// The shape of a batch of `b` elements: `[b, C, H, W]` or `[b, C, D, H, W]`.
    pub fn batch(&self, b: i64) -> Vec<i64> {
        std::iter::once(b).chain(self.shape()).collect()
    }

    /// Number of values in one element, `C H W` or `C D H W`.
    pub fn len(&self) -> i64 {
        self.shape().iter().product()
    }

    /// Whether elements of this space hold no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that `x` lies in this space.
    ///
    /// # Errors
    /// [`Error::Shape`] naming `what`.
    pub fn check(&self, what: &str, x: &Tensor) -> Result<()> {
        let (size, shape) = (x.size(), self.shape());
        if size.len() == shape.len() + 1 && size[1..] == shape {
            return Ok(());
        }
        let sides: Vec<String> = shape.iter().map(i64::to_string).collect();
        Err(Error::shape(what, format!("[B, {}]", sides.join(", ")), size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(size: &[i64]) -> Tensor {
        Tensor::zeros(size, tch::kind::FLOAT_CPU)
    }

    #[test]
    fn tensors_lie_in_their_own_space_alone() {
        let spaces = [Space::image(3, 4, 5), Space::volume(3, 2, 4, 5), Space::volume(1, 3, 4, 5)];
        for (i, space) in spaces.iter().enumerate() {
            let x = zeros(&space.batch(2));
            assert_eq!(Space::of("x", &x).unwrap(), *space);
            assert_eq!(space.len() * 2, x.numel() as i64);
            for (j, other) in spaces.iter().enumerate() {
                assert_eq!(other.check("x", &x).is_ok(), i == j, "{space:?} {other:?}");
            }
            assert!(space.check("x", &x.get(0)).is_err());
        }
        assert!(Space::of("x", &zeros(&[4, 5, 6])).is_err());
        assert!(Space::of("x", &zeros(&[1, 1, 1, 4, 5, 6])).is_err());
        let line = spaces[1].check("scan", &zeros(&[1, 3, 4, 5])).unwrap_err().to_string();
        assert!(line.contains("scan") && line.contains("[B, 3, 2, 4, 5]"), "{line}");
    }

    #[test]
    fn volumes_are_no_planes() {
        assert_eq!(Space::image(2, 4, 5).plane("slice").unwrap(), [4, 5]);
        let line = Space::volume(2, 3, 4, 5).plane("slice").unwrap_err().to_string();
        assert!(line.contains("slice") && line.contains("[B, C, H, W]"), "{line}");
    }
}
