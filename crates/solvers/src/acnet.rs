//! The small asymmetric convolutional network (ACNet) of WPPNets, which also learns from pairs.

use crate::supervised_training::ImageNetwork;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::memory_format::to_fastest_memory_format;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, Seed};
use smalti_flows::Precision;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const CHANNELS: i64 = 64;
const LAYERS: usize = 10;
/// Convolutions at the resolution of the result that follow each other.
const CONVOLUTIONS_AFTER: i64 = 5;
const KIND: &str = "WPPNet (ACNet)";
/// Bytes of activations at a time when a network is validated on whole images.
const MEMORY: usize = 1 << 30;

/// The network `G` from observations to images `factor` times as large in both directions:
///
/// `z_l = K_l a_{l-1}`, `a_l = relu(z_l)`, `l = 1, ..., 10`, `a_0 = y`, where `K_l` is the sum of a 1x3, a 3x1 and a
/// 3x3 convolution; with the upsampler `U` (for every factor 2 or 3 a 3x3 convolution with bias and a pixel
/// shuffle),
///
/// `G(y) = H(relu(P relu(U relu(z_1 + ... + z_10)) + Q relu(U a_1)))`,
///
/// where `P` and `Q` are each two 3x3 convolutions with a relu between, and `H` three 3x3 convolutions with relus
/// between. All have 64 channels and all but the upsampler's have no bias. There are 1.07 million parameters
/// for factor 4, 1.26 million for factor 6. (The authors' code rectifies in place, so that it adds the `a_l`.)
///
/// # Shapes
/// `[B, 1, h, w]` to `[B, 1, factor h, factor w]`, of any size: borders are continued by zeros.
///
/// # Cost
/// 335,000 multiply-adds for each pixel of the result at factor 4, two thirds of them in the six 3x3 convolutions at the
/// result's resolution. Three convolutions whose results are added are computed as one, with the sum of their
/// kernels.
///
/// # Reference
/// Tian, Xu, Zuo, Lin, Zhang, "Asymmetric CNN for image superresolution", IEEE Transactions on Systems, Man, and
/// Cybernetics: Systems 52 (2022), with fewer layers as in Altekrueger and Hertrich, "WPPNets and WPPFlows: the power
/// of Wasserstein patch priors for superresolution", SIAM Journal on Imaging Sciences 16 (2023).
#[derive(Debug)]
pub struct AcNet {
    /// Kernels 1x3, 3x1, 3x3 of each layer.
    layers: Shared<Vec<[Tensor; 3]>>,
    /// Factor, kernel and bias of each stage of the upsampler.
    stages: Vec<(i64, Shared<Tensor>, Shared<Tensor>)>,
    sum_path: Shared<[Tensor; 2]>,
    first_path: Shared<[Tensor; 2]>,
    head: Shared<[Tensor; 3]>,
    /// What a file says about where the weights come from.
    pub provenance: BTreeMap<String, String>,
}

impl AcNet {
    /// A network with random weights, uniform within `+- 1 / sqrt(inputs of an output pixel)` as is PyTorch's default.
    ///
    /// # Errors
    /// [`Error::Value`] where `factor` is not a product of twos and threes, 2 to 64.
    pub fn new(factor: i64, seed: Seed) -> Result<Self> {
        let random = |name: &str, size: &[i64], inputs: i64| {
            let bound = 1.0 / (inputs as f64).sqrt();
            Ok((seed.at(name, 0).uniform(size) * 2.0 - 1.0) * bound)
        };
        Self::with(factor, random)
    }

    /// A network of tensors from `source`, which is told name, size and number of inputs of an output pixel.
    fn with(factor: i64, mut source: impl FnMut(&str, &[i64], i64) -> Result<Tensor>) -> Result<Self> {
        let mut weight = |name: String, size: [i64; 4]| {
            Ok::<_, Error>(source(&name, &size, size[1] * size[2] * size[3])?.set_requires_grad(true))
        };
        const C: i64 = CHANNELS;
        let mut layers = Vec::new();
        for l in 0..LAYERS {
            let inputs = if l == 0 { 1 } else { C };
            layers.push([
                weight(format!("layer.{l}.1x3"), [C, inputs, 1, 3])?,
                weight(format!("layer.{l}.3x1"), [C, inputs, 3, 1])?,
                weight(format!("layer.{l}.3x3"), [C, inputs, 3, 3])?,
            ]);
        }
        let mut square = |name: &str, outputs: i64| weight(name.to_owned(), [outputs, C, 3, 3]);
        let mut kernels = Vec::new();
        for (k, r) in stages(factor)?.into_iter().enumerate() {
            kernels.push((r, square(&format!("upsampler.{k}.weight"), C * r * r)?));
        }
        let sum_path = Shared::new([square("sum.0", C)?, square("sum.1", C)?]);
        let first_path = Shared::new([square("first.0", C)?, square("first.1", C)?]);
        let head = Shared::new([square("head.0", C)?, square("head.1", C)?, square("head.2", 1)?]);
        let mut stages = Vec::new();
        for (k, (r, kernel)) in kernels.into_iter().enumerate() {
            let bias = source(&format!("upsampler.{k}.bias"), &[C * r * r], C * 9)?;
            stages.push((r, Shared::new(kernel), Shared::new(bias.set_requires_grad(true))));
        }
        let layers = Shared::new(layers);
        Ok(Self { layers, stages, sum_path, first_path, head, provenance: BTreeMap::new() })
    }

    /// How many times as large results are, in both directions.
    pub fn factor(&self) -> i64 {
        self.stages.iter().map(|(r, ..)| r).product()
    }

    /// Names and tensors of all parameters, in a fixed order; the tensors share their memory with the network.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        let mut add = |name: String, t: &Tensor| all.push((name, t.shallow_clone()));
        for (l, kernels) in self.layers.iter().enumerate() {
            ["1x3", "3x1", "3x3"].iter().zip(kernels).for_each(|(k, t)| add(format!("layer.{l}.{k}"), t));
        }
        for (k, (_, kernel, bias)) in self.stages.iter().enumerate() {
            add(format!("upsampler.{k}.weight"), kernel);
            add(format!("upsampler.{k}.bias"), bias);
        }
        for (name, kernels) in
            [("sum", &self.sum_path[..]), ("first", &self.first_path[..]), ("head", &self.head[..])]
        {
            kernels.iter().enumerate().for_each(|(k, t)| add(format!("{name}.{k}"), t));
        }
        all
    }

    /// Moves the parameters to a device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn to(&self, device: Device) -> Result<Self> {
        let all: BTreeMap<String, Tensor> = self.parameters().into_iter().collect();
        let moved = |name: &str, _: &[i64], _: i64| {
            let parameter = all.get(name).ok_or_else(|| Error::value("parameter", name, "none"))?;
            Ok(parameter.detach().f_to_device(device)?.copy())
        };
        Ok(Self { provenance: self.provenance.clone(), ..Self::with(self.factor(), moved)? })
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.head[2].device()
    }

    /// `G(y)`, with a graph where gradients are on. [`Precision::Bf16`] computes all but the last convolution in
    /// bfloat16; results are float32 in any case.
    ///
    /// # Errors
    /// [`Error::Shape`] where `y` is not `[B, 1, h, w]`, floating-point, on the device of the network.
    pub fn forward(&self, y: &Tensor, precision: Precision) -> Result<Tensor> {
        match y.size()[..] {
            [b, 1, h, w] if b * h * w > 0 && y.is_floating_point() && y.device() == self.device() => {}
            _ => {
                let expected = format!("floating-point [B, 1, h, w] on {:?}", self.device());
                let got = format!("{:?} {:?} on {:?}", y.kind(), y.size(), y.device());
                return Err(Error::shape("observation for a WPPNet", expected, got));
            }
        }
        let kind = match precision {
            Precision::Bf16 => Kind::BFloat16,
            Precision::Full => Kind::Float,
        };
        let convolve = |x: &Tensor, kernel: &Tensor| convolve(x, &kernel.f_to_kind(kind)?, None);
        let mut x = y.f_to_kind(kind)?;
        let mut sum: Option<Tensor> = None;
        let mut first = None;
        for [row, column, square] in self.layers.iter() {
            let kernel =
                (square + row.f_constant_pad_nd([0, 0, 1, 1])?) + column.f_constant_pad_nd([1, 1, 0, 0])?;
            let z = convolve(&x, &kernel)?;
            x = z.f_relu()?;
            first.get_or_insert_with(|| x.shallow_clone());
            sum = Some(match sum {
                Some(sum) => sum.f_add(&z)?,
                None => z,
            });
        }
        let path = |x: Option<Tensor>, kernels: &[Tensor; 2]| {
            let mut x =
                x.ok_or_else(|| Error::value("layers of an ACNet", "at least one", "none"))?.f_relu()?;
            for (r, kernel, bias) in &self.stages {
                let bias = bias.f_to_kind(kind)?;
                x = self::convolve(&x, &kernel.f_to_kind(kind)?, Some(&bias))?.f_pixel_shuffle(*r)?;
            }
            convolve(&convolve(&x.f_relu()?, &kernels[0])?.f_relu()?, &kernels[1])
        };
        let mut x = path(sum, &self.sum_path)?.f_add(&path(first, &self.first_path)?)?.f_relu()?;
        for kernel in &self.head[..2] {
            x = convolve(&x, kernel)?.f_relu()?;
        }
        self::convolve(&x.f_to_kind(Kind::Float)?, &self.head[2], None)
    }

    /// `G(y)` without a graph for images of any size, in tiles computed by several threads that overlap so far that
    /// it is [`AcNet::forward`]'s float32 result, up to rounding. Activations take about `memory` bytes in all at
    /// most, or what a tile of 16 x 16 pixels needs.
    ///
    /// # Errors
    /// Those of [`AcNet::forward`].
    pub fn infer(&self, y: &Tensor, memory: usize) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let [b, _, h, w] = y.size()[..] else { return self.forward(y, Precision::Full) };
        let (halo, f) = (self.halo(), self.factor());
        let threads = if y.device() == Device::Cpu { parallel::workers() as i64 } else { 1 };
        // Activations of an observed pixel: about six maps of the result's resolution live at a time.
        let pixel = 6 * 4 * CHANNELS * f * f * b.max(1) * threads;
        let pixels = memory as i64 / pixel.max(1);
        let side = ((pixels as f64).sqrt() as i64 - 2 * halo).max(16);
        // As few and as equal tiles as that allows, and strips for every thread.
        let cut = |n: i64, least: i64| {
            let parts =
                (n as u64).div_ceil(side as u64).max(least as u64).min((n.max(1) as u64).div_ceil(16)) as i64;
            (0..parts).map(move |k| (n * k / parts, n * (k + 1) / parts)).collect::<Vec<_>>()
        };
        let columns = cut(w, 1);
        let rows = cut(h, if columns.len() > 1 { 1 } else { threads });
        let tiles: Vec<_> = rows.iter().flat_map(|&r| columns.iter().map(move |&c| (r, c))).collect();
        let y = Shared::new(y);
        let tile = |k: usize| {
            let around = |(start, end): (i64, i64), n: i64| ((start - halo).max(0), (end + halo).min(n));
            let ((top, bottom), (left, right)) = tiles[k];
            let ((t, b), (l, r)) = (around((top, bottom), h), around((left, right), w));
            let x = self.forward(&y.f_narrow(2, t, b - t)?.f_narrow(3, l, r - l)?, Precision::Full)?;
            Ok(x.f_narrow(2, f * (top - t), f * (bottom - top))?.f_narrow(
                3,
                f * (left - l),
                f * (right - left),
            )?)
        };
        let done = match threads {
            1 => (0..tiles.len()).map(tile).collect::<Result<Vec<_>>>()?,
            _ => parallel::map(tiles.len(), tile)?,
        };
        let strips = done.chunks(columns.len().max(1)).map(|strip| Tensor::f_cat(strip, 3));
        Ok(Tensor::f_cat(&strips.collect::<Result<Vec<_>, _>>()?, 2)?)
    }

    /// How many observed pixels away, at most, an observed pixel changes the result.
    fn halo(&self) -> i64 {
        let after = |n: i64, r: i64| (n + r - 1) / r + 1;
        self.stages.iter().rev().fold(CONVOLUTIONS_AFTER, |n, (r, ..)| after(n, *r)) + LAYERS as i64
    }

    /// The network as a checkpoint: its parameters, its factor, and [`AcNet::provenance`].
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self.parameters().into_iter().map(|(name, t)| (name, t.detach().copy())).collect();
        file.metadata = self.provenance.clone();
        file.set_meta("kind", KIND);
        file.set_meta("factor", self.factor());
        file
    }

    /// Writes [`AcNet::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The network of a file written by [`AcNet::save`], on the CPU.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file is not such a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The network of a checkpoint that was read from `path`, on the CPU.
    ///
    /// # Errors
    /// [`Error::Content`] where it is not a WPPNet.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let kind = file.meta("kind")?;
        if kind != KIND {
            let problem = format!("holds a {kind}, not a {KIND}");
            return Err(Error::content(path, problem, "give a file of a WPPNet"));
        }
        let factor = file.meta_parsed("factor")?;
        let net = Self::with(factor, |name, size, _| file.take(name, size, Kind::Float))?;
        Ok(Self { provenance: file.metadata, ..net })
    }
}

impl ImageNetwork for AcNet {
    fn name(&self) -> &'static str {
        "ACNet"
    }

    fn factor(&self) -> i64 {
        Self::factor(self)
    }

    fn learn(&self, y: &Tensor, precision: Precision) -> Result<Tensor> {
        self.forward(y, precision)
    }

    fn infer(&self, y: &Tensor) -> Result<Tensor> {
        Self::infer(self, y, MEMORY)
    }

    fn check_size(&self, height: i64, width: i64) -> Result<()> {
        let factor = Self::factor(self);
        if height < 1 || width < 1 || height % factor != 0 || width % factor != 0 {
            let expected = format!("sides that are multiples of {factor}");
            return Err(Error::shape("image of an ACNet", expected, [height, width]));
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
        Self::device(self)
    }

    fn to_checkpoint(&self) -> Checkpoint {
        Self::to_checkpoint(self)
    }

    fn provenance(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.provenance
    }
}

/// The factors of the upsampler's stages: threes first.
fn stages(factor: i64) -> Result<Vec<i64>> {
    let mut stages = Vec::new();
    let mut rest = factor;
    for r in [3, 2] {
        while rest > 1 && rest % r == 0 {
            stages.push(r);
            rest /= r;
        }
    }
    if rest == 1 && (2..=64).contains(&factor) {
        Ok(stages)
    } else {
        Err(Error::value("factor of a WPPNet", "a product of twos and threes, 2 to 64", factor))
    }
}

/// A 3x3 convolution with zeros around the image.
fn convolve(x: &Tensor, kernel: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    Ok(x.f_conv2d(&to_fastest_memory_format(kernel)?, bias, [1, 1], [1, 1], [1, 1], 1)?)
}
