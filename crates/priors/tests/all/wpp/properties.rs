//! Whatever users give: a finite value that is right within bounds, or one line that says what to mend.

use super::{draw, line};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseResult, TestRunner};
use smalti_base::{Result, Seed};
use smalti_priors::Regularizer;
use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior, SinkhornSettings};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use std::cell::Cell;
use std::fmt::Debug;
use tch::Tensor;

/// Whatever the strategy makes, and that enough of it was no mere refusal: `law` says which.
fn always<T: Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    law: impl Fn(T, &dyn Fn()) -> TestCaseResult,
) {
    let good = Cell::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, |value| law(value, &|| good.set(good.get() + 1))).unwrap();
    assert!(good.get() > cases / 10, "only {} of {cases} cases were good", good.get());
}

/// The good in fourteen of fifteen cases.
fn mostly<T: Debug + 'static>(
    good: impl Strategy<Value = T> + 'static,
    bad: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![14 => good, 1 => bad].boxed()
}

/// Kinds of images that priors find hard.
#[derive(Debug, Clone, Copy)]
enum Grey {
    Noise,
    Constant,
    /// Two grey values: many equal patches.
    Two,
    /// Periodic: every patch occurs again and again.
    Tiles,
}

/// `[B, C, H, W]` or `[B, C, D, H, W]`.
fn image(kind: Grey, name: &str, size: &[i64]) -> Tensor {
    match kind {
        Grey::Noise => draw(name, size),
        Grey::Constant => Tensor::full(size, 0.3, tch::kind::DOUBLE_CPU),
        Grey::Two => (draw(name, size) * 2.0).floor(),
        Grey::Tiles => {
            let tile: Vec<i64> = size.iter().enumerate().map(|(k, n)| if k < 2 { *n } else { 2 }).collect();
            let times: Vec<i64> = size.iter().enumerate().map(|(k, n)| if k < 2 { 1 } else { *n }).collect();
            let tiled = draw(name, &tile).repeat(&times[..]);
            (2..size.len()).fold(tiled, |x, k| x.narrow(k as i64, 0, size[k])).contiguous()
        }
    }
}

fn grey() -> impl Strategy<Value = Grey> {
    select(&[Grey::Noise, Grey::Constant, Grey::Two, Grey::Tiles][..])
}

/// What may be wrong with a pixel.
fn bad() -> BoxedStrategy<Option<f64>> {
    mostly(Just(None), select(&[f64::NAN, f64::INFINITY, -1e200][..]).prop_map(Some))
}

fn broken(x: &Tensor, bad: Option<f64>) -> Tensor {
    let x = x.copy();
    if let Some(bad) = bad {
        let _ = x.flatten(0, -1).narrow(0, x.numel() as i64 / 2, 1).fill_(bad);
    }
    x
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Wasserstein,
    /// As on a CUDA device.
    Tensors,
    Sinkhorn,
}

/// Weights of the pixels.
#[derive(Debug, Clone, Copy)]
enum Weights {
    None,
    /// Of the first half of the first axis.
    Half,
    All(f64),
}

#[derive(Debug)]
struct Setup {
    /// Height and width, or depth, too.
    extents: Vec<i64>,
    batch: i64,
    channels: i64,
    patch_size: i64,
    stride: i64,
    scales: i64,
    count: Option<usize>,
    centred: bool,
    dual: DualMethod,
    kind: Kind,
    grey: (Grey, Grey),
    weights: Weights,
    bad: (Option<f64>, Option<f64>),
}

const REFERENCE: [i64; 2] = [12, 11];
const REFERENCE_VOLUME: [i64; 3] = [7, 6, 8];

impl Setup {
    fn any() -> impl Strategy<Value = Self> {
        let extent = |common| mostly(common, 1_i64..6);
        let image = prop::collection::vec(extent(6_i64..15), 2..3);
        let volume = prop::collection::vec(extent(6_i64..8), 3..4);
        let of_images = (prop_oneof![3 => image, 1 => volume], 1_i64..3, 1_i64..3);
        let of_patches = (mostly(1_i64..4, 0_i64..9), mostly(1_i64..4, Just(0)), mostly(1_i64..3, Just(0)));
        let count = prop_oneof![Just(None), mostly(1_usize..9, 0_usize..150).prop_map(Some)];
        let dual = select(
            &[
                DualMethod::Converge { gap: 1e-2, evaluations: 300 },
                DualMethod::AveragedSgd { steps: 5, step: 0.5 },
            ][..],
        );
        let kind = select(&[Kind::Wasserstein, Kind::Tensors, Kind::Sinkhorn][..]);
        let wrong = select(&[Weights::All(0.0), Weights::All(f64::NAN), Weights::All(-1.0)][..]);
        let weights = mostly(select(&[Weights::None, Weights::Half, Weights::All(3.0)][..]), wrong);
        let how = (count, any::<bool>(), dual, kind, weights);
        (of_images, of_patches, how, (grey(), grey()), (bad(), bad())).prop_map(
            |((extents, batch, channels), (patch_size, stride, scales), how, grey, bad)| {
                let (count, centred, dual, kind, weights) = how;
                Self {
                    extents,
                    batch,
                    channels,
                    patch_size,
                    stride,
                    scales,
                    count,
                    centred,
                    dual,
                    kind,
                    grey,
                    weights,
                    bad,
                }
            },
        )
    }

    fn reference_extents(&self) -> &'static [i64] {
        if self.extents.len() == 2 { &REFERENCE } else { &REFERENCE_VOLUME }
    }

    fn fits(&self) -> bool {
        // All that is left of an axis on the coarsest scale.
        let left = |n: i64| if self.scales == 2 { if n < 4 { 0 } else { (n - 4) / 2 + 1 } } else { n };
        let places = |n: &i64| (left(*n) - self.patch_size + 1).max(0);
        let patches: i64 = self.reference_extents().iter().map(places).product();
        let weighed = match self.weights {
            Weights::None | Weights::Half => true,
            Weights::All(value) => value > 0.0,
        };
        self.patch_size >= 1
            && self.stride >= 1
            && self.scales >= 1
            && patches >= self.count.map_or(1, |count| (count as i64).max(1))
            && self.count != Some(0)
            && self.extents.iter().all(|n| left(*n) >= self.patch_size)
            && weighed
            && self.bad == (None, None)
    }

    /// Value and gradient at the image, where the prior takes what it is given.
    fn evaluated(&self) -> Result<(f64, Tensor, Vec<i64>)> {
        let size = |batch, extents: &[i64]| [&[batch, self.channels], extents].concat();
        let (size, of_reference) = (size(self.batch, &self.extents), size(1, self.reference_extents()));
        let x = broken(&image(self.grey.0, "x", &size), self.bad.0);
        let reference = broken(&image(self.grey.1, "reference", &of_reference), self.bad.1);
        let patches = WppSettings::default()
            .with_patch_size(self.patch_size)
            .with_stride(self.stride)
            .with_scales(self.scales)
            .with_centred(self.centred)
            .with_references(self.count.map_or(ReferencePatches::All, ReferencePatches::Random))
            .with_dual(self.dual);
        let of = |value| Tensor::full(&self.extents[..], value, tch::kind::DOUBLE_CPU);
        let weights = match self.weights {
            Weights::None => None,
            Weights::All(value) => Some(of(value)),
            Weights::Half => {
                let weights = of(1.0);
                let half = self.extents[0] / 2;
                let _ =
                    weights.narrow(0, half, self.extents[0] - half).fill_(if half > 0 { 0.0 } else { 1.0 });
                Some(weights)
            }
        };
        let prior: Box<dyn Regularizer> = match self.kind {
            Kind::Sinkhorn => {
                let method = SinkhornMethod { iterations: 20, ..SinkhornMethod::new(0.05) };
                let settings = SinkhornSettings::new(patches, method);
                let prior = SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(3))?;
                Box::new(match &weights {
                    None => prior,
                    Some(weights) => prior.with_pixel_weights(weights)?,
                })
            }
            _ => {
                let prior = WassersteinPatchPrior::new(&size, &[&reference], &patches, Seed::new(3))?;
                let prior = match &weights {
                    None => prior,
                    Some(weights) => prior.with_pixel_weights(weights)?,
                };
                Box::new(if matches!(self.kind, Kind::Tensors) { prior.with_tensor_search() } else { prior })
            }
        };
        let (value, gradient) = prior.value_and_grad(&x)?;
        Ok((value, gradient, size))
    }
}

#[test]
fn any_image_and_reference_have_a_value_or_a_clear_error() {
    always(150, Setup::any(), |setup, good| {
        let found = setup.evaluated().map_err(|e| line(&e));
        prop_assert_eq!(found.is_ok(), setup.fits(), "{:?}", found.err());
        let Ok((value, gradient, size)) = found else { return Ok(()) };
        good();
        // No transport costs more than sending everything everywhere: |p - q|^2 <= d. Few averaged steps can be far below.
        let most = (setup.channels * setup.patch_size.pow(setup.extents.len() as u32)) as f64;
        let converges = matches!(setup.dual, DualMethod::Converge { .. });
        prop_assert!(value.is_finite() && value <= most * (1.0 + 1e-6), "{value}");
        prop_assert!(!converges || value > -most, "{value}");
        prop_assert_eq!(gradient.size(), size);
        prop_assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        Ok(())
    });
}

#[test]
fn potentials_of_any_length_are_taken_or_refused() {
    let length = mostly(Just(42_usize), 0_usize..60);
    let lists = mostly(Just(1_usize), 0_usize..3);
    let bad = prop_oneof![3 => 0.0..1.0_f64, 1 => select(&[f64::NAN, f64::NEG_INFINITY, 1e40][..])];
    always(80, (length, lists, bad, any::<bool>()), |(length, lists, bad, sinkhorn), good| {
        let size = [1, 1, 8, 9];
        let (x, reference) = (draw("x", &size), draw("reference", &size));
        let patches =
            WppSettings::default().with_patch_size(3).with_scales(1).with_references(ReferencePatches::All);
        let mut potentials = vec![vec![0.2; length]; lists];
        potentials.iter_mut().for_each(|psi| psi.iter_mut().take(1).for_each(|psi| *psi = bad));
        // Sinkhorn's iteration takes an empty list for none.
        let fits = lists == 1 && ((length == 42 && bad.abs() < 1e30) || (sinkhorn && length == 0));
        let (taken, value) = if sinkhorn {
            let method = SinkhornMethod { iterations: 20, ..SinkhornMethod::new(0.05) };
            let settings = SinkhornSettings::new(patches, method);
            let mut prior = SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(3)).unwrap();
            (prior.set_potentials(&potentials), prior.value(&x).unwrap())
        } else {
            let mut prior = WassersteinPatchPrior::new(&size, &[&reference], &patches, Seed::new(3)).unwrap();
            (prior.set_potentials(&potentials), prior.value(&x).unwrap())
        };
        prop_assert_eq!(taken.is_ok(), fits);
        match taken {
            Ok(()) => good(),
            Err(e) => drop(line(&e)),
        }
        prop_assert!(value > 0.0 && value < 9.0, "{value}");
        Ok(())
    });
}

/// What one scale refuses changes no other.
#[test]
fn refused_potentials_change_nothing() {
    let size = [1, 1, 16, 15];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let patches = WppSettings::default()
        .with_patch_size(3)
        .with_scales(2)
        .with_references(ReferencePatches::Random(20))
        .with_dual(DualMethod::AveragedSgd { steps: 2, step: 1.0 });
    let wrong = [vec![0.1; 20], vec![f64::NAN; 20]];
    let mut wpp = WassersteinPatchPrior::new(&size, &[&reference], &patches, Seed::new(3)).unwrap();
    let (value, before) = (wpp.value(&x).unwrap(), wpp.potentials());
    wpp.set_potentials(&wrong).unwrap_err();
    assert_eq!((wpp.value(&x).unwrap(), wpp.potentials()), (value, before));

    let method = SinkhornMethod { iterations: 3, ..SinkhornMethod::new(0.05) };
    let settings = SinkhornSettings::new(patches, method);
    let mut sinkhorn = SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(3)).unwrap();
    let (value, before) = (sinkhorn.value(&x).unwrap(), sinkhorn.potentials());
    sinkhorn.set_potentials(&wrong).unwrap_err();
    assert_eq!((sinkhorn.value(&x).unwrap(), sinkhorn.potentials()), (value, before));
}
