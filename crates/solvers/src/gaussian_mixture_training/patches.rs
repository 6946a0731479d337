//! Patches to train on, drawn from several images.

use smalti_base::seed::Stream;
use smalti_base::{Error, Result, Space};
use smalti_priors::Patches;
use tch::Tensor;

/// `count` distinct patches of side `size`, drawn from all `images: [1, C, H, W]` together, as rows `[N, C size size]`, in
/// the order in which they lie in the images; all patches where there are no more than `count`.
pub(super) fn drawn(
    what: &str,
    images: &[Tensor],
    size: i64,
    count: usize,
    stream: &mut Stream,
) -> Result<Tensor> {
    let Some(first) = images.first() else {
        return Err(Error::value(format!("{what}s"), "at least 1", 0));
    };
    let channels = Space::of(what, first)?.channels;
    let mut spaces = Vec::with_capacity(images.len());
    for image in images {
        let space = Space { channels, ..Space::of(what, image)? };
        if image.size() != space.batch(1) {
            return Err(Error::shape(what, space.batch(1), image.size()));
        }
        if image.kind() != first.kind() || image.device() != first.device() {
            let kind = |t: &Tensor| format!("{:?} on {:?}", t.kind(), t.device());
            return Err(Error::value(what, kind(first), kind(image)));
        }
        if !image.is_floating_point() {
            return Err(Error::value(what, "floating-point values in [0, 1]", format!("{:?}", image.kind())));
        }
        if image.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::value(what, "finite values", "NaN or infinity in it"));
        }
        // Fails early where patches do not fit.
        Patches::all(space, size)?;
        spaces.push(space);
    }
    let total: i64 = spaces.iter().map(|space| Patches::positions(*space, size)).sum();
    let mut numbers = stream.distinct_indices(total, count);
    numbers.sort_unstable();
    let (mut numbers, mut rows, mut before) = (&numbers[..], Vec::new(), 0);
    for (image, &space) in images.iter().zip(&spaces) {
        let positions = Patches::positions(space, size);
        let (here, later) = numbers.split_at(numbers.partition_point(|n| *n < before + positions));
        if !here.is_empty() {
            let here: Vec<i64> = here.iter().map(|n| n - before).collect();
            rows.push(Patches::from_indices(space, size, &here)?.rows(&image.detach())?);
        }
        (numbers, before) = (later, before + positions);
    }
    Ok(Tensor::f_cat(&rows, 0)?)
}
