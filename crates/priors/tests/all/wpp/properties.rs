//! Whatever users give: a finite value that is right within bounds, or one line that says what to mend.

use super::{draw, line};
use proptest::prelude::*;
use smalti_base::{Result, Seed};
use smalti_priors::Regularizer;
use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior, SinkhornSettings};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use tch::Tensor;

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

fn image(kind: Grey, name: &str, size: &[i64]) -> Tensor {
    match kind {
        Grey::Noise => draw(name, size),
        Grey::Constant => Tensor::full(size, 0.3, tch::kind::DOUBLE_CPU),
        Grey::Two => (draw(name, size) * 2.0).floor(),
        Grey::Tiles => {
            let tile = draw(name, &[size[0], size[1], 2, 2]);
            tile.repeat([1, 1, size[2], size[3]]).narrow(2, 0, size[2]).narrow(3, 0, size[3]).contiguous()
        }
    }
}

fn grey() -> impl Strategy<Value = Grey> {
    prop_oneof![Just(Grey::Noise), Just(Grey::Constant), Just(Grey::Two), Just(Grey::Tiles)]
}

/// What may be wrong with a pixel.
fn bad() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![6 => Just(None), 1 => Just(Some(f64::NAN)), 1 => Just(Some(f64::INFINITY)), 1 => Just(Some(-1e200))]
}

fn broken(x: &Tensor, bad: Option<f64>) -> Tensor {
    let x = x.copy();
    if let Some(bad) = bad {
        let _ = x.flatten(0, -1).narrow(0, x.numel() as i64 / 2, 1).fill_(bad);
    }
    x
}

/// Value and gradient, where the prior takes what it is given.
fn evaluated(prior: Result<Box<dyn Regularizer>>, x: &Tensor) -> std::result::Result<(f64, Tensor), String> {
    prior.and_then(|prior| prior.value_and_grad(x)).map_err(|e| line(&e))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn any_image_and_reference_have_a_value_or_a_clear_error(
        (height, width, batch, channels) in (1_i64..15, 1_i64..15, 1_i64..3, 1_i64..3),
        (patch_size, stride, scales) in (0_i64..6, 0_i64..4, 0_usize..3),
        (count, centred, sinkhorn) in (prop_oneof![Just(None), (0_usize..150).prop_map(Some)], any::<bool>(), any::<bool>()),
        (kind, of_reference) in (grey(), grey()),
        (bad_pixel, bad_reference) in (bad(), bad()),
    ) {
        let size = [batch, channels, height, width];
        let x = broken(&image(kind, "x", &size), bad_pixel);
        let reference = broken(&image(of_reference, "reference", &[1, channels, 12, 11]), bad_reference);
        let references = count.map_or(ReferencePatches::All, ReferencePatches::Random);
        let dual = DualMethod::Converge { gap: 1e-2, evaluations: 300 };
        let patches = WppSettings { patch_size, stride, scales, centred, references, dual, ..WppSettings::default() };
        let prior = || -> Result<Box<dyn Regularizer>> {
            let patches = WppSettings { patch_size, stride, scales, centred, references, dual, ..WppSettings::default() };
            if sinkhorn {
                let method = SinkhornMethod { iterations: 20, ..SinkhornMethod::new(0.05) };
                let settings = SinkhornSettings { patches, image_patches: None, method };
                Ok(Box::new(SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(3))?))
            } else {
                Ok(Box::new(WassersteinPatchPrior::new(&size, &[&reference], &patches, Seed::new(3))?))
            }
        };
        // All that is left of an axis on the coarsest scale.
        let left = |n: i64| if patches.scales == 2 { if n < 4 { 0 } else { (n - 4) / 2 + 1 } } else { n };
        let fits = patch_size >= 1 && stride >= 1 && scales >= 1
            && left(height.min(width)) >= patch_size && left(11) >= patch_size
            && count.is_none_or(|c| c >= 1 && c as i64 <= (left(12) - patch_size + 1) * (left(11) - patch_size + 1));
        let found = evaluated(prior(), &x);
        prop_assert_eq!(found.is_ok(), fits && bad_pixel.is_none() && bad_reference.is_none(), "{:?}", found.err());
        if let Ok((value, gradient)) = found {
            // No transport costs more than sending everything everywhere: |p - q|^2 <= d.
            let most = (channels * patch_size * patch_size) as f64;
            prop_assert!(value > -most && value <= most * (1.0 + 1e-6), "{value}");
            prop_assert_eq!(gradient.size(), x.size());
            prop_assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        }
    }

    #[test]
    fn potentials_of_any_length_are_taken_or_refused(
        length in 0_usize..60,
        lists in 0_usize..3,
        bad in prop_oneof![2 => Just(0.1), 1 => Just(f64::NAN), 1 => Just(f64::NEG_INFINITY)],
    ) {
        let size = [1, 1, 8, 9];
        let (x, reference) = (draw("x", &size), draw("reference", &size));
        let settings = WppSettings { patch_size: 3, scales: 1, references: ReferencePatches::All, ..WppSettings::default() };
        let mut prior = WassersteinPatchPrior::new(&size, &[&reference], &settings, Seed::new(3)).unwrap();
        let mut potentials = vec![vec![0.2; length]; lists];
        potentials.iter_mut().for_each(|psi| psi.iter_mut().take(1).for_each(|psi| *psi = bad));
        let taken = prior.set_potentials(&potentials);
        prop_assert_eq!(taken.is_ok(), lists == 1 && length == 42 && bad.is_finite());
        taken.err().iter().for_each(|e| drop(line(e)));
        prop_assert!(prior.value(&x).unwrap() > 0.0);
    }
}
