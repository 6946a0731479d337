//! WPPFlow: a conditional flow on images for posterior sampling in superresolution.

use crate::bijection::{Bijection, Mapped};
use crate::image::layer::check_images;
use crate::wppflow_shape::{ResolvedLayer, WppFlowShape};
use smalti_base::parallel::{Shared, in_operations};
use smalti_base::{Error, Result, Seed, Space, seed::Stream};
use smalti_operators::{Boundary, Grid, interpolate};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Pixels of samples that are computed at once.
const PIXELS_AT_ONCE: i64 = 1 << 19;

/// The conditional flow `x = T(z; y)` from standard normal latents `z: [B, 1, f h, f w]` to images `x` of the same size,
/// given observations `y: [B, 1, h, w]`, `f` being the factor: samples `T(z; y)` stand for the posterior of `x` given `y`.
///
/// Latent to data: `log2(f)` times (squeeze, then twice a 3x3 coupling and an actnorm); then `log2(f)` levels of
/// blocks of (conditional 3x3 coupling, permutation, conditional affine map, 1x1 coupling, actnorm), each level ending with
/// (1x1 coupling, actnorm, unsqueeze); and a conditional affine map at full resolution. The condition of a layer is `y`,
/// interpolated by Keys' cubic convolution to the resolution of the layer. Subnets have one hidden layer; their last
/// layers start at zero, so that the flow starts as a permutation. (See [`WppFlowShape`] for the numbers.)
///
/// # Shapes
/// Fully convolutional: any `h` and `w`. Trained at 100x100 pixels, it is applied at 600x600. Its layers are
/// [`crate::image`].
///
/// # Cost
/// About 235,000 multiply-adds a pixel for factor 4 in the authors' architecture, 223,000 for factor 8.
/// [`WppFlow::sample`] holds the activations of one subnet at a time: a hidden map (at most 256 MiB; 176 MiB at 600x600)
/// and what libtorch makes of it. [`WppFlow::pull_back`] holds the activations of one layer, and one copy of
/// the batch for every layer before.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023), section 5.
///
/// ```
/// use smalti_base::Seed;
/// use smalti_flows::{Bijection, WppFlow, WppFlowShape};
/// let shape = WppFlowShape::altekrueger_2023_x4().with_blocks(1).with_hidden(8);
/// let flow = WppFlow::new(shape, Seed::new(1))?;
/// let y = Seed::new(2).at("observation", 0).uniform(&[1, 1, 5, 6]);
/// let samples = flow.sample(&y, 3, &mut Seed::new(3).at("samples", 0))?;
/// assert_eq!(samples.size(), [3, 1, 20, 24]);
/// let latent = flow.to_latent(&samples, Some(&y.repeat([3, 1, 1, 1])))?;
/// assert_eq!(latent.log_det.size(), [3]);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct WppFlow {
    shape: WppFlowShape,
    pub(crate) layers: Vec<ResolvedLayer>,
    permutations: Vec<Vec<i64>>,
    flat: Shared<Tensor>,
    pub(crate) initialised: bool,
    /// Where the flow comes from: value range, hash of the training data, settings; goes into its file.
    pub provenance: BTreeMap<String, String>,
}

impl std::fmt::Debug for WppFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WppFlow")
            .field("shape", &self.shape)
            .field("initialised", &self.initialised)
            .finish_non_exhaustive()
    }
}

impl WppFlow {
    /// A flow with weights and permutations drawn from `seed`, in float32 on the CPU; its actnorms are the identity.
    ///
    /// # Errors
    /// [`Error::Value`] where a number of the architecture is out of range.
    pub fn new(shape: WppFlowShape, seed: Seed) -> Result<Self> {
        Self::with_permutations(shape, shape.draw_permutations(seed)?, seed)
    }

    /// The same with the given permutations, one for each block of each level.
    ///
    /// # Errors
    /// [`Error::Value`] where a number or a permutation is not valid.
    pub fn with_permutations(shape: WppFlowShape, permutations: Vec<Vec<i64>>, seed: Seed) -> Result<Self> {
        let layers = shape.layers(&permutations, seed)?;
        let (flat, initialised, provenance) = (Shared::new(Tensor::new()), false, BTreeMap::new());
        let mut flow = Self { shape, layers, permutations, flat, initialised, provenance };
        flow.to(Device::Cpu, Kind::Float)?;
        Ok(flow)
    }

    /// Moves the flow to a device, in a floating-point dtype.
    ///
    /// # Errors
    /// [`Error::Value`] for other dtypes; those of libtorch where there is no such device.
    pub fn to(&mut self, device: Device, kind: Kind) -> Result<()> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::value("dtype of a flow", "float32 or float64", format!("{kind:?}")));
        }
        let _no_grad = tch::no_grad_guard();
        // All parameters become views of one tensor, so that an optimizer's step is one pass over memory.
        let mut parts = Vec::new();
        for placed in &mut self.layers {
            for buffer in placed.layer.buffers_mut() {
                *buffer = buffer.f_to_device(device)?;
            }
            for (_, t) in placed.layer.parameters() {
                parts.push(t.f_detach()?.f_reshape([-1])?.f_to_kind(kind)?.f_to_device(device)?);
            }
        }
        self.flat = Shared::new(Tensor::f_cat(&parts, 0)?);
        let mut at = 0;
        for parameter in self.layers.iter_mut().flat_map(|placed| placed.layer.parameters_mut()) {
            let n = parameter.numel() as i64;
            let view = self.flat.f_narrow(0, at, n)?.f_reshape(parameter.size())?;
            *parameter = view.f_detach()?.f_set_requires_grad(true)?;
            at += n;
        }
        Ok(())
    }

    /// The architecture.
    pub fn shape(&self) -> WppFlowShape {
        self.shape
    }

    /// The permutation of every block: `x_i = z_{perm[i]}`.
    pub fn permutations(&self) -> &[Vec<i64>] {
        &self.permutations
    }

    /// All parameters, one after the other: `[P]`. Changing it in place, with gradients off, changes the flow.
    pub fn flat_parameters(&self) -> &Tensor {
        &self.flat
    }

    /// Names and tensors of all parameters, in a fixed order; they require gradients.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        let of_layer = |(k, placed)| {
            let placed: &ResolvedLayer = placed;
            placed.layer.parameters().into_iter().map(move |(name, t)| (format!("{k}.{name}"), t))
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    /// Device of the parameters.
    pub fn device(&self) -> Device {
        self.flat.device()
    }

    /// Dtype of the parameters.
    pub fn kind(&self) -> Kind {
        self.flat.kind()
    }

    /// Whether the actnorms have been chosen by [`WppFlow::initialise`], or come from a file where they had.
    pub fn is_initialised(&self) -> bool {
        self.initialised
    }

    /// Chooses every actnorm such that, on this first batch of latents and observations, the channels of its results
    /// have mean 0 and standard deviation 1.
    ///
    /// # Errors
    /// [`Error::Shape`] where the batch does not fit; [`Error::Value`] where it has too few or equal values.
    pub fn initialise(&mut self, z: &Tensor, y: &Tensor) -> Result<()> {
        let conditions = self.conditions("latent", z, Some(y))?;
        let _no_grad = tch::no_grad_guard();
        let mut value = z.shallow_clone();
        for ResolvedLayer { layer, resolution } in &mut self.layers {
            layer.initialise(&value)?;
            let cond = layer.conditional().then(|| &conditions[*resolution]);
            value = layer.to_data(&value, cond)?.value;
        }
        self.initialised = true;
        Ok(())
    }

    /// The size of images for observations of `h` x `w` pixels, as [`Space`].
    pub fn images(&self, h: i64, w: i64) -> Space {
        Space::image(1, self.shape.factor * h, self.shape.factor * w)
    }

    /// `n` samples `T(z; y)`, `z ~ N(0, I)`, for one observation `[1, 1, h, w]`: `[n, 1, f h, f w]`. The latents come
    /// from `stream`, one after the other; samples are computed in parts, without a graph.
    ///
    /// # Errors
    /// [`Error::Value`] where `n` is negative; [`Error::Shape`] where `y` is not one observation.
    pub fn sample(&self, y: &Tensor, n: i64, stream: &mut Stream) -> Result<Tensor> {
        check_images("observation", y, 1)?;
        let size = y.size();
        if size[0] != 1 || y.numel() == 0 {
            return Err(Error::shape("observation to sample for", "[1, 1, h, w], not empty", size));
        }
        if n < 0 {
            return Err(Error::value("number of samples", "0 or more", n));
        }
        let _no_grad = tch::no_grad_guard();
        let space = self.images(size[2], size[3]);
        let at_once = (PIXELS_AT_ONCE / space.len()).max(1);
        let samples = Tensor::f_empty(space.batch(n), (self.kind(), self.device()))?;
        for start in (0..n).step_by(at_once as usize) {
            let m = at_once.min(n - start);
            let z = stream.normal(&space.batch(m)).f_to_kind(self.kind())?.f_to_device(self.device())?;
            let y = y.f_expand([m, 1, size[2], size[3]], false)?;
            let x = in_operations(|| self.to_data(&z, Some(&y)))?.value;
            samples.f_narrow(0, start, m)?.f_copy_(&x)?;
        }
        Ok(samples)
    }

    /// The condition at every resolution for images (or latents) `x`, all checked.
    pub(crate) fn conditions(&self, what: &str, x: &Tensor, cond: Option<&Tensor>) -> Result<Vec<Tensor>> {
        check_images(what, x, 1)?;
        let (size, factor) = (x.size(), self.shape.factor);
        if size[2] % factor != 0 || size[3] % factor != 0 || x.numel() == 0 {
            let expected = format!("height and width divisible by the factor {factor} (crop or pad it)");
            return Err(Error::shape(format!("{what} of a WPPFlow"), expected, &size));
        }
        let (h, w) = (size[2] / factor, size[3] / factor);
        let expected = [size[0], 1, h, w];
        let y = match cond {
            Some(y) if y.size() == expected && y.kind() == x.kind() => y,
            other => {
                let got = other.map_or("none".into(), |c| format!("{:?} {:?}", c.kind(), c.size()));
                let expected = format!("{:?} {expected:?} for images {size:?}", x.kind());
                return Err(Error::shape("condition of a WPPFlow", expected, got));
            }
        };
        (0..=self.shape.levels()?)
            .map(|level| {
                let finer = 1 << level;
                // One pixel of this resolution is `d` pixels of the image, the first one centred at `(d - 1) / 2`.
                let d = (factor / finer) as f64;
                let origin = (self.shape.origin - (d - 1.0) / 2.0) / d;
                let grid = Grid {
                    origin: (origin, origin),
                    spacing: (finer as f64, finer as f64),
                    ..Grid::IDENTITY
                };
                interpolate(y, grid, Space::image(1, finer * h, finer * w), Boundary::Valid)
            })
            .collect()
    }
}

impl Bijection for WppFlow {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let conditions = self.conditions("image", x, cond)?;
        run(self.layers.iter().rev(), x, |layer, x| layer.layer.to_latent(x, layer.condition(&conditions)))
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let conditions = self.conditions("latent", z, cond)?;
        run(self.layers.iter(), z, |layer, z| layer.layer.to_data(z, layer.condition(&conditions)))
    }
}

impl ResolvedLayer {
    /// The condition for this layer.
    pub(crate) fn condition<'a>(&self, conditions: &'a [Tensor]) -> Option<&'a Tensor> {
        conditions.get(self.resolution).filter(|_| self.layer.conditional())
    }
}

/// Runs `step` over the layers, adding up log-determinants.
pub(crate) fn run<'a>(
    layers: impl Iterator<Item = &'a ResolvedLayer>,
    x: &Tensor,
    mut step: impl FnMut(&'a ResolvedLayer, &Tensor) -> Result<Mapped>,
) -> Result<Mapped> {
    let log_det = Tensor::zeros([x.size()[0]], (x.kind(), x.device()));
    let mut total = Mapped { value: x.shallow_clone(), log_det };
    for layer in layers {
        let Mapped { value, log_det } = step(layer, &total.value)?;
        total = Mapped { value, log_det: total.log_det.f_add(&log_det)? };
    }
    Ok(total)
}
