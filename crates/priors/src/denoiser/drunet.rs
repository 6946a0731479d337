//! DRUNet.

use super::convolutions::{Convolution, StateDict, cut_like, padded};
use super::{Denoiser, check, check_that_it_denoises};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, parallel};
use std::ops::RangeInclusive;
use std::path::Path;
use tch::{Device, Tensor};

/// DRUNet for grey images, a residual U-Net that is told the noise level as a second channel: a 3x3 convolution; three times residual
/// blocks `z + K' relu(K z)` and a 2x2 convolution of stride 2; blocks; three times a transposed 2x2 convolution of what came from
/// below and what went there, and blocks; a 3x3 convolution. Without biases, hence `D(a x, a sigma) = a D(x, sigma)` for `a > 0`.
///
/// # Reference
/// K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte, "Plug-and-play image restoration with deep denoiser prior", IEEE
/// Transactions on Pattern Analysis and Machine Intelligence 44 (2022).
#[derive(Debug)]
pub struct DruNet {
    head: Convolution,
    /// Blocks, and the way down.
    down: Vec<(Vec<Block>, Convolution)>,
    body: Vec<Block>,
    /// The way up, and blocks: from the coarsest.
    up: Vec<(Convolution, Vec<Block>)>,
    tail: Convolution,
}

/// Two convolutions of a residual block.
type Block = [Convolution; 2];

impl DruNet {
    /// The noise levels that it is made for.
    pub const LEVELS: RangeInclusive<f64> = 0.0..=50.0 / 255.0;

    /// The network of a state dict of its authors (`drunet_gray.pth`): `m_head`, `m_down1` to `m_down3`, `m_body`, `m_up3` to `m_up1`,
    /// `m_tail`, with any number of channels and blocks.
    ///
    /// # Errors
    /// Those of [`smalti_base::pytorch_file::load_state_dict`]; [`smalti_base::Error::Content`] where tensors are missing, too many or of another size, or the
    /// network does not denoise.
    pub fn load(path: &Path) -> Result<Self> {
        let net = Self::load_unchecked(path)?;
        check_that_it_denoises(&net, path)?;
        Ok(net)
    }

    /// [`DruNet::load`] of a network that need not denoise.
    ///
    /// # Errors
    /// Those of [`DruNet::load`] about tensors.
    pub fn load_unchecked(path: &Path) -> Result<Self> {
        let mut dict = StateDict::load(path, "DRUNet for grey images (drunet_gray.pth)")?;
        let head = convolution(&mut dict, "m_head", [None, Some(2)], 3)?;
        let mut channels = head.channels()[0];
        let (mut down, mut up, mut widths) = (Vec::new(), Vec::new(), Vec::new());
        for level in 1..=3 {
            let name = format!("m_down{level}");
            let blocks = blocks(&mut dict, &name, 0, channels)?;
            let coarser =
                convolution(&mut dict, &format!("{name}.{}", blocks.len()), [None, Some(channels)], 2)?;
            widths.push(channels);
            channels = coarser.channels()[0];
            down.push((blocks, coarser));
        }
        let body = blocks(&mut dict, "m_body", 0, channels)?;
        for level in (1..=3).rev() {
            let name = format!("m_up{level}");
            let finer = widths.pop().unwrap_or(channels);
            let enlarge = convolution(&mut dict, &format!("{name}.0"), [Some(channels), Some(finer)], 2)?;
            channels = finer;
            up.push((enlarge, blocks(&mut dict, &name, 1, channels)?));
        }
        let tail = convolution(&mut dict, "m_tail", [Some(1), Some(channels)], 3)?;
        dict.finish()?;
        Ok(Self { head, down, body, up, tail })
    }

    fn all(&self) -> impl Iterator<Item = &Convolution> {
        let down = self.down.iter().flat_map(|(blocks, coarser)| blocks.iter().flatten().chain([coarser]));
        let up =
            self.up.iter().flat_map(|(enlarge, blocks)| [enlarge].into_iter().chain(blocks.iter().flatten()));
        [&self.head].into_iter().chain(down).chain(self.body.iter().flatten()).chain(up).chain([&self.tail])
    }
}

fn convolution(
    dict: &mut StateDict<'_>,
    name: &str,
    channels: [Option<i64>; 2],
    side: i64,
) -> Result<Convolution> {
    let size = [channels[0], channels[1], Some(side), Some(side)];
    Convolution::new(&dict.take(&format!("{name}.weight"), &size)?, None)
}

/// The residual blocks `name.FIRST`, `name.FIRST+1`, ..., as many as there are.
fn blocks(dict: &mut StateDict<'_>, name: &str, first: usize, channels: i64) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    loop {
        let block = format!("{name}.{}.res", first + blocks.len());
        if !dict.has(&format!("{block}.0.weight")) {
            return Ok(blocks);
        }
        let size = [Some(channels); 2];
        let mut part = |k: i64| convolution(dict, &format!("{block}.{k}"), size, 3);
        blocks.push([part(0)?, part(2)?]);
    }
}

fn through(blocks: &[Block], mut z: Tensor) -> Result<Tensor> {
    for [first, second] in blocks {
        let inner = first.apply(&z, 1, 1)?.f_relu_()?;
        z = z.f_add(&second.apply(&inner, 1, 1)?)?;
    }
    Ok(z)
}

impl Denoiser for DruNet {
    fn name(&self) -> &'static str {
        "DRUNet"
    }

    fn levels(&self) -> RangeInclusive<f64> {
        Self::LEVELS
    }

    fn denoise(&self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        check(self, x, sigma, self.head.device())?;
        let _no_grad = tch::no_grad_guard();
        parallel::in_operations(|| {
            let image = padded(x, 8)?;
            let level = image.f_full_like(sigma)?;
            let mut z = self.head.apply(&Tensor::f_cat(&[image, level], 1)?, 1, 1)?;
            let mut skipped = Vec::new();
            for (blocks, coarser) in &self.down {
                skipped.push(z.shallow_clone());
                z = coarser.apply(&through(blocks, z)?, 2, 0)?;
            }
            let mut below = through(&self.body, z.shallow_clone())?.f_add(&z)?;
            for (enlarge, blocks) in &self.up {
                let finer = through(blocks, enlarge.transposed(&below)?)?;
                below = match skipped.pop() {
                    Some(skip) => finer.f_add(&skip)?,
                    None => finer,
                };
            }
            cut_like(&self.tail.apply(&below, 1, 1)?, x)
        })
    }

    fn move_to(&mut self, device: Device) -> Result<()> {
        let down =
            self.down.iter_mut().flat_map(|(blocks, coarser)| blocks.iter_mut().flatten().chain([coarser]));
        let up = self
            .up
            .iter_mut()
            .flat_map(|(enlarge, blocks)| [enlarge].into_iter().chain(blocks.iter_mut().flatten()));
        let ends = [&mut self.head, &mut self.tail];
        let mut all = ends.into_iter().chain(down).chain(self.body.iter_mut().flatten()).chain(up);
        all.try_for_each(|layer| layer.move_to(device))
    }

    fn hash(&self) -> Result<String> {
        data_hash(&self.all().flat_map(Convolution::tensors).collect::<Vec<_>>())
    }
}
