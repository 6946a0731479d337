//! patchNR without libtorch: where subnets are narrow, the small operations between their products cost more than these.

use crate::patchnr::PatchNr;
use crate::precision::Precision;
use smalti_base::slices::{self, Buffer};
use smalti_base::{Error, Result, parallel};
use smalti_kernels::affine::Clamp;
use smalti_kernels::coupling_flow::{CouplingFlow, CouplingWeights, Isa, LinearWeights};
use smalti_kernels::error::KernelError;
use smalti_kernels::mlp::Matrix;
use tch::{Device, Kind, Tensor};

/// Up to this width the weights between the hidden layers of a subnet fit the second-level cache; beyond it, libtorch's
/// products are large enough.
const WIDEST: i64 = 256;

impl PatchNr {
    /// Whether the kernel computes likelihoods of these patches: narrow subnets, everything in float32 in main memory, and a
    /// processor with AVX2 or more.
    fn suits_kernel(&self, patches: &Tensor) -> bool {
        let parameters = self.parameters();
        let mut tensors = parameters.iter().map(|(_, t)| *t).chain([patches]);
        self.shape().hidden <= WIDEST
            && self.precision() == Precision::Full
            && Isa::best() != Isa::Plain
            && tensors.all(|t| t.kind() == Kind::Float && t.device() == Device::Cpu)
    }

    /// [`PatchNr::nll`] of patches `[N, d]` and, where it is asked for, the gradient, by the kernel; `None` where it does not
    /// suit.
    #[allow(unsafe_code)]
    pub(crate) fn nll_by_kernel(
        &self,
        patches: &Tensor,
        with_grad: bool,
    ) -> Result<Option<(Tensor, Option<Tensor>)>> {
        if !self.suits_kernel(patches) {
            return Ok(None);
        }
        let size = patches.size();
        let mut parameters = Vec::new();
        for (_, parameter) in self.parameters() {
            parameters.push(parameter.detach().f_contiguous()?);
        }
        let patches = slices::with_rows(&patches.detach())?;
        let mut nll = Buffer::zeros(&size[..1])?;
        let mut grad = if with_grad { Some(Buffer::zeros(&size)?) } else { None };
        let mut layers = Vec::new();
        for [weight, bias] in parameters.as_chunks::<2>().0 {
            // SAFETY: until the kernel is done, which is the last use of the slices, this thread writes into new memory only;
            // and no other thread writes into tensors that it has lent (decision 013).
            let (weight, bias) = unsafe { (slices::values(weight)?, slices::values(bias)?) };
            layers.push(LinearWeights { weight, bias });
        }
        // SAFETY: the same.
        let (values, stride) = unsafe { slices::rows(&patches) }?;
        let couplings = self.couplings(&layers);
        let (to, patches) = ((&mut *nll, grad.as_deref_mut()), Matrix { values, stride });
        let kernel = move || -> Result<(), KernelError> {
            let flow = CouplingFlow::new(size[1] as usize, &couplings)?;
            match to {
                (nll, Some(grad)) => flow.nll_and_grad(patches, nll, grad),
                (nll, None) => flow.nll(patches, nll),
            }
        };
        parallel::install(kernel)?.map_err(|e| Error::value(e.what, e.expected, e.got))?;
        Ok(Some((nll.into_tensor(), grad.map(Buffer::into_tensor))))
    }

    /// The couplings, given the layers of all subnets in order, as many in each.
    fn couplings<'a>(&'a self, layers: &[LinearWeights<'a>]) -> Vec<CouplingWeights<'a>> {
        let (bound, slope) = self.shape().clamp.factors();
        let clamp = Clamp { bound: bound as f32, slope: slope as f32 };
        let mut subnets = layers.chunks((layers.len() / (2 * self.permutations().len()).max(1)).max(1));
        let mut next = || subnets.next().unwrap_or_default().to_vec();
        let permutations = self.permutations().iter();
        permutations
            .map(|permutation| CouplingWeights { subnets: [next(), next()], clamp, permutation })
            .collect()
    }
}
