//! One index of reference patches for images of several sizes.

use smalti_base::Seed;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings};

#[test]
fn a_prior_on_other_images_is_the_one_that_is_made_for_them() {
    let image = |h: i64, w: i64, k: u64| Seed::new(5).at("image", k).uniform(&[1, 1, h, w]);
    let (reference, x) = (image(40, 44, 0), image(26, 30, 1));
    let dual = DualMethod::Converge { gap: 0.01, evaluations: 30 };
    let settings = |scales, stride, dual| {
        WppSettings::hertrich_2022()
            .with_patch_size(4)
            .with_stride(stride)
            .with_references(ReferencePatches::Random(60))
            .with_scales(scales)
            .with_dual(dual)
    };
    let first = DualMethod::AveragedSgd { steps: 2, step: 1.0 };
    let new = |size: &[i64], settings: &WppSettings| {
        WassersteinPatchPrior::new(size, &[&reference], settings, Seed::new(7)).unwrap()
    };
    let original = new(&reference.size(), &settings(2, 1, first));
    original.value(&reference).unwrap();
    for (scales, stride) in [(2, 1), (1, 2)] {
        let shared = original.on(&x.size(), scales, stride, dual).unwrap();
        let alone = new(&x.size(), &settings(scales, stride, dual));
        let (found, expected) = (shared.value_and_grad(&x).unwrap(), alone.value_and_grad(&x).unwrap());
        assert_eq!(found, expected, "{scales} scales, stride {stride}");
        assert!(shared.evaluations() > 0 && shared.evaluations() == alone.evaluations());
    }
    assert!(original.on(&x.size(), 3, 1, dual).err().unwrap().to_string().contains("1 to 2"));
    assert!(original.on(&[1, 1, 5, 5], 2, 1, dual).is_err(), "no patch on the coarse scale");
}
