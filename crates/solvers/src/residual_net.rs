//! A plain residual network at the resolution of the observation.

use crate::supervised_training::ImageNetwork;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::memory_format::to_fastest_memory_format;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, Seed};
use smalti_flows::Precision;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const KIND: &str = "residual network";

/// Size of a [`ResidualNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResidualNetSettings {
    /// Side `f` of the squares of pixels that the network sees as one pixel of `f^2` channels, at least 1: the factor of a
    /// superresolution, whose interpolated observation has no detail within them.
    pub factor: i64,
    /// Channels, at least 1.
    pub channels: i64,
    /// Residual blocks, at least 1.
    pub blocks: i64,
}

impl Default for ResidualNetSettings {
    /// 8 blocks of 64 channels for superresolution by 4: 0.6 million parameters.
    fn default() -> Self {
        Self { factor: 4, channels: 64, blocks: 8 }
    }
}

impl ResidualNetSettings {
    /// The same with another factor.
    #[must_use]
    pub fn with_factor(mut self, factor: i64) -> Self {
        self.factor = factor;
        self
    }

    /// The same with so many channels.
    #[must_use]
    pub fn with_channels(mut self, channels: i64) -> Self {
        self.channels = channels;
        self
    }

    /// The same with so many blocks.
    #[must_use]
    pub fn with_blocks(mut self, blocks: i64) -> Self {
        self.blocks = blocks;
        self
    }
}

/// The network `G(x) = x + S K_out (z_0 + B_N ... B_1 z_0)`, `z_0 = K_in S^-1 x`, with residual blocks
/// `B z = z + K'' relu(K' z)`, 3x3 convolutions `K` with bias, and the rearrangement `S` of `f^2` channels to squares of `f x f` pixels
/// (pixel shuffle). `K_out` starts at 0, so that the network starts as the identity.
///
/// It corrects an estimate that is as large as the result, such as a bicubic interpolation, but computes at the resolution of the
/// observation: a superresolution by `f` costs `f^2` times less than at that of the result.
///
/// # Shapes
/// `[B, 1, H, W]` to `[B, 1, H, W]`, of any size: where `f` does not divide a side, the last row or column is repeated meanwhile. Borders
/// are continued by zeros.
///
/// # Reference
/// Blocks, scaling-free residuals and pixel shuffle as in Lim, Son, Kim, Nah, Lee, "Enhanced deep residual networks for single image
/// super-resolution", CVPR workshops (2017).
#[derive(Debug)]
pub struct ResidualNet {
    settings: ResidualNetSettings,
    /// Kernel and bias of the first convolution, of two for each block, and of the last one.
    layers: Shared<Vec<[Tensor; 2]>>,
    /// What a file says about where the weights come from.
    pub provenance: BTreeMap<String, String>,
}

impl ResidualNet {
    /// A network with random weights: uniform within `+- 1 / sqrt(inputs of an output pixel)` as is PyTorch's default, the second
    /// convolution of a block within a tenth of that, the last one 0.
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is below 1 or above 4096.
    pub fn new(settings: ResidualNetSettings, seed: Seed) -> Result<Self> {
        Self::with(settings, |name, size, inputs| {
            let share = match name {
                _ if name.starts_with("out") => 0.0,
                _ if name.contains(".1.") => 0.1,
                _ => 1.0,
            };
            Ok((seed.at(name, 0).uniform(size) * 2.0 - 1.0) * (share / (inputs as f64).sqrt()))
        })
    }

    /// A network of tensors from `source`, which is told name, size and number of inputs of an output pixel.
    fn with(
        settings: ResidualNetSettings,
        mut source: impl FnMut(&str, &[i64], i64) -> Result<Tensor>,
    ) -> Result<Self> {
        let ResidualNetSettings { factor, channels, blocks } = settings;
        for (what, value) in [("factor", factor), ("channels", channels), ("blocks", blocks)] {
            if !(1..=4096).contains(&value) {
                return Err(Error::value(format!("{what} of a residual network"), "1 to 4096", value));
            }
        }
        let mut layer = |name: &str, inputs: i64, outputs: i64| {
            let fan_in = inputs * 9;
            let kernel = source(&format!("{name}.weight"), &[outputs, inputs, 3, 3], fan_in)?;
            let bias = source(&format!("{name}.bias"), &[outputs], fan_in)?;
            Ok::<_, Error>([kernel.set_requires_grad(true), bias.set_requires_grad(true)])
        };
        let mut layers = vec![layer("in", factor * factor, channels)?];
        for k in 0..blocks {
            layers.push(layer(&format!("block.{k}.0"), channels, channels)?);
            layers.push(layer(&format!("block.{k}.1"), channels, channels)?);
        }
        layers.push(layer("out", channels, factor * factor)?);
        Ok(Self { settings, layers: Shared::new(layers), provenance: BTreeMap::new() })
    }

    /// The size of the network.
    pub fn settings(&self) -> ResidualNetSettings {
        self.settings
    }

    /// Names and tensors of all parameters, in a fixed order; the tensors share their memory with the network.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let last = self.layers.len() - 1;
        let named = self.layers.iter().enumerate().flat_map(|(k, [kernel, bias])| {
            let name = match k {
                0 => "in".to_owned(),
                _ if k == last => "out".to_owned(),
                _ => format!("block.{}.{}", (k - 1) / 2, (k - 1) % 2),
            };
            [
                (format!("{name}.weight"), kernel.shallow_clone()),
                (format!("{name}.bias"), bias.shallow_clone()),
            ]
        });
        named.collect()
    }

    /// The network on a device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn to(&self, device: Device) -> Result<Self> {
        let all: BTreeMap<String, Tensor> = self.parameters().into_iter().collect();
        let moved = |name: &str, _: &[i64], _| {
            let tensor = all.get(name).ok_or_else(|| Error::value("parameter", name, "none"))?;
            Ok(tensor.detach().f_to_device(device)?.copy())
        };
        Ok(Self { provenance: self.provenance.clone(), ..Self::with(self.settings, moved)? })
    }

    /// The network's image for `x`, with a graph where gradients are on. [`Precision::Bf16`] computes the blocks in bfloat16; results
    /// are float32 in any case.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not `[B, 1, H, W]`, floating-point, on the device of the network.
    pub fn forward(&self, x: &Tensor, precision: Precision) -> Result<Tensor> {
        let (size, device) = (x.size(), self.layers[0][0].device());
        let &[_, 1, height, width] = &size[..] else { return Err(self.misfit(x)) };
        if height < 1 || width < 1 || !x.is_floating_point() || x.device() != device {
            return Err(self.misfit(x));
        }
        let factor = self.settings.factor;
        let missing = |n: i64| (factor - n % factor) % factor;
        let whole = match (missing(height), missing(width)) {
            (0, 0) => x.f_to_kind(Kind::Float)?,
            (rows, columns) => x.f_to_kind(Kind::Float)?.f_replication_pad2d([0, columns, 0, rows])?,
        };
        let kind = match precision {
            Precision::Bf16 => Kind::BFloat16,
            Precision::Full => Kind::Float,
        };
        let convolved = |x: &Tensor, [kernel, bias]: &[Tensor; 2]| {
            let kernel = to_fastest_memory_format(&kernel.f_to_kind(kind)?)?;
            Ok::<Tensor, Error>(x.f_conv2d(
                &kernel,
                Some(bias.f_to_kind(kind)?),
                [1, 1],
                [1, 1],
                [1, 1],
                1,
            )?)
        };
        let (Some((first, rest)), true) = (self.layers.split_first(), self.layers.len() > 2) else {
            return Err(self.misfit(x));
        };
        let (blocks, last) = rest.split_at(rest.len() - 1);
        let start = convolved(&whole.f_pixel_unshuffle(factor)?.f_to_kind(kind)?, first)?;
        let mut z = start.shallow_clone();
        for pair in blocks.chunks_exact(2) {
            let inner = convolved(&z, &pair[0])?.f_relu()?;
            z = z.f_add(&convolved(&inner, &pair[1])?)?;
        }
        let correction =
            convolved(&start.f_add(&z)?, &last[0])?.f_to_kind(Kind::Float)?.f_pixel_shuffle(factor)?;
        let corrected = whole.f_add(&correction)?;
        Ok(corrected.f_narrow(2, 0, height)?.f_narrow(3, 0, width)?.f_contiguous()?)
    }

    fn misfit(&self, x: &Tensor) -> Error {
        let expected = format!("floating-point [B, 1, H, W] on {:?}", self.layers[0][0].device());
        let got = format!("{:?} {:?} on {:?}", x.kind(), x.size(), x.device());
        Error::shape("image for a residual network", expected, got)
    }

    /// The image of the trained network for `x`, `[B, 1, H, W]`, in float32 without a graph.
    ///
    /// # Errors
    /// Those of [`ResidualNet::forward`].
    pub fn infer(&self, x: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        parallel::in_operations(|| self.forward(x, Precision::Full))
    }

    /// The network as a checkpoint: parameters, settings, and [`ResidualNet::provenance`].
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self.parameters().into_iter().map(|(name, t)| (name, t.detach().copy())).collect();
        file.metadata = self.provenance.clone();
        let ResidualNetSettings { factor, channels, blocks } = self.settings;
        file.set_meta("kind", KIND);
        file.set_meta("factor", factor);
        file.set_meta("channels", channels);
        file.set_meta("blocks", blocks);
        file
    }

    /// Writes [`ResidualNet::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The network of a checkpoint, on the CPU; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`] where the checkpoint holds none.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let kind = file.meta("kind")?;
        if kind != KIND {
            let problem = format!("holds a {kind}, not a {KIND}");
            return Err(Error::content(path, problem, "give a file of a residual network"));
        }
        let settings = ResidualNetSettings {
            factor: file.meta_parsed("factor")?,
            channels: file.meta_parsed("channels")?,
            blocks: file.meta_parsed("blocks")?,
        };
        if settings.blocks > file.tensors.len() as i64 {
            let problem = format!("has {} tensors for {} blocks", file.tensors.len(), settings.blocks);
            return Err(Error::content(path, problem, "give a file of a residual network"));
        }
        // What is not in the file is said before memory is taken for it.
        let net = Self::with(settings, |name, size, _| file.take(name, size, Kind::Float))?;
        Ok(Self { provenance: file.metadata, ..net })
    }
}

impl ImageNetwork for ResidualNet {
    fn name(&self) -> &'static str {
        KIND
    }

    fn learn(&self, x: &Tensor, precision: Precision) -> Result<Tensor> {
        self.forward(x, precision)
    }

    fn infer(&self, x: &Tensor) -> Result<Tensor> {
        Self::infer(self, x)
    }

    fn check_size(&self, height: i64, width: i64) -> Result<()> {
        if height < 1 || width < 1 {
            return Err(Error::shape("image for a residual network", "some pixels", [height, width]));
        }
        Ok(())
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        Self::parameters(self)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        Self::parameters(self)
    }

    fn device(&self) -> Device {
        self.layers[0][0].device()
    }

    fn to_checkpoint(&self) -> Checkpoint {
        Self::to_checkpoint(self)
    }

    fn provenance(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.provenance
    }
}
