//! The U-Net with thin skip connections, of the deep image prior and of post-processing.

mod blocks;
mod settings;

pub use blocks::Statistics;
pub use settings::UNetSettings;

use blocks::{Block, Convolution, Norm, Pass, Role, Source, Up};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::Precision;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const KIND: &str = "skip U-Net";

/// The U-Net of these blocks, each convolution `K` with a bias and zeros around the image, `N` batch normalisation with
/// scale and shift, `l` the leaky rectifier with slope 0.2:
///
/// - in: `x_1 = l N K3 x`, with 3x3 kernels `K3`;
/// - down, `s = 2, ..., S`: `x_s = l N K3 l N K3' x_{s-1}`, where `K3'` takes every second pixel;
/// - up, `s = S - 1, ..., 1`, from `u_S = x_S`: `u_s = l N K1 l N K3 N [U u_{s+1}, l N K1' x_s]`, with the bilinear
///   interpolation `U` to twice the size that maps corners to corners, 1x1 kernels `K1`, and `K1'` to few channels. Of an odd
///   number of rows or columns of `x_s`, `U u` has one more, and the last one is cut;
/// - out: `K1 u_1`, and a sigmoid where the settings say so.
///
/// (The DIVal library has a 3x3 kernel in the place of `K1` in up.) A bias before a batch normalisation changes no
/// result with [`Statistics::Batch`] or [`Statistics::Learning`].
///
/// # Shapes
/// `[B, 1, H, W]` to `[B, 1, H, W]`, with `H, W > 2^(S-1)`.
///
/// # Cost
/// With 128 channels on 5 scales 0.32 million multiply-adds for each pixel, half of them on the finest scale. On a CPU,
/// bfloat16 takes two thirds of the time (`--example deep_image_prior -- 362 128 5 4`: 0.97 s against 1.48 s a step).
///
/// # Reference
/// Ulyanov, Vedaldi, Lempitsky, "Deep image prior", CVPR (2018), in the form of [`UNetSettings::dip`]'s reference.
#[derive(Debug)]
pub struct UNet {
    settings: UNetSettings,
    inlet: Block,
    downs: Vec<[Block; 2]>,
    /// From the coarsest scale upwards.
    ups: Vec<Up>,
    outlet: Convolution,
    parameters: Vec<(String, Tensor)>,
    statistics: Vec<(String, Tensor)>,
    /// What a file says about where the weights come from.
    pub provenance: BTreeMap<String, String>,
}

impl UNet {
    /// A network with random weights: kernels (and biases, where they do not start at 0) uniform within
    /// `+- 1 / sqrt(inputs of an output pixel)` as is PyTorch's default; scales 1, shifts 0.
    ///
    /// # Errors
    /// Those of [`UNetSettings::check`].
    pub fn new(settings: UNetSettings, seed: Seed) -> Result<Self> {
        let zero_bias = settings.zero_bias;
        Self::with(settings, |name, size, role| match role {
            Role::Bias(_) if zero_bias => Ok(Tensor::f_zeros(size, (Kind::Float, Device::Cpu))?),
            Role::Kernel(n) | Role::Bias(n) => {
                Ok((seed.at(name, 0).uniform(size) * 2.0 - 1.0) / (n as f64).sqrt())
            }
            Role::Scale | Role::Variance => Ok(Tensor::f_ones(size, (Kind::Float, Device::Cpu))?),
            Role::Shift | Role::Mean => Ok(Tensor::f_zeros(size, (Kind::Float, Device::Cpu))?),
        })
    }

    /// A network of tensors from `source`.
    fn with(
        settings: UNetSettings,
        mut source: impl FnMut(&str, &[i64], Role) -> Result<Tensor>,
    ) -> Result<Self> {
        settings.check()?;
        let (mut parameters, mut statistics) = (Vec::new(), Vec::new());
        let mut record = |name: String, size: &[i64], role: Role| {
            let learned = !matches!(role, Role::Mean | Role::Variance);
            let tensor = source(&name, size, role)?.set_requires_grad(learned);
            let list = if learned { &mut parameters } else { &mut statistics };
            list.push((name, tensor.shallow_clone()));
            Ok(tensor)
        };
        let s: &mut Source<'_> = &mut record;
        let (c, skip) = (&settings.channels, settings.skip);
        let inlet = Block::new(s, "in", [1, c[0]], 3)?;
        let mut downs = Vec::new();
        for (k, pair) in c.windows(2).enumerate() {
            let first = Block::new(s, &format!("down.{k}.0"), [pair[0], pair[1]], 3)?.halved();
            downs.push([first, Block::new(s, &format!("down.{k}.1"), [pair[1], pair[1]], 3)?]);
        }
        let mut ups = Vec::new();
        for (k, pair) in c.windows(2).rev().enumerate() {
            let (fine, both) = (pair[0], pair[1] + skip);
            ups.push(Up {
                skip: Block::new(s, &format!("up.{k}.skip"), [fine, skip], 1)?,
                norm: Norm::new(s, &format!("up.{k}"), both)?,
                blocks: [
                    Block::new(s, &format!("up.{k}.0"), [both, fine], 3)?,
                    Block::new(s, &format!("up.{k}.1"), [fine, fine], 1)?,
                ],
            });
        }
        let outlet = Convolution::new(s, "out", [c[0], 1], 1)?;
        Ok(Self { inlet, downs, ups, outlet, settings, parameters, statistics, provenance: BTreeMap::new() })
    }

    /// Shape and start of the network.
    pub fn settings(&self) -> &UNetSettings {
        &self.settings
    }

    /// Names and tensors of all parameters, in a fixed order; the tensors share their memory with the network.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.parameters.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect()
    }

    /// [`UNet::parameters`] and the running statistics.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.parameters.iter().chain(&self.statistics);
        all.map(|(name, t)| (name.clone(), t.shallow_clone())).collect()
    }

    /// The network on a device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn to(&self, device: Device) -> Result<Self> {
        let all: BTreeMap<String, Tensor> = self.tensors().into_iter().collect();
        let moved = |name: &str, _: &[i64], _| {
            let tensor = all.get(name).ok_or_else(|| Error::value("parameter", name, "none"))?;
            Ok(tensor.detach().f_to_device(device)?.copy())
        };
        Ok(Self { provenance: self.provenance.clone(), ..Self::with(self.settings.clone(), moved)? })
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.outlet.kernel.device()
    }

    /// The network's image for `x`, with a graph where gradients are on. [`Precision::Bf16`] computes all but the last
    /// convolution in bfloat16; results are float32 in any case.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not `[B, 1, H, W]`, floating-point, on the device of the network; those of
    /// [`UNetSettings::check_size`].
    pub fn forward(&self, x: &Tensor, statistics: Statistics, precision: Precision) -> Result<Tensor> {
        match x.size()[..] {
            [b, 1, h, w] if b > 0 && x.is_floating_point() && x.device() == self.device() => {
                self.settings.check_size(h, w)?;
            }
            _ => {
                let expected = format!("floating-point [B, 1, H, W] on {:?}", self.device());
                let got = format!("{:?} {:?} on {:?}", x.kind(), x.size(), x.device());
                return Err(Error::shape("image for a U-Net", expected, got));
            }
        }
        let kind = match precision {
            Precision::Bf16 => Kind::BFloat16,
            Precision::Full => Kind::Float,
        };
        let pass = Pass::new(kind, statistics, x.device())?;
        let mut x = self.inlet.forward(&x.f_to_kind(kind)?, &pass)?;
        let mut levels = Vec::new();
        for [first, second] in &self.downs {
            let below = second.forward(&first.forward(&x, &pass)?, &pass)?;
            levels.push(std::mem::replace(&mut x, below));
        }
        for (up, beside) in self.ups.iter().zip(levels.iter().rev()) {
            x = up.forward(&x, beside, &pass)?;
        }
        let x = self.outlet.forward(&x.f_to_kind(Kind::Float)?)?.f_contiguous()?;
        if self.settings.sigmoid { Ok(x.f_sigmoid()?) } else { Ok(x) }
    }

    /// The image of the trained network for `x` of any size, `[B, 1, H, W]`, in float32 with running statistics and
    /// without a graph.
    ///
    /// # Errors
    /// Those of [`UNet::forward`].
    pub fn infer(&self, x: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        parallel::in_operations(|| self.forward(x, Statistics::Running, Precision::Full))
    }

    /// The network as a checkpoint: parameters, running statistics, settings, and [`UNet::provenance`].
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self.tensors().into_iter().map(|(name, t)| (name, t.detach().copy())).collect();
        file.metadata = self.provenance.clone();
        let UNetSettings { channels, skip, sigmoid, zero_bias } = &self.settings;
        let channels: Vec<String> = channels.iter().map(i64::to_string).collect();
        file.set_meta("kind", KIND);
        file.set_meta("channels", channels.join(" "));
        file.set_meta("skip", skip);
        file.set_meta("sigmoid", sigmoid);
        file.set_meta("zero_bias", zero_bias);
        file
    }

    /// Writes [`UNet::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The network of a file written by [`UNet::save`], on the CPU.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file is not such a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The network of a checkpoint; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`] where the checkpoint holds none.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let kind = file.meta("kind")?;
        if kind != KIND {
            let problem = format!("holds a {kind}, not a {KIND}");
            return Err(Error::content(path, problem, "give a file of a U-Net"));
        }
        let text = file.meta("channels")?.to_owned();
        let channels = text.split(' ').map(str::parse).collect::<Result<Vec<i64>, _>>();
        let channels = channels.map_err(|e| {
            let problem = format!("metadata channels = {text:?} cannot be read ({e})");
            Error::content(path, problem, "give a file of a U-Net")
        })?;
        let settings = UNetSettings::default()
            .with_channels(channels)
            .with_skip(file.meta_parsed("skip")?)
            .with_sigmoid(file.meta_parsed("sigmoid")?)
            .with_zero_bias(file.meta_parsed("zero_bias")?);
        let net = Self::with(settings, |name, size, _| file.take(name, size, Kind::Float))?;
        Ok(Self { provenance: file.metadata, ..net })
    }
}
