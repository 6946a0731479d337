//! The critic of a local adversarial regularizer: a small convolutional network on patches.

use crate::denoiser::convolutions::StateDict;
use crate::regularizer::PatchDensity;
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, Seed};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const KIND: &str = "patch critic";

/// Slope of the leaky rectifier for negative values.
const SLOPE: f64 = 0.2;

/// Patches that a thread takes at once: their activations stay in the cache.
const PIECE: i64 = 256;

/// Stride and zeros around of each convolution.
const STEPS: [(i64, i64); 3] = [(1, 1), (2, 1), (2, 0)];

/// Size of a [`PatchCritic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatchCriticShape {
    /// Side `p` of a patch, 5 to 16.
    pub patch_size: i64,
    /// Channels `C` of an image, at least 1.
    pub channels: i64,
    /// Axes of a patch: 2 of squares, 3 of cubes.
    pub axes: i64,
    /// Channels after the first and after the second convolution, 1 to 4096.
    pub widths: [i64; 2],
}

impl Default for PatchCriticShape {
    /// The published one, for grey patches of 6 x 6: 75,456 parameters.
    fn default() -> Self {
        Self { patch_size: 6, channels: 1, axes: 2, widths: [64, 128] }
    }
}

impl PatchCriticShape {
    /// The same for patches of this side.
    #[must_use]
    pub fn with_patch_size(mut self, patch_size: i64) -> Self {
        self.patch_size = patch_size;
        self
    }

    /// The same for images of so many channels.
    #[must_use]
    pub fn with_channels(mut self, channels: i64) -> Self {
        self.channels = channels;
        self
    }

    /// The same for squares (2) or cubes (3).
    #[must_use]
    pub fn with_axes(mut self, axes: i64) -> Self {
        self.axes = axes;
        self
    }

    /// The same with so many channels inside.
    #[must_use]
    pub fn with_widths(mut self, widths: [i64; 2]) -> Self {
        self.widths = widths;
        self
    }

    /// Values of a patch: `C p^axes`.
    pub fn dim(&self) -> i64 {
        self.channels * self.patch_size.pow(self.axes as u32)
    }

    fn check(&self) -> Result<()> {
        for (what, value, range) in [
            ("patch size of a critic", self.patch_size, 5..=16),
            ("channels of the patches of a critic", self.channels, 1..=4096),
            ("axes of the patches of a critic", self.axes, 2..=3),
            ("channels of a critic", self.widths[0], 1..=4096),
            ("channels of a critic", self.widths[1], 1..=4096),
        ] {
            if !range.contains(&value) {
                return Err(Error::value(what, format!("{} to {}", range.start(), range.end()), value));
            }
        }
        Ok(())
    }

    /// The kernels: `[outputs, inputs, 3, 3]`, of cubes `[outputs, inputs, 3, 3, 3]`.
    fn kernels(&self) -> [Vec<i64>; 3] {
        let [first, second] = self.widths;
        [[first, self.channels], [second, first], [1, second]]
            .map(|channels| channels.into_iter().chain(std::iter::repeat_n(3, self.axes as usize)).collect())
    }

    /// A patch as an image: `[C, p, p]` or `[C, p, p, p]`.
    fn patch(&self) -> Vec<i64> {
        std::iter::once(self.channels)
            .chain(std::iter::repeat_n(self.patch_size, self.axes as usize))
            .collect()
    }
}

/// The critic `D(p) = mean K_3 l(K_2 l(K_1 p))` of a local adversarial regularizer, with 3x3 convolutions `K` without bias and the leaky
/// rectifier `l` of slope 0.2.
///
/// `K_1` has stride 1 and zeros around, `K_2` stride 2 and zeros around, `K_3` stride 2 and none; the mean is over the positions of
/// what `K_3` gives, of patches of 5 to 8 pixels a single one. Large values are for patches as they should be.
///
/// As a [`PatchDensity`] its `nll` is `-D(p)`: an energy, which is no logarithm of a density that could be normalised. With
/// [`PatchPrior`](crate::PatchPrior) that makes the regularizer `R(x) = -mean_i D(P_i x)`.
///
/// Without biases `D` is positively homogeneous, `D(a p) = a D(p)` for `a > 0`, hence `<p, grad D(p)> = D(p)` and `<x, grad R(x)> = R(x)`:
/// `R` has no minimum where it is negative anywhere, and only the data hold an estimate.
///
/// # Shapes
/// Patches `[N, d]`, `d = C p^axes`, in the order of [`Patches`](crate::Patches), float32 or float64, to `[N]` in that dtype. Kernels are float32.
///
/// # Reference
/// J. Prost, A. Houdard, A. Almansa, N. Papadakis, "Learning local regularization for variational image restoration", SSVM (2021); the sizes
/// are those of MoePien/PatchbasedRegularizer.
///
/// ```
/// use smalti_priors::prelude::*;
/// use smalti_priors::{PatchCritic, PatchCriticShape};
/// let critic = PatchCritic::new(PatchCriticShape::default().with_widths([4, 8]), Seed::new(1))?;
/// let domain = Space::image(1, 20, 24);
/// let prior = PatchPrior::new(critic, domain, Sampling::All, Seed::new(2))?;
/// let x = Seed::new(3).at("image", 0).uniform(&domain.batch(1));
/// let (value, grad) = prior.value_and_grad(&x)?;
/// assert!(((x * grad).sum(Kind::Double).double_value(&[]) - value).abs() < 1e-5);
/// # Ok::<(), smalti_base::Error>(())
/// ```
#[derive(Debug)]
pub struct PatchCritic {
    shape: PatchCriticShape,
    kernels: Shared<Vec<Tensor>>,
    /// What a file says about where the weights come from.
    pub provenance: BTreeMap<String, String>,
}

impl PatchCritic {
    /// A critic with random weights, uniform within `+- 1 / sqrt(inputs of an output)` as is PyTorch's default.
    ///
    /// # Errors
    /// [`Error::Value`] where the shape is not in its ranges.
    pub fn new(shape: PatchCriticShape, seed: Seed) -> Result<Self> {
        Self::with(shape, |name, size| {
            let inputs: i64 = size[1..].iter().product();
            Ok((seed.at(name, 0).uniform(size) * 2.0 - 1.0) / (inputs as f64).sqrt())
        })
    }

    /// A critic of tensors from `source`, which is told name and size.
    fn with(shape: PatchCriticShape, mut source: impl FnMut(&str, &[i64]) -> Result<Tensor>) -> Result<Self> {
        shape.check()?;
        let mut kernels = Vec::new();
        for (size, name) in shape.kernels().iter().zip(NAMES) {
            let kernel = source(name, size)?.detach().f_to_kind(Kind::Float)?.f_contiguous()?;
            kernels.push(kernel.set_requires_grad(true));
        }
        Ok(Self { shape, kernels: Shared::new(kernels), provenance: BTreeMap::new() })
    }

    /// The size of the critic.
    pub fn shape(&self) -> PatchCriticShape {
        self.shape
    }

    /// Names and tensors of all parameters, in a fixed order; the tensors share their memory with the critic.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        NAMES
            .iter()
            .map(|name| (*name).to_owned())
            .zip(self.kernels.iter().map(Tensor::shallow_clone))
            .collect()
    }

    /// Device of the parameters, on which patches must be, too.
    pub fn device(&self) -> Device {
        self.kernels[0].device()
    }

    /// The critic on a device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn to(&self, device: Device) -> Result<Self> {
        let all: BTreeMap<String, Tensor> = self.parameters().into_iter().collect();
        let moved = |name: &str, _: &[i64]| {
            let tensor = all.get(name).ok_or_else(|| Error::value("parameter", name, "none"))?;
            Ok(tensor.detach().f_to_device(device)?.copy())
        };
        Ok(Self { provenance: self.provenance.clone(), ..Self::with(self.shape, moved)? })
    }

    /// A hash of the weights.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn hash(&self) -> Result<String> {
        data_hash(&self.kernels.iter().collect::<Vec<_>>())
    }

    /// `D` of `patches: [N, d]`, `[N]`, with a graph where gradients are on; also of its own gradient, so that a penalty on that can be
    /// learned from.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where the patches are not `[N, d]`, float32 or float64, on the device of the critic.
    pub fn forward(&self, patches: &Tensor) -> Result<Tensor> {
        self.check(patches)?;
        let kind = patches.kind();
        let mut h = self.as_images(patches)?;
        for (k, (kernel, step)) in self.kernels.iter().zip(STEPS).enumerate() {
            h = convolved(&h, &kernel.f_to_kind(kind)?, step)?;
            if k < 2 {
                h = leaky(&h)?;
            }
        }
        Ok(h.f_flatten(1, -1)?.f_mean_dim(1i64, false, kind)?)
    }

    /// `[N, C, p, ..]` of `[N, d]`.
    fn as_images(&self, patches: &Tensor) -> Result<Tensor> {
        let mut size = vec![patches.size()[0]];
        size.extend(self.shape.patch());
        Ok(patches.f_reshape(size)?)
    }

    fn check(&self, patches: &Tensor) -> Result<()> {
        let d = self.shape.dim();
        if patches.dim() != 2 || patches.size()[1] != d {
            return Err(Error::shape("patches of a critic", format!("[N, {d}]"), patches.size()));
        }
        if patches.device() != self.device() {
            let got = format!("{:?}", patches.device());
            return Err(Error::value("patches", format!("on {:?}, as the critic", self.device()), got));
        }
        match patches.kind() {
            Kind::Float | Kind::Double => Ok(()),
            kind => {
                Err(Error::value("patches", "float32 or float64 (convert with to_kind)", format!("{kind:?}")))
            }
        }
    }

    /// The kernels without graph, in the dtype of patches.
    fn kernels_as(&self, kind: Kind) -> Result<Shared<Vec<Tensor>>> {
        let kernels = self.kernels.iter().map(|kernel| Ok::<_, Error>(kernel.detach().f_to_kind(kind)?));
        Ok(Shared::new(kernels.collect::<Result<Vec<Tensor>>>()?))
    }

    /// Starts and lengths of the pieces of `n` patches that a thread takes at once; all of them on a GPU.
    fn pieces(&self, n: i64) -> Vec<(i64, i64)> {
        let size = if self.device() == Device::Cpu { PIECE } else { n.max(1) };
        (0..n).step_by(size as usize).map(|at| (at, size.min(n - at))).collect()
    }

    /// Writes [`PatchCritic::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The critic of a file that [`PatchCritic::save`] wrote, on the CPU.
    ///
    /// # Errors
    /// Those of [`Checkpoint::load`]; [`Error::Content`] where it holds something else.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The critic as a checkpoint: parameters, shape, and [`PatchCritic::provenance`].
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self.parameters().into_iter().map(|(name, t)| (name, t.detach().copy())).collect();
        file.metadata = self.provenance.clone();
        let PatchCriticShape { patch_size, channels, axes, widths } = self.shape;
        file.set_meta("kind", KIND);
        for (key, value) in [
            ("patch_size", patch_size),
            ("channels", channels),
            ("axes", axes),
            ("width.0", widths[0]),
            ("width.1", widths[1]),
        ] {
            file.set_meta(key, value);
        }
        file
    }

    /// The critic of a checkpoint, on the CPU; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`] where the checkpoint holds none.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let kind = file.meta("kind")?;
        if kind != KIND {
            let problem = format!("holds a {kind}, not a {KIND}");
            return Err(Error::content(path, problem, "give a file of a patch critic"));
        }
        let shape = PatchCriticShape {
            patch_size: file.meta_parsed("patch_size")?,
            channels: file.meta_parsed("channels")?,
            axes: file.meta_parsed("axes")?,
            widths: [file.meta_parsed("width.0")?, file.meta_parsed("width.1")?],
        };
        let critic = Self::with(shape, |name, size| file.take(name, size, Kind::Float))?;
        Ok(Self { provenance: file.metadata, ..critic })
    }

    /// The critic of a PyTorch file as MoePien/PatchbasedRegularizer has it (`ALR_material_p6.pth`), for patches of side `patch_size`,
    /// which the weights do not tell: `main.0.weight`, `main.2.weight`, `main.4.weight`, with or without `state_dict.` before them. On the CPU.
    ///
    /// # Errors
    /// Those of [`smalti_base::pytorch_file::load_state_dict`]; [`Error::Content`] where tensors are missing, too many or of another size;
    /// [`Error::Value`] where there is no critic for such patches.
    pub fn import_pytorch(path: &Path, patch_size: i64) -> Result<Self> {
        let mut dict = StateDict::load(path, OF)?;
        let prefix = if NAMES.iter().any(|name| dict.has(name)) { "" } else { "state_dict." };
        // Squares where the first kernel does not say that it is one of cubes.
        let axes = dict.axes(&format!("{prefix}{}", NAMES[0])).filter(|axes| *axes == 5).map_or(2, |_| 3);
        let mut kernels = Vec::new();
        let mut inputs = None;
        for (k, name) in NAMES.into_iter().enumerate() {
            let outputs = (k + 1 == NAMES.len()).then_some(1);
            let mut size = vec![outputs, inputs];
            size.extend(vec![Some(3); axes]);
            let kernel = dict.take(&format!("{prefix}{name}"), &size)?;
            inputs = Some(kernel.size()[0]);
            kernels.push(kernel);
        }
        dict.finish()?;
        let shape = PatchCriticShape {
            patch_size,
            channels: kernels[0].size()[1],
            axes: axes as i64,
            widths: [kernels[0].size()[0], kernels[1].size()[0]],
        };
        let mut kernels = kernels.into_iter();
        Self::with(shape, |name, size| {
            kernels.next().ok_or_else(|| Error::shape(name.to_owned(), size.to_vec(), "none"))
        })
    }
}

/// The names of the kernels, as PyTorch numbers the layers between which rectifiers stand.
const NAMES: [&str; 3] = ["main.0.weight", "main.2.weight", "main.4.weight"];

/// What files should hold, for readers.
const OF: &str = "a critic of three convolutions without bias (ALR_material_p6.pth)";

impl PatchDensity for PatchCritic {
    fn dim(&self) -> i64 {
        self.shape.dim()
    }

    fn axes(&self) -> Option<usize> {
        Some(self.shape.axes as usize)
    }

    /// `-D`.
    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        self.check(patches)?;
        let (patches, kernels) = (patches.detach(), self.kernels_as(patches.kind())?);
        let nll = Tensor::f_empty(&patches.size()[..1], (patches.kind(), patches.device()))?;
        let mut pieces = parallel::cut([&patches, &nll], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[x, nll]| {
            let score = Activations::of(&self.as_images(x)?, &kernels)?.score()?;
            Ok(nll.f_copy_(&score.f_neg()?)?)
        })?;
        Ok(nll)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check(patches)?;
        let (patches, kernels) = (patches.detach(), self.kernels_as(patches.kind())?);
        let nll = Tensor::f_empty(&patches.size()[..1], (patches.kind(), patches.device()))?;
        let grad = Tensor::f_empty(patches.size(), (patches.kind(), patches.device()))?;
        let mut pieces = parallel::cut([&patches, &nll, &grad], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[x, nll, grad]| {
            let activations = Activations::of(&self.as_images(x)?, &kernels)?;
            nll.f_copy_(&activations.score()?.f_neg()?)?;
            Ok(grad.f_copy_(
                &activations.slope(&kernels, self.shape.patch_size)?.f_neg()?.f_reshape(x.size())?,
            )?)
        })?;
        Ok((nll, grad))
    }
}

/// What the layers give of a piece of the patches.
struct Activations {
    /// After each of the rectifiers.
    hidden: [Tensor; 2],
    output: Tensor,
}

impl Activations {
    fn of(x: &Tensor, kernels: &[Tensor]) -> Result<Self> {
        let first = leaky(&convolved(x, &kernels[0], STEPS[0])?)?;
        let second = leaky(&convolved(&first, &kernels[1], STEPS[1])?)?;
        let output = convolved(&second, &kernels[2], STEPS[2])?;
        Ok(Self { hidden: [first, second], output })
    }

    /// `D`: `[n]`.
    fn score(&self) -> Result<Tensor> {
        Ok(self.output.f_flatten(1, -1)?.f_mean_dim(1i64, false, self.output.kind())?)
    }

    /// The gradient of `D` in the patches: `K_1^T L_1 K_2^T L_2 K_3^T` of the share of each position, with the slopes `L` of the rectifiers.
    fn slope(&self, kernels: &[Tensor], patch_size: i64) -> Result<Tensor> {
        let places: i64 = self.output.size()[2..].iter().product();
        let mut g = self.output.f_full_like(1.0 / places as f64)?;
        for k in (0..3).rev() {
            let side = if k == 0 { patch_size } else { self.hidden[k - 1].size()[2] };
            g = transposed(&g, &kernels[k], STEPS[k], side)?;
            if k > 0 {
                // A rectified value has the sign of the value.
                g = self.hidden[k - 1].f_leaky_relu_backward(&g, SLOPE, true)?;
            }
        }
        Ok(g)
    }
}

fn convolved(x: &Tensor, kernel: &Tensor, (stride, zeros): (i64, i64)) -> Result<Tensor> {
    let none = None::<&Tensor>;
    Ok(match x.dim() {
        5 => x.f_conv3d(kernel, none, [stride; 3], [zeros; 3], [1; 3], 1)?,
        _ => x.f_conv2d(kernel, none, [stride; 2], [zeros; 2], [1; 2], 1)?,
    })
}

/// The transpose of [`convolved`] on images of this side.
fn transposed(g: &Tensor, kernel: &Tensor, (stride, zeros): (i64, i64), side: i64) -> Result<Tensor> {
    let none = None::<&Tensor>;
    // Rows at the end that no position of the kernel begins at.
    let rest = side - ((g.size()[2] - 1) * stride + 3 - 2 * zeros);
    Ok(match g.dim() {
        5 => g.f_conv_transpose3d(kernel, none, [stride; 3], [zeros; 3], [rest; 3], 1, [1; 3])?,
        _ => g.f_conv_transpose2d(kernel, none, [stride; 2], [zeros; 2], [rest; 2], 1, [1; 2])?,
    })
}

/// `l(x) = x s(x)` with the slope `s` of the rectifier at `x`, which libtorch has with any slope as the derivative only.
fn leaky(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_leaky_relu_backward(x, SLOPE, false)?)
}
