//! ZSSR: a small network that is trained on the observation itself, one scale coarser.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::pairs::{ObservedCrops, start_of, symmetries};
use crate::problem::{InverseProblem, ProblemKey};
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, to_toml};
use crate::supervised::{in_orientations, train};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{LinearOperator, PowerIteration};
use smalti_solvers::{
    Pair, PixelLoss, RateRule, ResidualNet, ResidualNetSettings, SupervisedTrainingSettings,
};
use std::time::Instant;
use tch::Tensor;

/// ZSSR.
#[derive(Debug)]
pub struct Zssr;

/// An image `z`, the *father*, is observed by the instrument with its noise, the *son* `A z + sigma xi`, and the network
/// ([`ResidualNet`]) learns to make `z` of the son's interpolation `I(A z + sigma xi)`, by the mean of the absolute differences.
/// Fathers are the reference images in eight orientations, half of them also shrunk: with `learns_from = "observation"` the
/// observation itself.
///
/// The estimate is the median, over the orientations that the instrument does not tell from each other, of the network's images for
/// the interpolated observation, after some rounds of back-projection `x <- x + A^T (y - A x) / |A|^2`.
///
/// The learning rate is divided by 10 whenever the error of the first father no longer falls ([`RateRule::Drops`]).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct ZssrSettings {
    /// Channels, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub channels: i64,
    /// Residual blocks of two convolutions each, beside the first and the last one, 1 to 256.
    #[garde(range(min = 1, max = 256))]
    pub blocks: i64,
    /// Side of the squares of pixels that the network sees as one, 1 to 16; 1 where not given.
    #[serde(default = "one")]
    #[garde(range(min = 1, max = 16))]
    pub factor: i64,
    /// Steps at most, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: i64,
    /// Side of a crop in pixels of the father, 16 to 4096, a multiple of the factor; at most that of the smallest reference.
    #[garde(range(min = 16, max = 4096))]
    pub crop: i64,
    /// Pixels along each side of a crop that do not count, 0 to 1024; less than half of the crop.
    #[garde(range(min = 0, max = 1024))]
    pub border: i64,
    /// Crops that are taken of a father before the next one is made, with fresh noise, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub crops_of_father: u64,
    /// Half of the fathers are shrunk by a random factor of at least this, 0.1 to 1; 1: none.
    #[garde(range(min = 0.1, max = 1.0))]
    pub smallest_scale: f64,
    /// Learning rate at the start, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// The training ends where the learning rate would fall below, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub final_learning_rate: f64,
    /// Steps between two looks at the error of the first father, 1 to 1 million; the learning rate drops after six at the soonest.
    #[garde(range(min = 1, max = 1_000_000))]
    pub test_every: u64,
    /// Rounds of back-projection, 0 to 10,000.
    #[garde(range(min = 0, max = 10_000))]
    pub back_projections: u64,
    /// The dtype of convolutions in the training.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

fn one() -> i64 {
    1
}

impl Method for Zssr {
    const KEY: &'static str = "zssr";
    const TITLE: &'static str = "ZSSR";
    const PAPERS: &'static [&'static str] = &[
        "A. Shocher, N. Cohen, M. Irani. Zero-shot super-resolution using deep internal learning. CVPR 2018.",
    ];
    const LEARNS: Learns = Learns::Pairs;
    type Settings = ZssrSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        match instrument.key() {
            ProblemKey::Superresolution | ProblemKey::Deblurring => Ok(()),
            ProblemKey::Inpainting => Err("what is seen is as fine as the image".into()),
            ProblemKey::Tomography => Err("projections are no image that could be observed once more".into()),
            ProblemKey::Volume => Err("the network is two-dimensional".into()),
        }
    }

    fn check(
        settings: &ZssrSettings,
        _instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        let &ZssrSettings { crop, border, factor, .. } = settings;
        if crop % factor != 0 {
            return Err(("crop".into(), format!("not a multiple of the factor {factor}")));
        }
        if 2 * border >= crop {
            return Err(("border".into(), format!("not less than half of the crop of {crop}")));
        }
        Ok(())
    }

    fn prepare(settings: &ZssrSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let seed = run.seed.derive(Self::TITLE, 0);
        let fathers = Fathers::new(settings, from)?;
        let turns = fathers.symmetries(settings.border, seed)?;
        let hash = data_hash(&from.references.iter().collect::<Vec<&Tensor>>())?;
        let precision = settings.precision.on(run.device);
        // Back-projection comes after the training, which rows that differ in it share.
        let learning = to_toml(&ZssrSettings { back_projections: 0, ..settings.clone() });
        let identity = format!("{hash} {learning} {} {precision:?}", from.instrument.identity());
        let Trained { model: net, curve, seconds } =
            run.once("zssr", &identity, |run| settings.train(&fathers, seed, run))?;
        let steps = curve.training.last().map_or(0, |&(step, _)| step);
        let note =
            format!("trained on pairs of the image and a coarser one: {steps} steps in {seconds:.0} s");
        let learned = Learned { identity, curve: Some(curve), note };
        let back_projections = settings.back_projections;
        Prepared::ready(ZeroShot { net: net.to(run.device)?, turns, back_projections, learned })
    }
}

impl ZssrSettings {
    fn train(&self, fathers: &Fathers<'_>, seed: Seed, run: &Run) -> Result<Trained<ResidualNet>> {
        let wanted = SupervisedTrainingSettings::default()
            .with_steps(self.steps)
            .with_batch(self.batch)
            .with_border(self.border)
            .with_loss(PixelLoss::Absolute)
            .with_rate(self.learning_rate)
            .with_last_rate(self.final_learning_rate)
            .with_rate_rule(RateRule::Drops)
            .with_validate_every(self.test_every)
            .with_precision(self.precision.on(run.device));
        let shape = ResidualNetSettings::default()
            .with_factor(self.factor)
            .with_channels(self.channels)
            .with_blocks(self.blocks);
        let first = fathers.pair(&fathers.images[0], seed.derive("first father", 0))?;
        let make = |image: &Tensor, seed: Seed| fathers.pair(&fathers.shrunk(image, seed)?, seed);
        let crops = ObservedCrops::new(&fathers.images, &make, fathers.crop, self.factor, seed)
            .with_of_observation(self.crops_of_father);
        let net = ResidualNet::new(shape, seed)?.to(run.device)?;
        train(net, &crops, &vec![first], wanted, seed, run)
    }
}

/// Images that stand for the truth while the network learns.
struct Fathers<'a> {
    instrument: &'a dyn Instrument,
    /// At least one, with sides that are multiples of `unit`.
    images: Vec<Tensor>,
    unit: i64,
    crop: i64,
    smallest_scale: f64,
}

impl<'a> Fathers<'a> {
    fn new(settings: &ZssrSettings, from: &TrainingData<'a>) -> Result<Self> {
        let &ZssrSettings { factor, crop, border, smallest_scale, .. } = settings;
        // Sides that both the network and the instrument divide.
        let coarser = from.instrument.downsampling().map_or(1, |by| by.factor);
        let unit = (1..coarser).map(|k| k * factor).find(|n| n % coarser == 0).unwrap_or(factor * coarser);
        let mut images = Vec::new();
        let mut crop = crop;
        for image in &from.references {
            let Space { height, width, .. } = Space::of("image to learn from", image)?;
            let [height, width] = [height, width].map(|n| n / unit * unit);
            crop = crop.min(height).min(width);
            if crop <= 2 * border || crop < unit {
                let least = (2 * border + 1).max(unit);
                let expected = format!("at least {least} x {least} pixels (less with a smaller border)");
                return Err(Error::shape("image to learn from", expected, image.size()));
            }
            images.push(image.f_narrow(2, 0, height)?.f_narrow(3, 0, width)?.f_contiguous()?);
        }
        if images.is_empty() {
            return Err(Error::value("images to learn from", "at least one", "none"));
        }
        Ok(Self { instrument: from.instrument, images, unit, crop, smallest_scale })
    }

    /// The interpolated son of a father, and that.
    fn pair(&self, father: &Tensor, seed: Seed) -> Result<Pair> {
        Ok(Pair { input: start_of(self.instrument, father, seed)?, target: father.shallow_clone() })
    }

    /// The image, or every other time a smaller one of it, at least as large as a crop.
    fn shrunk(&self, image: &Tensor, seed: Seed) -> Result<Tensor> {
        if self.smallest_scale >= 1.0 {
            return Ok(image.shallow_clone());
        }
        let drawn = Vec::<f64>::try_from(seed.at("scale", 0).uniform(&[2]).to_kind(tch::Kind::Double))?;
        if drawn[0] < 0.5 {
            return Ok(image.shallow_clone());
        }
        let scale = self.smallest_scale + (1.0 - self.smallest_scale) * drawn[1];
        let least = (self.crop + self.unit - 1) / self.unit * self.unit;
        let size = image.size();
        let side = |n: i64| ((n as f64 * scale) as i64 / self.unit * self.unit).max(least);
        Ok(image.f_internal_upsample_bicubic2d_aa([side(size[2]), side(size[3])], false, None, None)?)
    }

    /// The orientations of an observation that an estimate is the median over.
    fn symmetries(&self, border: i64, seed: Seed) -> Result<Vec<usize>> {
        symmetries(self.instrument, &self.images[0], self.unit, border, seed.derive("symmetries", 0))
    }
}

struct ZeroShot {
    net: ResidualNet,
    turns: Vec<usize>,
    back_projections: u64,
    learned: Learned,
}

impl Reconstructor for ZeroShot {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let image = median(&in_orientations(&self.net, &problem.start.image, &self.turns, run)?)?;
        let image = back_projected(image, &problem.operator, &problem.observation, self.back_projections)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}

/// The median of images, pixel by pixel: of an even number the mean of the two in the middle.
fn median(images: &[Tensor]) -> Result<Tensor> {
    let (sorted, _) = Tensor::f_stack(images, 0)?.f_sort(0, false)?;
    let n = images.len() as i64;
    Ok(sorted.f_get((n - 1) / 2)?.f_add(&sorted.f_get(n / 2)?)?.f_div_scalar(2.0)?)
}

/// `x` after so many rounds of `x <- x + A^T (y - A x) / |A|^2`, which lead to the image next to `x` that is observed as `y`, where
/// there is one.
fn back_projected(x: Tensor, operator: &dyn LinearOperator, y: &Tensor, rounds: u64) -> Result<Tensor> {
    if rounds == 0 {
        return Ok(x);
    }
    let y = y.f_to_kind(x.kind())?;
    // Any step below 2 / |A|^2 does.
    let power = PowerIteration::default().with_kind(x.kind()).with_device(x.device());
    let norm = power.with_tolerance(1e-3).with_max_iterations(100).norm(operator, Seed::new(0))?.norm;
    if norm == 0.0 {
        return Ok(x);
    }
    let mut x = x;
    for _ in 0..rounds {
        let apart = y.f_sub(&operator.apply(&x)?)?;
        x = x.f_add(&operator.adjoint(&apart)?.f_div_scalar(norm * norm)?)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProblemEntry;
    use smalti_operators::{Boundary, Convolution, Operator};
    use tch::{Device, Kind};

    fn largest(t: &Tensor) -> f64 {
        t.abs().max().double_value(&[])
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        let images: Vec<Tensor> =
            [3.0, -1.0, 10.0, 2.0].iter().map(|&v: &f64| Tensor::from_slice(&[v, -v])).collect();
        assert_eq!(median(&images).unwrap(), Tensor::from_slice(&[2.5, -2.5]));
        assert_eq!(median(&images[..3]).unwrap(), Tensor::from_slice(&[3.0, -3.0]));
        assert_eq!(median(&images[..1]).unwrap(), images[0]);
    }

    #[test]
    fn back_projection_reaches_the_observation_and_stays_as_near_as_it_can() {
        let domain = Space::image(1, 16, 20);
        let operator = Convolution::superresolution(domain, 4, 0.7, 2, Boundary::Periodic).unwrap();
        let image = |name: &str| Seed::new(4).at(name, 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
        let (start, y) = (image("start"), operator.apply(&image("truth")).unwrap());
        let misfit = |x: &Tensor| largest(&(operator.apply(x).unwrap() - &y));
        let after = |rounds| back_projected(start.copy(), &operator, &y, rounds).unwrap();
        assert!(after(0).equal(&start));
        let x = after(2000);
        let misfits = [misfit(&start), misfit(&after(1)), misfit(&after(10)), misfit(&x)];
        println!("{misfits:?}");
        assert!(misfits[1] < 0.8 * misfits[0] && misfits[2] < 0.5 * misfits[1] && misfits[3] < 1e-9);
        // What was added is orthogonal to all that the operator does not see: adding the truth's share of it does not change it.
        let other = image("other");
        let unseen = &other
            - back_projected(Tensor::zeros_like(&other), &operator, &operator.apply(&other).unwrap(), 2000)
                .unwrap();
        let product = ((&x - &start) * &unseen).sum(Kind::Double).double_value(&[]);
        assert!(largest(&unseen) > 0.1 && product.abs() < 1e-8, "{product}");
    }

    /// A camera of zero-shot superresolution, and settings of a tiny network.
    fn camera(form: &str) -> Box<dyn Instrument> {
        let settings =
            format!("kernel_size = 8\nsigma = 1.0\nstride = 2\nform = {form}\nnoise = 0.01\ncrop = 4");
        ProblemEntry::configured("superresolution", &settings).unwrap().instrument(None).unwrap()
    }

    fn settings(more: &str) -> ZssrSettings {
        let text = "channels = 8\nblocks = 1\nfactor = 2\nbatch = 4\ncrop = 32\nborder = 2\ncrops_of_father = 4\n\
                    learning_rate = 1e-2\nfinal_learning_rate = 1e-4\ntest_every = 10\n";
        toml::from_str(&format!("{text}{more}")).unwrap()
    }

    fn zero_shot(net: ResidualNet, turns: Vec<usize>) -> ZeroShot {
        ZeroShot { net, turns, back_projections: 0, learned: Learned::default() }
    }

    /// The last convolution of a new network is zero, so it returns its input, in every orientation.
    #[test]
    fn a_network_of_zeros_returns_the_interpolation() {
        let (camera, run) = (camera("{ reflect-by = 3 }"), Run::new(Seed::new(1), Device::Cpu));
        let truth = Seed::new(2).at("truth", 0).uniform(&[1, 1, 36, 44]);
        let problem = camera.pose("drawn", &camera.observe(&truth, Seed::new(3)).unwrap(), None).unwrap();
        let net = || ResidualNet::new(ResidualNetSettings::default().with_factor(2), Seed::new(5)).unwrap();
        for turns in [vec![0], (0..8).collect()] {
            let image = zero_shot(net(), turns).reconstruct(&problem, &run).unwrap().image;
            assert!(image.equal(&problem.start.image));
        }
        // One with weights is another in every orientation, and their median none of them.
        let trained = net();
        for (name, mut tensor) in trained.parameters() {
            let _no_grad = tch::no_grad_guard();
            tensor.copy_(&(Seed::new(6).at(&name, 0).normal(&tensor.size()) * 0.05));
        }
        let all = in_orientations(&trained, &problem.start.image, &[0, 1, 2, 3, 4, 5, 6, 7], &run).unwrap();
        let middle = zero_shot(trained, (0..8).collect()).reconstruct(&problem, &run).unwrap().image;
        assert!(all.iter().all(|image| largest(&(image - &middle)) > 1e-3));
    }

    #[test]
    fn fathers_are_as_large_as_a_crop_and_what_the_instrument_divides() {
        let camera = camera("'wrap-after'");
        let image = Seed::new(2).at("image", 0).uniform(&[1, 1, 39, 51]);
        let from = TrainingData { references: vec![image], ..TrainingData::none(camera.as_ref()) };
        let wanted = settings("steps = 1\nsmallest_scale = 0.5\nback_projections = 0");
        let fathers = Fathers::new(&wanted, &from).unwrap();
        assert_eq!((fathers.images[0].size(), fathers.crop, fathers.unit), (vec![1, 1, 38, 50], 32, 2));
        let mut sizes = Vec::new();
        for k in 0..60 {
            let father = fathers.shrunk(&fathers.images[0], Seed::new(k)).unwrap();
            let pair = fathers.pair(&father, Seed::new(k)).unwrap();
            assert_eq!(pair.input.size(), pair.target.size());
            sizes.push((father.size()[2], father.size()[3]));
        }
        let whole = sizes.iter().filter(|size| **size == (38, 50)).count();
        assert!((15..=45).contains(&whole), "{whole} of 60");
        assert!(sizes.iter().all(|(h, w)| *h >= 32 && *w >= 32 && h % 2 == 0 && w % 2 == 0));
        assert!(sizes.iter().any(|(_, w)| *w < 36));
        let small = TrainingData {
            references: vec![Tensor::zeros([1, 1, 4, 40], tch::kind::FLOAT_CPU)],
            ..TrainingData::none(camera.as_ref())
        };
        let line = Fathers::new(&wanted, &small).err().unwrap().to_string();
        assert!(line.contains("at least 5 x 5 pixels") && line.lines().count() == 1, "{line}");
    }
}
