//! Shape and start of the U-Net.

use smalti_base::{Error, Result};

/// Shape and start of a [`UNet`](super::UNet).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UNetSettings {
    /// Channels of each scale, from the resolution of the image downwards, at least one scale.
    pub channels: Vec<i64>,
    /// Channels of each skip connection, at least 1.
    pub skip: i64,
    /// Whether results go through a sigmoid, into `(0, 1)`.
    pub sigmoid: bool,
    /// Whether biases of convolutions start at 0 instead of at random.
    pub zero_bias: bool,
}

impl Default for UNetSettings {
    /// [`UNetSettings::fbp_unet`].
    fn default() -> Self {
        Self::fbp_unet()
    }
}

impl UNetSettings {
    /// The network of the deep image prior: 128 channels on each of 5 scales, 4 for each skip connection, a sigmoid.
    ///
    /// # Reference
    /// Baguer, Leuschner, Schmidt, "Computed tomography reconstruction using deep image prior and learned
    /// reconstruction methods", Inverse Problems 36 (2020), as in the DIVal library.
    pub fn dip() -> Self {
        Self { channels: vec![128; 5], skip: 4, sigmoid: true, zero_bias: false }
    }

    /// The network that post-processes filtered back-projections: 32, 32, 64, 64 and 128 channels, no sigmoid, biases
    /// start at 0.
    ///
    /// # Reference
    /// FBP+UNet of Leuschner et al., "Quantitative comparison of deep learning-based image reconstruction methods for
    /// low-dose and sparse-angle CT applications", Journal of Imaging 7 (2021), after Jin, McCann, Froustey, Unser,
    /// "Deep convolutional neural network for inverse problems in imaging", IEEE Transactions on Image Processing 26
    /// (2017).
    pub fn fbp_unet() -> Self {
        Self { channels: vec![32, 32, 64, 64, 128], skip: 4, sigmoid: false, zero_bias: true }
    }

    /// The same with scales of so many channels each.
    #[must_use]
    pub fn with_channels(mut self, channels: impl Into<Vec<i64>>) -> Self {
        self.channels = channels.into();
        self
    }

    /// The same with so many channels of each skip connection.
    #[must_use]
    pub fn with_skip(mut self, skip: i64) -> Self {
        self.skip = skip;
        self
    }

    /// The same with or without a sigmoid.
    #[must_use]
    pub fn with_sigmoid(mut self, sigmoid: bool) -> Self {
        self.sigmoid = sigmoid;
        self
    }

    /// The same with biases that start at 0, or at random.
    #[must_use]
    pub fn with_zero_bias(mut self, zero_bias: bool) -> Self {
        self.zero_bias = zero_bias;
        self
    }

    /// Checks that there is a network of these settings.
    ///
    /// # Errors
    /// [`Error::Value`] where there are no scales, or more than 16, or a number of channels is not positive.
    pub fn check(&self) -> Result<()> {
        if !(1..=16).contains(&self.channels.len()) {
            return Err(Error::value("scales of a U-Net", "1 to 16", self.channels.len()));
        }
        let all = self.channels.iter().chain([&self.skip]);
        match all.copied().find(|c| !(1..=1 << 16).contains(c)) {
            Some(wrong) => Err(Error::value("channels of a U-Net", "1 to 65536", wrong)),
            None => Ok(()),
        }
    }

    /// Checks that images of `height x width` pixels have at least 2 x 2 pixels on the coarsest scale, where batches
    /// of one image would otherwise have no variance.
    ///
    /// # Errors
    /// [`Error::Value`] where they are smaller.
    pub fn check_size(&self, height: i64, width: i64) -> Result<()> {
        let least = (1_i64 << (self.channels.len().clamp(1, 17) - 1)) + 1;
        if height.min(width) >= least {
            return Ok(());
        }
        let what = format!("image for a U-Net of {} scales", self.channels.len());
        let expected = format!("at least {least} x {least} pixels (fewer scales need fewer)");
        Err(Error::value(what, expected, format!("{height} x {width}")))
    }
}
