//! The patchNR flow: couplings and random permutations on vectorised patches.

use crate::bijection::{Bijection, Mapped};
use crate::chain::Chain;
use crate::clamp::{ClampForm, SoftClamp};
use crate::coupling::Coupling;
use crate::gradients::{Gradient, Gradients};
use crate::layer::{Layer, check_vectors};
use crate::mlp::{AdamMoments, Mlp};
use crate::permutation::Permutation;
use crate::precision::Precision;
use crate::tape::Tape;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, Seed, seed::Stream, slices};
use smalti_kernels::adam::Update;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// The architecture of a patchNR flow.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PatchNrShape {
    /// Side `p` of the patches; the flow acts on vectors of `d = p^k` grey values.
    pub patch_size: i64,
    /// Axes `k` of the patches: 2 for squares of images, 3 for cubes of volumes.
    pub axes: i64,
    /// Number of couplings, each followed by a permutation (latent to data).
    pub blocks: i64,
    /// Width of the two hidden layers of every subnet.
    pub hidden: i64,
    /// The soft clamp of the log-scales.
    pub clamp: SoftClamp,
}

impl Default for PatchNrShape {
    /// [`PatchNrShape::altekrueger_2023`].
    fn default() -> Self {
        Self::altekrueger_2023()
    }
}

impl PatchNrShape {
    /// The authors' architecture: 6 x 6 patches, 5 blocks, hidden width 512, clamp 1.6 in the form of FrEIA
    /// 0.2 from PyPI; 2.9 million parameters. (Altekrueger et al. 2023, section 4.)
    pub const fn altekrueger_2023() -> Self {
        let clamp = SoftClamp::of(ClampForm::AlphaAtan, 1.6);
        Self { patch_size: 6, axes: 2, blocks: 5, hidden: 512, clamp }
    }

    /// The same for patches of this side.
    #[must_use]
    pub fn with_patch_size(mut self, patch_size: i64) -> Self {
        self.patch_size = patch_size;
        self
    }

    /// The same for squares (2) or cubes (3).
    #[must_use]
    pub fn with_axes(mut self, axes: i64) -> Self {
        self.axes = axes;
        self
    }

    /// The same with so many couplings.
    #[must_use]
    pub fn with_blocks(mut self, blocks: i64) -> Self {
        self.blocks = blocks;
        self
    }

    /// The same with hidden layers of this width.
    #[must_use]
    pub fn with_hidden(mut self, hidden: i64) -> Self {
        self.hidden = hidden;
        self
    }

    /// The same with another clamp.
    #[must_use]
    pub fn with_clamp(mut self, clamp: SoftClamp) -> Self {
        self.clamp = clamp;
        self
    }

    /// Dimension `d = p^k` of a patch.
    pub fn dim(&self) -> i64 {
        self.patch_size.saturating_pow(self.axes as u32)
    }

    fn check(&self) -> Result<()> {
        if self.blocks < 1 {
            return Err(Error::value("blocks of patchNR", "at least 1", self.blocks));
        }
        if !matches!(self.axes, 2 | 3) {
            let expected = "2 (images) or 3 (volumes)";
            return Err(Error::value("axes of the patches of patchNR", expected, self.axes));
        }
        if self.patch_size < 2 || self.dim() > 1 << 20 {
            let expected = "at least 2, with at most 2^20 values in a patch";
            return Err(Error::value("patch size of patchNR", expected, self.patch_size));
        }
        Ok(())
    }
}

/// A normalizing flow `T` on patches as vectors `[N, d]`, `d = p p` (`p p p` of volumes) in row-major order, with the
/// standard normal latent.
///
/// [`PatchNr::nll`] is `|T^-1(x)|^2 / 2 - log |det J_{T^-1}(x)|`, the constant `d/2 log(2 pi)` dropped, as in
/// the paper's loss; [`PatchNr::log_density`] keeps it.
///
/// ```
/// use smalti_base::Seed;
/// use smalti_flows::{PatchNr, PatchNrShape};
/// let shape = PatchNrShape::default().with_patch_size(4).with_blocks(2).with_hidden(32);
/// let flow = PatchNr::new(shape, Seed::new(1))?;
/// let patches = Seed::new(1).at("patches", 0).uniform(&[10, 16]);
/// let (nll, grad) = flow.nll_and_grad(&patches)?;
/// assert_eq!((nll.size(), grad.size()), (vec![10], vec![10, 16]));
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct PatchNr {
    shape: PatchNrShape,
    chain: Chain,
    permutations: Vec<Vec<i64>>,
    flat: Shared<Tensor>,
    precision: Precision,
    /// Where the flow comes from: value range, hash of the training data, settings; goes into its file.
    pub provenance: BTreeMap<String, String>,
}

impl std::fmt::Debug for PatchNr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatchNr")
            .field("shape", &self.shape)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}

impl PatchNr {
    /// A flow with random weights and permutations drawn from `seed`, in float32 on the CPU.
    ///
    /// # Errors
    /// [`Error::Value`] where a number of the architecture is out of range.
    pub fn new(shape: PatchNrShape, seed: Seed) -> Result<Self> {
        shape.check()?;
        let mut stream = seed.at("permutations of patchNR", 0);
        let permutations = (0..shape.blocks).map(|_| stream.permutation(shape.dim() as usize)).collect();
        Self::with_permutations(shape, permutations, seed)
    }

    /// A flow with random weights and the given permutations, one for each block.
    ///
    /// # Errors
    /// [`Error::Value`] where a number or a permutation is not valid.
    pub fn with_permutations(shape: PatchNrShape, permutations: Vec<Vec<i64>>, seed: Seed) -> Result<Self> {
        shape.check()?;
        if permutations.len() as i64 != shape.blocks {
            let got = format!("{} permutations for {} blocks", permutations.len(), shape.blocks);
            return Err(Error::value("blocks of patchNR", "one permutation for each", got));
        }
        let dim = shape.dim();
        let mut layers: Vec<Box<dyn Layer>> = Vec::with_capacity(2 * permutations.len());
        for (k, perm) in permutations.iter().enumerate() {
            if perm.len() as i64 != dim {
                return Err(Error::value("permutation", format!("length {dim}"), perm.len()));
            }
            let mut stream = seed.at("weights of patchNR", k as u64);
            layers.push(Box::new(Coupling::new(dim, &[shape.hidden; 2], shape.clamp, &mut stream)?));
            layers.push(Box::new(Permutation::new(perm)?));
        }
        let mut flow = Self {
            shape,
            chain: Chain::new(layers),
            permutations,
            flat: Shared::new(Tensor::new()),
            precision: Precision::Full,
            provenance: BTreeMap::new(),
        };
        flow.adopt(Kind::Float, Device::Cpu)?;
        Ok(flow)
    }

    /// Moves all parameters into one flat tensor of which they are views, so that an optimizer's step and a
    /// copy are one pass over memory.
    fn adopt(&mut self, kind: Kind, device: Device) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for buffer in self.chain.buffers_mut() {
            *buffer = buffer.f_to_device(device)?;
        }
        let parts: Vec<Tensor> =
            self.chain.parameters().iter().map(|(_, t)| t.detach().reshape([-1])).collect();
        self.flat = Shared::new(Tensor::f_cat(&parts, 0)?.f_to_kind(kind)?.f_to_device(device)?);
        let mut at = 0;
        for parameter in self.chain.parameters_mut() {
            let n = parameter.numel() as i64;
            *parameter = self.flat.narrow(0, at, n).reshape(parameter.size());
            at += n;
        }
        self.chain.set_precision(self.precision)
    }

    /// Moves the flow to a device, in a floating-point dtype.
    ///
    /// # Errors
    /// [`Error::Value`] for other dtypes; those of libtorch where there is no such device.
    pub fn to(&mut self, device: Device, kind: Kind) -> Result<()> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::value("dtype of a flow", "float32 or float64", format!("{kind:?}")));
        }
        self.adopt(kind, device)
    }

    /// Chooses the dtype of matrix products from now on.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn set_precision(&mut self, precision: Precision) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.precision = precision;
        self.chain.set_precision(precision)
    }

    /// Must follow every change of [`PatchNr::flat_parameters`].
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn refresh(&mut self) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.chain.refresh()
    }

    /// The dtype of matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The architecture.
    pub fn shape(&self) -> PatchNrShape {
        self.shape
    }

    /// The permutation of every block: `x_i = z_{perm[i]}`.
    pub fn permutations(&self) -> &[Vec<i64>] {
        &self.permutations
    }

    /// All parameters, one after the other: `[P]`. Changing it in place changes the flow.
    pub fn flat_parameters(&self) -> &Tensor {
        &self.flat
    }

    /// The parameters by the names that FrEIA's `ReversibleGraphNet` gives them.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.chain.parameters()
    }

    /// The layers of the flow, e.g. for laws.
    pub fn layers_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    /// Device of the parameters.
    pub fn device(&self) -> Device {
        self.flat.device()
    }

    /// Dtype of the parameters.
    pub fn kind(&self) -> Kind {
        self.flat.kind()
    }

    fn nll_of(mapped: &Mapped) -> Tensor {
        mapped.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * 0.5 - &mapped.log_det
    }

    /// The numbers of the first patch and of the patches of every chunk.
    fn chunks(&self, n: i64) -> Vec<(i64, i64)> {
        // Large chunks fill a GPU. On a CPU the activations of one subnet should stay in the second-level cache;
        // where every operation is one of libtorch, they must also be worth its overhead.
        let chunk = match (self.device().is_cuda(), self.precision) {
            (true, _) => 16_384,
            (false, Precision::Full) => 1024,
            (false, Precision::Bf16) => 256,
        };
        (0..n).step_by(chunk as usize).map(|at| (at, chunk.min(n - at))).collect()
    }

    /// `|z|^2 / 2 - log |det|` of every patch: `[N, d] -> [N]`, in chunks and without a graph.
    ///
    /// # Errors
    /// [`Error::Shape`] where patches do not have `d` values.
    pub fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        check_vectors("patches", patches, self.shape.dim())?;
        if let Some((nll, _)) = self.nll_by_kernel(patches, false)? {
            return Ok(nll);
        }
        let n = patches.size()[0];
        let nll = Tensor::empty([n], (patches.kind(), patches.device()));
        let mut chunks = parallel::cut([patches, &nll], &self.chunks(n))?;
        parallel::for_each_mut(&mut chunks, |[patches, nll]| {
            let mapped = self.chain.to_latent(patches, None)?;
            nll.copy_(&Self::nll_of(&mapped));
            Ok(())
        })?;
        Ok(nll)
    }

    /// [`PatchNr::nll`] and its gradient in every patch: `[N, d] -> ([N], [N, d])`.
    ///
    /// The gradient is analytic: one pass forth and one back for every chunk, no gradient of weights, and
    /// memory for the activations of one chunk a thread only.
    ///
    /// # Errors
    /// [`Error::Shape`] where patches do not have `d` values.
    pub fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        check_vectors("patches", patches, self.shape.dim())?;
        if let Some((nll, Some(grad))) = self.nll_by_kernel(patches, true)? {
            return Ok((nll, grad));
        }
        let n = patches.size()[0];
        let nll = Tensor::empty([n], (patches.kind(), patches.device()));
        let grad = Tensor::empty([n, self.shape.dim()], (patches.kind(), patches.device()));
        let mut chunks = parallel::cut([patches, &nll, &grad], &self.chunks(n))?;
        parallel::for_each_mut(&mut chunks, |[patches, nll, grad]| {
            let mut tape = Tape::default();
            let mapped = self.chain.to_latent_taped(patches, &mut tape)?;
            nll.copy_(&Self::nll_of(&mapped));
            let back = self.chain.pull_back(&mapped.value, -1.0, &mut tape, None)?;
            grad.copy_(&back);
            Ok(())
        })?;
        Ok((nll, grad))
    }

    /// The training loss `mean_i (|z_i|^2 / 2 - log |det|_i)` of a batch `[N, d]` and its gradients in the
    /// parameters, in the order of [`PatchNr::parameters`]: those of the parts of the batch that different threads
    /// took, for [`Gradients::sum`] or [`PatchNr::descend`]. (Altekrueger et al. 2023, eq. (3).)
    ///
    /// # Errors
    /// [`Error::Shape`] where patches do not have `d` values, or there are none.
    pub fn loss_and_weight_grads(&self, patches: &Tensor) -> Result<(f64, Vec<Gradients>)> {
        check_vectors("patches", patches, self.shape.dim())?;
        let n = patches.size()[0];
        if n == 0 {
            return Err(Error::shape("training patches", "at least one", patches.size()));
        }
        let parts = if self.device().is_cuda() { 1 } else { parallel::workers() as i64 };
        let size = (n + parts - 1) / parts.max(1);
        let starts = (0..n).step_by(size.max(1) as usize);
        let pieces: Vec<(i64, i64)> = starts.map(|at| (at, size.min(n - at))).collect();
        let parts = parallel::map_mut(&mut parallel::cut([patches], &pieces)?, |[part]| {
            let mut tape = Tape::default();
            let mapped = self.chain.to_latent_taped(part, &mut tape)?;
            let mut grads = Gradients::default();
            let latent = &mapped.value / n as f64;
            let _in_patches = self.chain.pull_back(&latent, -1.0 / n as f64, &mut tape, Some(&mut grads))?;
            Ok((Self::nll_of(&mapped).sum(Kind::Double).double_value(&[]), grads))
        })?;
        let (losses, grads): (Vec<f64>, Vec<Gradients>) = parts.into_iter().unzip();
        Ok((losses.iter().sum::<f64>() / n as f64, grads))
    }

    /// One step of Adam (see [`adam()`](smalti_kernels::adam::adam)) with gradients from [`PatchNr::loss_and_weight_grads`] and the moments of every
    /// parameter, which are changed; [`PatchNr::refresh`] included. `false`, with nothing done, where the subnets do
    /// not support it: other precisions and devices.
    ///
    /// # Errors
    /// [`Error::Shape`] where gradients or moments do not belong to this flow; [`Error::Value`] where moments share memory
    /// with each other, parameters or gradients.
    #[allow(unsafe_code)]
    pub fn descend(
        &mut self,
        gradients: &[Gradients],
        moments: &[AdamMoments],
        update: Update,
    ) -> Result<bool> {
        let all = self.chain.parameters().len();
        if let Some(other) = gradients.iter().map(Gradients::len).chain([moments.len()]).find(|n| *n != all) {
            return Err(Error::shape("gradients or moments of a flow", all, other));
        }
        let written = self.chain.parameters().into_iter().map(|(_, t)| t).chain(moments.iter().flatten());
        let read = gradients.iter().flat_map(|part| &part.0).filter_map(|gradient| match gradient {
            Gradient::Ready(t) => Some(&**t),
            Gradient::Product(..) => None,
        });
        if !slices::are_disjoint(written, read) {
            let expected = "tensors with memory to themselves";
            return Err(Error::value("moments of a flow", expected, "some that share memory"));
        }
        let nets = self.chain.subnets_mut();
        if nets.iter().map(|net| net.count()).sum::<usize>() != all || !nets.iter().all(|net| net.is_fused())
        {
            return Ok(false);
        }
        let mut at = 0;
        let mut jobs: Vec<(&mut Mlp, usize)> = Vec::with_capacity(nets.len());
        for net in nets {
            let from = at;
            at += net.count();
            jobs.push((net, from));
        }
        let moments = Shared::new(moments);
        parallel::for_each_mut(&mut jobs, |(net, from)| {
            let range = *from..*from + net.count();
            let parts: Vec<&[Gradient]> = gradients.iter().map(|part| &part.0[range.clone()]).collect();
            // SAFETY: all memory is apart, as checked; each net is the job of one thread, which alone has its
            // parameters and moments, and nobody writes gradients.
            unsafe { net.descend(&parts, &moments[range], update) }
        })?;
        Ok(true)
    }

    /// `log p(x) = log N(T^-1(x); 0, I) + log |det J_{T^-1}(x)|`, with its constant: `[N, d] -> [N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where patches do not have `d` values.
    pub fn log_density(&self, patches: &Tensor) -> Result<Tensor> {
        let constant = 0.5 * self.shape.dim() as f64 * (2.0 * std::f64::consts::PI).ln();
        Ok(-self.nll(patches)? - constant)
    }

    /// `n` patches `T(z)`, `z ~ N(0, I)`: `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Value`] where `n` is negative; those of libtorch.
    pub fn sample(&self, n: i64, stream: &mut Stream) -> Result<Tensor> {
        if n < 0 {
            return Err(Error::value("number of samples", "0 or more", n));
        }
        let _no_grad = tch::no_grad_guard();
        let z = stream.normal(&[n, self.shape.dim()]).to_kind(self.kind()).to_device(self.device());
        Ok(self.chain.to_data(&z, None)?.value)
    }
}

impl Bijection for PatchNr {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.chain.to_latent(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.chain.to_data(z, cond)
    }
}
