//! Training the critic of a local adversarial regularizer: a Wasserstein distance in its dual form, with a penalty on gradients.

use crate::adam::{Adam, AdamSettings};
use crate::run::{Iteration, Step};
use crate::training_history::{CurvePoint, TrainingHistory, record};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::seed::Stream;
use smalti_base::{Error, Result, Seed, Space, parallel};
use smalti_priors::{PatchCritic, PatchCriticShape, Patches};
use tch::{Kind, Tensor};

/// Validation patches are judged in so many batches, each damaged in its own way.
const VALIDATION_BATCHES: usize = 10;

/// Pixels that a blur reaches to each side: its kernel has five.
const REACH: i64 = 2;

/// Settings of [`CriticTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CriticTrainingSettings {
    /// Steps and learning rate.
    pub adam: AdamSettings,
    /// Decay rates of the moments of Adam.
    pub betas: (f64, f64),
    /// Patches a step, drawn uniformly with replacement from one image, which is drawn uniformly among all.
    pub batch: i64,
    /// What the penalty on gradients is multiplied by, at least 0.
    pub penalty: f64,
    /// Least and largest standard deviation of the blur of damaged patches, in pixels, above 0.
    pub blur: (f64, f64),
    /// Largest standard deviation of their noise, in grey values, at least 0.
    pub noise: f64,
    /// Steps between two validations.
    pub validate_every: u64,
    /// Validation patches, a fixed random set, damaged once.
    pub validation_patches: i64,
}

impl Default for CriticTrainingSettings {
    /// Those of MoePien/PatchbasedRegularizer for 354,025 patches (a slice of 600 x 600): ten times as many in batches of 64, Adam
    /// 1e-4 with decay rates 0.5 and 0.999, penalty 10, blur 0.001 to 0.3, noise up to 0.2. Its batches are neighbouring patches; here they are drawn.
    fn default() -> Self {
        Self {
            adam: AdamSettings::constant(55_320, 1e-4),
            betas: (0.5, 0.999),
            batch: 64,
            penalty: 10.0,
            blur: (0.001, 0.3),
            noise: 0.2,
            validate_every: 500,
            validation_patches: 10_000,
        }
    }
}

impl CriticTrainingSettings {
    /// The same with other steps.
    #[must_use]
    pub fn with_adam(mut self, adam: AdamSettings) -> Self {
        self.adam = adam;
        self
    }

    /// The same with other decay rates.
    #[must_use]
    pub fn with_betas(mut self, betas: (f64, f64)) -> Self {
        self.betas = betas;
        self
    }

    /// The same with so many patches a step.
    #[must_use]
    pub fn with_batch(mut self, batch: i64) -> Self {
        self.batch = batch;
        self
    }

    /// The same with another multiple of the penalty.
    #[must_use]
    pub fn with_penalty(mut self, penalty: f64) -> Self {
        self.penalty = penalty;
        self
    }

    /// The same with other damage.
    #[must_use]
    pub fn with_damage(mut self, blur: (f64, f64), noise: f64) -> Self {
        (self.blur, self.noise) = (blur, noise);
        self
    }

    /// The same with a validation after every so many steps.
    #[must_use]
    pub fn with_validate_every(mut self, validate_every: u64) -> Self {
        self.validate_every = validate_every;
        self
    }

    /// The same with so many validation patches.
    #[must_use]
    pub fn with_validation_patches(mut self, validation_patches: i64) -> Self {
        self.validation_patches = validation_patches;
        self
    }

    fn check(&self, validation: bool) -> Result<()> {
        self.adam.check()?;
        for (what, value) in [
            ("batch", self.batch.into()),
            ("validation interval", self.validate_every.into()),
            ("validation patches", if validation { self.validation_patches.into() } else { 1 }),
        ] {
            let value: i128 = value;
            if value < 1 {
                return Err(Error::value(what, "at least 1", value));
            }
        }
        for (what, value) in
            [("penalty on gradients", self.penalty), ("noise of damaged patches", self.noise)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a number >= 0", value));
            }
        }
        let (least, largest) = self.blur;
        if !(least > 0.0 && least <= largest && largest.is_finite()) {
            let expected = "two numbers above 0, the smaller one first";
            return Err(Error::value("blur of damaged patches", expected, format!("{least}, {largest}")));
        }
        Ok(())
    }
}

/// A trained critic.
#[derive(Debug)]
pub struct TrainedCritic {
    /// The critic after the last step.
    pub critic: PatchCritic,
    /// The training curve: of the loss that [`CriticTraining`] minimises.
    pub curve: Vec<CurvePoint>,
}

/// Minimises
///
/// ```text
/// mean_i D(q_i) - mean_i D(p_i) + penalty mean_i (|grad D(m_i)| - 1)^2
/// ```
///
/// over the weights of the critic `D`: `p_i` patches of the training images, `q_i` the same ones damaged, that is blurred by a Gaussian
/// kernel of 5 pixels along each axis (continued by reflection) and with white noise, and `m_i = e_i p_i + (1 - e_i) q_i`, `e_i` uniform
/// in `[0, 1]`. The standard deviations of blur and noise are uniform in their ranges, one of each for a batch. (Prost et al. 2021, with the
/// penalty of Gulrajani et al. 2017, eq. (3).) Without penalty the loss would be minus a multiple of the Wasserstein-1 distance of the two distributions.
///
/// The penalty is differentiated through: its gradient in the weights holds second derivatives of `D` ([`gradient_penalty`]).
///
/// # Shapes
/// Images `[1, C, H, W]`, of a critic of cubes volumes `[1, C, D, H, W]`, with the channels of the critic.
///
/// ```
/// use smalti_base::Seed;
/// use smalti_priors::{PatchCritic, PatchCriticShape};
/// use smalti_solvers::{AdamSettings, CriticTraining, CriticTrainingSettings, Iteration, RunControl, run};
/// let image = Seed::new(1).at("image", 0).uniform(&[1, 1, 40, 30]);
/// let critic = PatchCritic::new(PatchCriticShape::default().with_widths([4, 8]), Seed::new(2))?;
/// let settings = CriticTrainingSettings::default().with_adam(AdamSettings::constant(5, 1e-3)).with_batch(16);
/// let mut training = CriticTraining::new(critic, &[image], None, settings, Seed::new(3))?;
/// run(&mut training, settings.adam.steps, &RunControl::default())?;
/// assert_eq!(training.finish()?.curve.len(), 1);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct CriticTraining {
    critic: PatchCritic,
    settings: CriticTrainingSettings,
    images: Vec<Tensor>,
    validation: Vec<Batch>,
    parameters: Vec<Tensor>,
    adam: Adam,
    seed: Seed,
    history: TrainingHistory,
}

impl std::fmt::Debug for CriticTraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CriticTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Patches `p`, damaged ones `q` and mixtures `m` of them: `[n, d]` each.
struct Batch {
    real: Tensor,
    damaged: Tensor,
    mixed: Tensor,
}

impl CriticTraining {
    /// Training of `critic` on the patches of `images`, watched on those of `validation`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where an image or setting does not fit.
    pub fn new(
        mut critic: PatchCritic,
        images: &[Tensor],
        validation: Option<&Tensor>,
        settings: CriticTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        settings.check(validation.is_some())?;
        let shape = critic.shape();
        let device = critic.device();
        let prepare = |what: &str, image: &Tensor| -> Result<Tensor> {
            Ok(prepared(what, image, shape)?.f_to_device(device)?)
        };
        let images: Vec<Tensor> =
            images.iter().map(|image| prepare("training image", image)).collect::<Result<_>>()?;
        if images.is_empty() {
            return Err(Error::value("training images", "at least 1", 0));
        }
        let validation = match validation {
            None => Vec::new(),
            Some(image) => {
                let image = prepare("validation image", image)?;
                let space = Space::of("validation image", &image)?;
                let mut stream = seed.at("validation patches", 0);
                let n = settings.validation_patches as usize;
                let rows = Patches::random(space, shape.patch_size, n, &mut stream)?.rows(&image)?;
                let each = (rows.size()[0] as usize).div_ceil(VALIDATION_BATCHES) as i64;
                let batches = rows.f_split(each, 0)?.into_iter();
                batches.map(|real| settings.batch_of(shape, real, &mut stream)).collect::<Result<Vec<_>>>()?
            }
        };
        let hash = data_hash(&images.iter().collect::<Vec<_>>())?;
        record(&mut critic.provenance, hash, format!("{settings:?}"), seed);
        let parameters: Vec<Tensor> = critic.parameters().into_iter().map(|(_, t)| t).collect();
        let adam = Adam::new(&parameters).with_betas(settings.betas)?;
        let history = TrainingHistory::default();
        Ok(Self { critic, settings, images, validation, parameters, adam, seed, history })
    }

    /// The batch of step `k`, from one of the images.
    fn batch(&self, k: u64) -> Result<Batch> {
        let mut stream = self.seed.at("training batch", k);
        let image = &self.images[stream.index(self.images.len() as i64) as usize];
        let space = Space::of("training image", image)?;
        let (shape, n) = (self.critic.shape(), self.settings.batch as usize);
        let patches = Patches::random_with_replacement(space, shape.patch_size, n, &mut stream)?;
        self.settings.batch_of(shape, patches.rows(image)?, &mut stream)
    }

    /// What is minimised, with a graph to the weights.
    fn loss(&self, batch: &Batch) -> Result<Tensor> {
        let critic = |patches: &Tensor| self.critic.forward(patches);
        tch::with_grad(|| {
            let apart = critic(&batch.damaged)?
                .f_mean(Kind::Float)?
                .f_sub(&critic(&batch.real)?.f_mean(Kind::Float)?)?;
            if self.settings.penalty == 0.0 {
                return Ok::<Tensor, Error>(apart);
            }
            Ok(apart.f_add(&(gradient_penalty(critic, &batch.mixed)? * self.settings.penalty))?)
        })
    }

    fn validate(&mut self, step: u64) -> Result<Step> {
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in &self.validation {
            let n = batch.real.size()[0] as f64;
            sum += n * parallel::in_operations(|| self.loss(batch))?.f_double_value(&[])?;
            count += n;
        }
        let validation = (count > 0.0).then(|| sum / count);
        let train = self.history.point(step, validation);
        let mut terms = vec![("training loss", train)];
        terms.extend(validation.map(|v| ("validation loss", v)));
        Ok(Step { terms, done: None })
    }
}

impl CriticTrainingSettings {
    /// `real: [n, d]` with damaged patches and mixtures.
    fn batch_of(&self, shape: PatchCriticShape, real: Tensor, stream: &mut Stream) -> Result<Batch> {
        let (device, size) = (real.device(), real.size());
        let (least, largest) = self.blur;
        let mut drawn = || stream.uniform(&[1]).double_value(&[0]);
        let (sigma, level) = (least + (largest - least) * drawn(), self.noise * drawn());
        let noise = stream.normal(&size).f_to_device(device)? * level;
        let damaged = blurred(&real, shape, sigma)?.f_add(&noise)?;
        let share = stream.uniform(&[size[0], 1]).f_to_device(device)?;
        // q + e (p - q).
        let mixed = real.f_sub(&damaged)?.f_mul(&share)?.f_add(&damaged)?;
        Ok(Batch { real, damaged, mixed })
    }
}

/// `mean_i (|grad D(x_i)| - 1)^2` for a critic `D: [n, d] -> [n]` that takes its rows one by one, at `x: [n, d]`; with a graph to the weights
/// that `D` depends on, through the gradient.
///
/// Of the linear critic `D(x) = <w, x>` the gradient in `w` is `2 (|w| - 1) w / |w|`.
///
/// # Errors
/// Those of the critic and of libtorch.
pub fn gradient_penalty(critic: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
    tch::with_grad(|| {
        let x = x.detach().set_requires_grad(true);
        let total = critic(&x)?.f_sum(x.kind())?;
        let gradients = Tensor::f_run_backward(&[&total], &[&x], true, true)?;
        // One input has one gradient.
        let gradient = Tensor::f_cat(&gradients, 0)?;
        let norm = gradient.f_norm_scalaropt_dim(2.0, 1i64, false)?;
        Ok(norm.f_sub_scalar(1.0)?.f_square()?.f_mean(x.kind())?)
    })
}

/// Patches `[n, d]` blurred along each of their axes.
fn blurred(patches: &Tensor, shape: PatchCriticShape, sigma: f64) -> Result<Tensor> {
    let p = shape.patch_size;
    let weights = (-REACH..=REACH).map(|j| (-0.5 * (j as f64 / sigma).powi(2)).exp());
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    let mut rows = vec![0.0; (p * p) as usize];
    for at in 0..p {
        for (j, weight) in (-REACH..=REACH).zip(&weights) {
            // Reflected without repeating the border.
            let from = (at + j).abs();
            let from = from.min(2 * (p - 1) - from);
            rows[(at * p + from) as usize] += weight / total;
        }
    }
    let blur = Tensor::f_from_slice(&rows)?.f_reshape([p, p])?.f_to_kind(patches.kind())?;
    let blur = blur.f_to_device(patches.device())?.f_tr()?;
    let mut size = vec![patches.size()[0], shape.channels];
    size.extend(vec![p; shape.axes as usize]);
    let mut x = patches.f_reshape(&size)?;
    for axis in 2..2 + shape.axes {
        x = x.f_transpose(axis, -1)?.f_matmul(&blur)?.f_transpose(axis, -1)?;
    }
    Ok(x.f_reshape(patches.size())?)
}

/// An image that patches for a critic are taken from, in float32.
fn prepared(what: &str, image: &Tensor, shape: PatchCriticShape) -> Result<Tensor> {
    let space = Space::of(what, image)?;
    if space.axes().len() as i64 != shape.axes || space.channels != shape.channels || image.size()[0] != 1 {
        let expected =
            format!("[1, {}, ...] with {} axes, as the patches of the critic", shape.channels, shape.axes);
        return Err(Error::shape(what, expected, image.size()));
    }
    if !image.is_floating_point() {
        let got = format!("{:?}", image.kind());
        return Err(Error::value(what, "floating-point values in [0, 1]", got));
    }
    if image.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        return Err(Error::value(what, "finite values", "NaN or infinity in it"));
    }
    // Fails early where patches do not fit.
    Patches::all(space, shape.patch_size)?;
    Ok(image.detach().f_to_kind(Kind::Float)?)
}

impl Iteration for CriticTraining {
    type Output = TrainedCritic;

    fn name(&self) -> String {
        "training a critic".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let batch = self.batch(k)?;
        let (loss, gradients) = parallel::in_operations(|| {
            let loss = self.loss(&batch)?;
            let gradients = Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
            Ok::<_, Error>((loss.f_double_value(&[])?, gradients))
        })?;
        self.adam.step(&self.parameters, &[gradients], self.settings.adam.rate_at(k))?;
        self.history.add(loss);
        if (k + 1).is_multiple_of(self.settings.validate_every) || k + 1 == self.settings.adam.steps {
            self.validate(k + 1)
        } else {
            Ok(Step { terms: vec![("training loss", loss)], done: None })
        }
    }

    fn finish(mut self) -> Result<TrainedCritic> {
        if let Some(value) = self.history.last_validation() {
            self.critic.provenance.insert("validation_loss".into(), value.to_string());
        }
        Ok(TrainedCritic { critic: self.critic, curve: self.history.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        for (name, parameter) in self.critic.parameters() {
            file.tensors.insert(format!("critic.{name}"), parameter.detach().copy());
        }
        self.adam.save(&mut file);
        self.history.save(&mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for (name, mut parameter) in self.critic.parameters() {
            let kept = state.take(&format!("critic.{name}"), &parameter.size(), parameter.kind())?;
            parameter.f_copy_(&kept)?;
        }
        self.adam.restore(&mut state)?;
        self.history = TrainingHistory::restore(&mut state)?;
        Ok(())
    }
}
