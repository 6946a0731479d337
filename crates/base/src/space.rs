//! Spaces: the shapes that operators map between.

use crate::error::{Error, Result};
use tch::Tensor;

/// The set of tensors `[B, C, H, W]` with fixed channels, rows and columns and any batch size `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Channels `C`.
    pub channels: i64,
    /// Rows `H`.
    pub height: i64,
    /// Columns `W`.
    pub width: i64,
}

impl Space {
    /// Images with `channels` channels of `height` x `width` pixels.
    pub fn image(channels: i64, height: i64, width: i64) -> Self {
        Self { channels, height, width }
    }

    /// The space that `x` (`[B, C, H, W]`) lies in.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not 4-dimensional.
    pub fn of(what: &str, x: &Tensor) -> Result<Self> {
        match x.size()[..] {
            [_, channels, height, width] => Ok(Self { channels, height, width }),
            _ => Err(Error::shape(what, "[B, C, H, W]", x.size())),
        }
    }

    /// The shape of a batch of `b` elements: `[b, C, H, W]`.
    pub fn batch(&self, b: i64) -> [i64; 4] {
        [b, self.channels, self.height, self.width]
    }

    /// Number of values in one element, `C H W`.
    pub fn len(&self) -> i64 {
        self.channels * self.height * self.width
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
        let size = x.size();
        if size.len() == 4 && size[1..] == [self.channels, self.height, self.width] {
            return Ok(());
        }
        let expected = format!("[B, {}, {}, {}]", self.channels, self.height, self.width);
        Err(Error::Shape { what: what.into(), expected, got: format!("{size:?}") })
    }
}
