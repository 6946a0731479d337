//! The architecture of a WPPFlow.

use crate::clamp::{ClampForm, SoftClamp};
use crate::image::{ConditionalAffine, ConvCoupling, ImageLayer, ImageNorm, Squeeze, Unsqueeze};
use crate::permutation::Permutation;
use smalti_base::{Error, Result, Seed, seed::Stream};

/// The architecture of a WPPFlow, see [`crate::WppFlow`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WppFlowShape {
    /// How many times as large as the observation images are, in both directions: 2, 4, 8 or 16.
    pub factor: i64,
    /// Blocks of each of the `log2(factor)` levels.
    pub blocks: i64,
    /// Hidden channels of every subnet.
    pub hidden: i64,
    /// The soft clamp of the unconditional couplings at the beginning.
    pub first_clamp: SoftClamp,
    /// The soft clamp of all that follows.
    pub clamp: SoftClamp,
    /// Row and column of the image, in its pixels, where the centre of the observation's pixel (0, 0) lies; that is what
    /// [`smalti_operators::Grid::origin`] says of an operator. The condition is interpolated accordingly.
    pub origin: f64,
}

impl Default for WppFlowShape {
    /// [`WppFlowShape::altekrueger_2023_x4`].
    fn default() -> Self {
        Self::altekrueger_2023_x4()
    }
}

impl WppFlowShape {
    /// The authors' architecture for factor 4: 2 levels of 16 blocks, 2.25 million parameters.
    ///
    /// They interpolate the condition as if the observation's pixel (0, 0) lay at (1.5, 1.5); the operator with a
    /// 16x16 kernel has it at (7.5, 7.5).
    ///
    /// # Reference
    /// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
    /// Journal on Imaging Sciences 16 (2023), and the code published with it.
    pub const fn altekrueger_2023_x4() -> Self {
        Self {
            factor: 4,
            blocks: 16,
            hidden: 128,
            first_clamp: SoftClamp::of(ClampForm::AlphaAtan, 1.5),
            clamp: SoftClamp::of(ClampForm::AlphaAtan, 1.2),
            origin: 1.5,
        }
    }

    /// The authors' architecture for factor 8: 3 levels of 10 blocks, 5.91 million parameters.
    pub const fn altekrueger_2023_x8() -> Self {
        Self { factor: 8, blocks: 10, origin: 3.5, ..Self::altekrueger_2023_x4() }
    }

    /// The same for images so many times as large as observations.
    #[must_use]
    pub fn with_factor(mut self, factor: i64) -> Self {
        self.factor = factor;
        self
    }

    /// The same with so many blocks on every level.
    #[must_use]
    pub fn with_blocks(mut self, blocks: i64) -> Self {
        self.blocks = blocks;
        self
    }

    /// The same with so many hidden channels.
    #[must_use]
    pub fn with_hidden(mut self, hidden: i64) -> Self {
        self.hidden = hidden;
        self
    }

    /// The same with another clamp at the beginning.
    #[must_use]
    pub fn with_first_clamp(mut self, first_clamp: SoftClamp) -> Self {
        self.first_clamp = first_clamp;
        self
    }

    /// The same with another clamp of all that follows.
    #[must_use]
    pub fn with_clamp(mut self, clamp: SoftClamp) -> Self {
        self.clamp = clamp;
        self
    }

    /// The same for observations that lie elsewhere.
    #[must_use]
    pub fn with_origin(mut self, origin: f64) -> Self {
        self.origin = origin;
        self
    }

    /// `log2(factor)`.
    ///
    /// # Errors
    /// [`Error::Value`] where a number is out of range.
    pub fn levels(&self) -> Result<u32> {
        if !(2..=16).contains(&self.factor) || self.factor.count_ones() != 1 {
            return Err(Error::value("factor of a WPPFlow", "2, 4, 8 or 16", self.factor));
        }
        if self.blocks < 1 {
            return Err(Error::value("blocks of a WPPFlow", "at least 1", self.blocks));
        }
        if !self.origin.is_finite() {
            return Err(Error::value("origin of the observation", "a finite number", self.origin));
        }
        Ok(self.factor.trailing_zeros())
    }

    /// Channels of the images on every level, in the order of the flow.
    fn channels(&self) -> Result<Vec<i64>> {
        Ok((1..=self.levels()?).rev().map(|level| 1 << (2 * level)).collect())
    }

    /// A permutation for every block of every level.
    pub(crate) fn draw_permutations(&self, seed: Seed) -> Result<Vec<Vec<i64>>> {
        let mut stream = seed.at("permutations of WPPFlow", 0);
        let draw = |channels| stream.permutation(channels as usize);
        Ok(self.permuted()?.into_iter().map(draw).collect())
    }

    /// Channels that every block permutes, in the order of the flow.
    pub(crate) fn permuted(&self) -> Result<Vec<i64>> {
        let of_level = |channels| std::iter::repeat_n(channels, self.blocks as usize);
        Ok(self.channels()?.into_iter().flat_map(of_level).collect())
    }

    /// The layers, latent to data, each with the number of the condition that it takes.
    pub(crate) fn layers(&self, permutations: &[Vec<i64>], seed: Seed) -> Result<Vec<ResolvedLayer>> {
        let all = self.channels()?;
        let blocks = self.blocks as usize;
        if permutations.len() != all.len() * blocks {
            let expected = format!("{}, one for every block", all.len() * blocks);
            return Err(Error::value("number of permutations", expected, permutations.len()));
        }
        let mut stream = seed.at("weights of WPPFlow", 0);
        let mut built = Building { layers: Vec::new(), resolution: 0 };
        for channels in all.iter().rev() {
            built.add(Squeeze);
            for _ in 0..2 {
                built.add(self.coupling(*channels, 0, 3, self.first_clamp, &mut stream)?);
                built.add(ImageNorm::identity(*channels));
            }
        }
        for (channels, permutations) in all.iter().zip(permutations.chunks(blocks)) {
            for permutation in permutations {
                if permutation.len() as i64 != *channels {
                    let expected = format!("length {channels}");
                    return Err(Error::value("permutation of a WPPFlow", expected, permutation.len()));
                }
                built.add(self.coupling(*channels, 1, 3, self.clamp, &mut stream)?);
                built.add(Permutation::new(permutation)?);
                built.add(self.affine(*channels, &mut stream)?);
                built.add(self.coupling(*channels, 0, 1, self.clamp, &mut stream)?);
                built.add(ImageNorm::identity(*channels));
            }
            built.add(self.coupling(*channels, 0, 1, self.clamp, &mut stream)?);
            built.add(ImageNorm::identity(*channels));
            built.add(Unsqueeze);
            built.resolution += 1;
        }
        built.add(self.affine(1, &mut stream)?);
        Ok(built.layers)
    }

    fn coupling(
        &self,
        channels: i64,
        condition: i64,
        side: i64,
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<ConvCoupling> {
        ConvCoupling::new(channels, condition, (side, self.hidden), clamp, stream)
    }

    fn affine(&self, channels: i64, stream: &mut Stream) -> Result<ConditionalAffine> {
        ConditionalAffine::new(channels, 1, (3, self.hidden), self.clamp, stream)
    }
}

/// A layer of the flow.
pub(crate) struct ResolvedLayer {
    pub(crate) layer: Box<dyn ImageLayer>,
    /// The layer works at `2^resolution` times the observation's resolution.
    pub(crate) resolution: usize,
}

struct Building {
    layers: Vec<ResolvedLayer>,
    resolution: usize,
}

impl Building {
    fn add(&mut self, layer: impl ImageLayer + 'static) {
        self.layers.push(ResolvedLayer { layer: Box::new(layer), resolution: self.resolution });
    }
}
