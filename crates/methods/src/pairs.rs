//! Pairs to learn from, made by the instrument, and the symmetries of the square.

use crate::instrument::{Instrument, TrainingData};
use crate::problem::InverseProblem;
use smalti_base::{Error, Result, Seed, Space};
use smalti_solvers::{Pair, PairedDataset};
use std::cell::RefCell;
use tch::{Kind, Tensor};

/// What a network is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The simple estimate, as large as the target.
    Start,
    /// The observation, as problems are posed with it.
    Observation,
}

/// The simple estimate from an observation of what the instrument looks at of `image`, and that itself.
///
/// # Errors
/// Those of the instrument.
pub(crate) fn observed_pair(from: &TrainingData<'_>, image: &Tensor, seed: Seed) -> Result<Pair> {
    pair_with(Input::Start, from, image, seed)
}

/// An observation, or the simple estimate from it, of what the instrument looks at of `image`, and that itself.
///
/// # Errors
/// Those of the instrument.
pub(crate) fn pair_with(input: Input, from: &TrainingData<'_>, image: &Tensor, seed: Seed) -> Result<Pair> {
    let target = from.instrument.truth("image of a pair", image)?;
    let problem = posed(from.instrument, &target, seed)?;
    let input = match input {
        Input::Start => problem.start.image,
        Input::Observation => problem.observation,
    };
    Ok(Pair { input, target })
}

/// The problem of an observation of `truth`.
fn posed(instrument: &dyn Instrument, truth: &Tensor, seed: Seed) -> Result<InverseProblem> {
    let domain = Space::of("image of a pair", truth)?;
    instrument.pose("pair", &instrument.observe(truth, seed)?, Some(domain))
}

/// The simple estimate from an observation of `truth`.
///
/// # Errors
/// Those of the instrument.
pub(crate) fn start_of(instrument: &dyn Instrument, truth: &Tensor, seed: Seed) -> Result<Tensor> {
    Ok(posed(instrument, truth, seed)?.start.image)
}

/// Makes the pair of an image: with noise that depends on the seed.
pub(crate) type MakePair<'a> = dyn Fn(&Tensor, Seed) -> Result<Pair> + 'a;

/// Crops of observations that are made anew, with fresh noise: each of a reference, in one of eight orientations.
pub(crate) struct ObservedCrops<'a> {
    references: &'a [Tensor],
    make: &'a MakePair<'a>,
    /// Symmetries that pairs are turned by after they were observed, each with [`turned`]; as observed where there is none.
    turns: &'a [usize],
    /// Side of a crop in pixels of the target, a multiple of `factor`.
    side: i64,
    /// Crops begin at multiples of it.
    factor: i64,
    /// Crops that are taken of an observation before the next one is made.
    of_observation: u64,
    seed: Seed,
    /// The last observation that was made, and its number.
    current: RefCell<Option<(u64, Pair)>>,
}

impl<'a> ObservedCrops<'a> {
    /// Crops of `side` pixels of the targets of pairs that `make` makes of references, each of another pair. Inputs are as large as the
    /// targets, or smaller by a divisor of `factor`: then pixel `(i, j)` of an input belongs to the square of the target that begins at
    /// that many times `(i, j)`, wherever its centre is.
    pub(crate) fn new(
        references: &'a [Tensor],
        make: &'a MakePair<'a>,
        side: i64,
        factor: i64,
        seed: Seed,
    ) -> Self {
        let current = RefCell::default();
        Self { references, make, turns: &[], side, factor, of_observation: 1, seed, current }
    }

    /// The same with so many crops of each observation.
    pub(crate) fn with_of_observation(mut self, of_observation: u64) -> Self {
        self.of_observation = of_observation;
        self
    }

    /// The same with pairs that are turned after they were observed.
    pub(crate) fn with_turns(mut self, turns: &'a [usize]) -> Self {
        self.turns = turns;
        self
    }

    /// Observation number `k`: of a reference and in an orientation that are drawn.
    fn observed(&self, k: u64) -> Result<Pair> {
        let stream = &mut self.seed.at("orientation", k);
        let reference = stream.index(self.references.len() as i64) as usize;
        let image = turned(&self.references[reference], stream.index(SYMMETRIES as i64) as usize)?;
        let pair = (self.make)(&image, self.seed.derive("pair", k))?;
        if self.turns.is_empty() {
            return Ok(pair);
        }
        let turn = self.turns[stream.index(self.turns.len() as i64) as usize];
        Ok(Pair { input: turned(&pair.input, turn)?, target: turned(&pair.target, turn)? })
    }
}

impl PairedDataset for ObservedCrops<'_> {
    fn count(&self) -> Option<u64> {
        None
    }

    fn pair(&self, index: u64) -> Result<Pair> {
        let number = index / self.of_observation;
        let mut current = self.current.borrow_mut();
        let whole = match current.take() {
            Some((known, pair)) if known == number => pair,
            _ => self.observed(number)?,
        };
        let (side, factor) = (self.side, self.factor);
        let stream = &mut self.seed.at("crop", index);
        let size = whole.target.size();
        let mut first = |n: i64| stream.index((n - side) / factor + 1) * factor;
        let (top, left) = (first(size[2]), first(size[3]));
        let cut = |t: &Tensor, f: i64| t.f_narrow(2, top / f, side / f)?.f_narrow(3, left / f, side / f);
        let coarser = (size[2] / whole.input.size()[2].max(1)).clamp(1, factor);
        let crop = Pair { input: cut(&whole.input, coarser)?, target: cut(&whole.target, 1)? };
        *current = Some((number, whole));
        Ok(crop)
    }
}

/// Whether the crops of a training fit into what the instrument looks at of every reference, and the border into the validation
/// image.
///
/// # Errors
/// [`Error::Value`] where one does not.
pub(crate) fn check_sizes(from: &TrainingData<'_>, crop: i64, border: i64) -> Result<()> {
    if from.references.is_empty() {
        return Err(Error::value("reference images", "at least one", "none"));
    }
    let side = |what: &str, image: &Tensor| {
        let seen = from.instrument.truth(what, image)?.size();
        Ok::<i64, Error>(seen[2..].iter().copied().min().unwrap_or_default())
    };
    for reference in &from.references {
        // What the instrument does not look at in one of its orientations is said before the training.
        for k in 0..2 {
            let side = side("reference image", &turned(reference, k)?)?;
            if side < crop {
                let expected = format!("at least the {crop} x {crop} pixels of a crop");
                return Err(Error::value("reference image", expected, format!("one of {side}")));
            }
        }
    }
    if let Some(image) = &from.validation {
        let side = side("validation image", image)?;
        if side <= 2 * border {
            let expected = format!("larger than twice the border of {border} pixels");
            return Err(Error::value("validation image", expected, format!("one of {side}")));
        }
    }
    Ok(())
}

/// The variance of noise is known to about this share from one image.
const LIKE_NOISE: f64 = 1.25;

/// Differences below this share of what is to be corrected do no harm.
const NEGLIGIBLE: f64 = 0.02;

/// The symmetries `k` of an instrument, 0 among them: simple estimates of the turned image are turned simple estimates of the image,
/// but for noise and, on each side, `border` pixels. Whether they are is seen on `truth`, which the instrument looks at.
///
/// # Errors
/// Those of the instrument.
pub(crate) fn symmetries(
    instrument: &dyn Instrument,
    truth: &Tensor,
    factor: i64,
    border: i64,
    seed: Seed,
) -> Result<Vec<usize>> {
    let mut truth = truth.shallow_clone();
    let size = truth.size();
    let (height, width) = (size[2], size[3]);
    if instrument.domain().is_none() {
        let side = height.min(width) / factor * factor;
        truth = truth.f_narrow(2, 0, side)?.f_narrow(3, 0, side)?.f_contiguous()?;
    }
    let start = start_of(instrument, &truth, seed.derive("start", 0))?;
    let power = |a: &Tensor, b: &Tensor| -> Result<f64> {
        let apart = a.f_sub(b)?;
        let inner = |t: Tensor, axis: i64| {
            let n = t.size()[axis as usize];
            let cut = if 2 * border < n { border } else { 0 };
            t.f_narrow(axis, cut, n - 2 * cut)
        };
        Ok(inner(inner(apart, 2)?, 3)?.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?)
    };
    let noise = power(&start, &start_of(instrument, &truth, seed.derive("start", 1))?)?;
    let most = LIKE_NOISE * noise + NEGLIGIBLE * NEGLIGIBLE * power(&start, &truth)?;
    let mut found = vec![0];
    for k in 1..SYMMETRIES {
        let other = turned(&truth, k)?;
        if other.size() != truth.size() {
            continue;
        }
        let other = start_of(instrument, &other, seed.derive("start", k as u64 + 1))?;
        if power(&other, &turned(&start, k)?)? <= most {
            found.push(k);
        }
    }
    Ok(found)
}

/// Number of the symmetries of the square.
pub(crate) const SYMMETRIES: usize = 8;

/// The image under symmetry number `k`: transposed for odd ones, then mirrored along rows, columns, both or none.
pub(crate) fn turned(image: &Tensor, k: usize) -> Result<Tensor> {
    let transposed = if k % 2 == 1 { image.f_transpose(2, 3)? } else { image.shallow_clone() };
    mirrored(&transposed, k)
}

/// The inverse of [`turned`].
pub(crate) fn turned_back(image: &Tensor, k: usize) -> Result<Tensor> {
    let mirrored = mirrored(image, k)?;
    Ok(if k % 2 == 1 { mirrored.f_transpose(2, 3)?.f_contiguous()? } else { mirrored })
}

fn mirrored(image: &Tensor, k: usize) -> Result<Tensor> {
    let axes: Vec<i64> =
        [(2, 2), (4, 3)].into_iter().filter(|(bit, _)| k & bit != 0).map(|(_, axis)| axis).collect();
    Ok(image.f_flip(axes)?.f_contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instrument of the tests, and an image that it looks at.
    fn instrument(problem: &str, settings: &str) -> (Box<dyn Instrument>, Tensor) {
        let settings = crate::ProblemEntry::configured(problem, settings).unwrap();
        let instrument = settings.instrument(None).unwrap();
        let image = instrument.phantom(crate::Role::Reference, Seed::new(2), 0).unwrap();
        (instrument, image.narrow(2, 0, 96).narrow(3, 0, 96).contiguous())
    }

    #[test]
    fn symmetries_of_instruments_are_those_of_their_kernels() {
        let found = |problem: &str, settings: &str| {
            let (instrument, image) = instrument(problem, settings);
            let truth = instrument.truth("image", &image).unwrap();
            symmetries(instrument.as_ref(), &truth, 4, 20, Seed::new(1)).unwrap()
        };
        // Centres of the kernel lie on edges of squares of 4 x 4 pixels; what wraps is on one side only, within the border.
        let sic = "kernel_size = 16\nsigma = 2.0\nstride = 4\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2";
        assert_eq!(found("superresolution", sic), [0, 1, 2, 3, 4, 5, 6, 7]);
        // A motion along the rows has two mirror images, one at an angle is only the same upside down.
        let blurred = |angle: f64| {
            let kernel = format!("kernel = {{ motion = {{ length = 9.0, angle = {angle:?} }} }}");
            found("deblurring", &format!("{kernel}\nform = 'reflect'\nnoise = 0.01\ncrop = 2"))
        };
        assert_eq!(blurred(0.0), [0, 2, 4, 6]);
        assert_eq!(blurred(30.0), [0, 6]);
    }

    /// The law of pairs of observations: away from its borders, a crop's image observed is the crop's observation.
    #[test]
    fn observed_crops_are_observations_of_their_targets() {
        let camera = "kernel_size = 16\nsigma = 2.0\nstride = 4\nform = 'wrap-after'\nnoise = 1e-6\ncrop = 2";
        let (instrument, image) = instrument("superresolution", camera);
        let from = TrainingData { references: vec![image], ..TrainingData::none(instrument.as_ref()) };
        let make = |image: &Tensor, seed: Seed| pair_with(Input::Observation, &from, image, seed);
        let crops = ObservedCrops::new(&from.references, &make, 48, 4, Seed::new(1));
        for k in 0..12 {
            let Pair { input, target } = crops.pair(k).unwrap();
            assert_eq!((input.size(), target.size()), (vec![1, 1, 12, 12], vec![1, 1, 48, 48]));
            let again = instrument.observe(&target, Seed::new(2)).unwrap();
            // The last observed pixels see what lies beyond the crop.
            let inner = |t: &Tensor| t.narrow(2, 0, 9).narrow(3, 0, 9);
            let apart = (inner(&input) - inner(&again)).abs().max().double_value(&[]);
            assert!(apart < 1e-5, "pair {k}: {apart}");
        }
        let twice = |k| crops.pair(k).unwrap().target;
        assert!(twice(3).equal(&twice(3)) && !twice(3).equal(&twice(4)));
    }

    #[test]
    fn symmetries_are_eight_and_can_be_undone() {
        let image = Seed::new(1).at("image", 0).uniform(&[1, 1, 5, 5]);
        let all: Vec<Tensor> = (0..SYMMETRIES).map(|k| turned(&image, k).unwrap()).collect();
        for (k, one) in all.iter().enumerate() {
            assert!(turned_back(one, k).unwrap().equal(&image), "{k}");
            assert!(all[..k].iter().all(|other| !other.equal(one)), "{k} stands there twice");
        }
        let wide = Seed::new(1).at("image", 0).uniform(&[1, 1, 3, 5]);
        (0..SYMMETRIES)
            .for_each(|k| assert!(turned_back(&turned(&wide, k).unwrap(), k).unwrap().equal(&wide)));
    }
}
