//! Half-quadratic splitting with a denoiser in the place of a prior.

use crate::run::{Iteration, Step};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use smalti_operators::resolvent::{ConjugateGradients, DataStep};
use tch::{Kind, Tensor};

/// Settings of [`PlugAndPlay`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PlugAndPlaySettings {
    /// Iterations, at least 1.
    pub iterations: u64,
    /// Noise level of the denoiser in the first iteration, positive.
    pub sigma_start: f64,
    /// Noise level in the last iteration, positive.
    pub sigma_end: f64,
    /// What couples image and denoised image, positive.
    pub lambda: f64,
    /// How data steps without a closed form are solved.
    pub conjugate_gradients: ConjugateGradients,
}

impl PlugAndPlaySettings {
    /// Settings of DPIR but for the levels: `lambda` 0.23.
    pub fn dpir(iterations: u64, sigma_start: f64, sigma_end: f64) -> Self {
        let conjugate_gradients = ConjugateGradients::default();
        Self { iterations, sigma_start, sigma_end, lambda: 0.23, conjugate_gradients }
    }

    /// The same with another `lambda`.
    #[must_use]
    pub fn with_lambda(self, lambda: f64) -> Self {
        Self { lambda, ..self }
    }

    /// The same with other conjugate gradients.
    #[must_use]
    pub fn with_conjugate_gradients(self, conjugate_gradients: ConjugateGradients) -> Self {
        Self { conjugate_gradients, ..self }
    }

    /// The noise level of iteration `k`: from the first to the last in equal ratios.
    pub fn level(&self, k: u64) -> f64 {
        if self.iterations < 2 {
            return self.sigma_end;
        }
        let share = (k as f64 / (self.iterations - 1) as f64).min(1.0);
        // Exact at both ends.
        match k {
            0 => self.sigma_start,
            _ if share >= 1.0 => self.sigma_end,
            _ => self.sigma_start.powf(1.0 - share) * self.sigma_end.powf(share),
        }
    }
}

/// What denoises: the image, the standard deviation of its noise, and the iteration.
type Denoise<'a> = dyn Fn(&Tensor, f64, u64) -> Result<Tensor> + 'a;

/// Half-quadratic splitting, one noise level `sigma_k` an iteration:
///
/// `x_k = argmin_x 1/2 sum w (A x - y)^2 + lambda / (2 sigma_k^2) |x - z_(k-1)|^2`, `z_k = D(x_k, sigma_k)`,
///
/// with the weights `w` of a [`DataStep`], inverse variances of the noise. The result is the last `z`. Where `D` is the proximal map
/// of a function `R`, `D(x, s) = argmin_z |z - x|^2 / (2 s^2) + R(z)`, and levels fall slowly to 0, it minimises
/// `1/2 sum w (A x - y)^2 + lambda R(x)`.
///
/// # Reference
/// K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte, "Plug-and-play image restoration with deep denoiser prior", IEEE
/// Transactions on Pattern Analysis and Machine Intelligence 44 (2022).
pub struct PlugAndPlay<'a> {
    data: DataStep<'a>,
    denoise: Box<Denoise<'a>>,
    settings: PlugAndPlaySettings,
    x: Tensor,
    z: Tensor,
}

impl std::fmt::Debug for PlugAndPlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlugAndPlay").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<'a> PlugAndPlay<'a> {
    /// From the image `start`, `[1, C, H, W]` or a volume in the domain of the data step.
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is not a positive number.
    pub fn new(
        data: DataStep<'a>,
        denoise: impl Fn(&Tensor, f64, u64) -> Result<Tensor> + 'a,
        start: &Tensor,
        settings: PlugAndPlaySettings,
    ) -> Result<Self> {
        let PlugAndPlaySettings { sigma_start, sigma_end, lambda, .. } = settings;
        for (what, value) in
            [("first noise level", sigma_start), ("last noise level", sigma_end), ("lambda", lambda)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(format!("{what} of plug-and-play"), "a positive number", value));
            }
        }
        let (x, z) = (start.copy(), start.copy());
        Ok(Self { data, denoise: Box::new(denoise), settings, x, z })
    }
}

impl Iteration for PlugAndPlay<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        "plug-and-play".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let sigma = self.settings.level(k);
        let alpha = self.settings.lambda / (sigma * sigma);
        self.x = self.data.solve(&self.z, alpha, &self.x, self.settings.conjugate_gradients)?;
        self.z = (self.denoise)(&self.x, sigma, k)?;
        let apart = self.z.f_sub(&self.x)?.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?.sqrt();
        Ok(Step { terms: vec![("sigma", sigma), ("removed", apart)], done: None })
    }

    fn finish(self) -> Result<Tensor> {
        Ok(self.z)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("x".into(), self.x.copy());
        file.tensors.insert("z".into(), self.z.copy());
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        let like = |file: &mut Checkpoint, name: &str, t: &Tensor| {
            Ok::<_, Error>(file.take(name, &t.size(), t.kind())?.f_to_device(t.device())?)
        };
        self.x = like(&mut file, "x", &self.x)?;
        self.z = like(&mut file, "z", &self.z)?;
        Ok(())
    }
}
