//! Pairs to learn from, made by the instrument, and the symmetries of the square.

use crate::instrument::TrainingData;
use smalti_base::{Result, Seed, Space};
use smalti_solvers::Pair;
use tch::Tensor;

/// The simple estimate from an observation of what the instrument looks at of `image`, and that itself.
///
/// # Errors
/// Those of the instrument.
pub(crate) fn observed_pair(from: &TrainingData<'_>, image: &Tensor, seed: Seed) -> Result<Pair> {
    let target = from.instrument.truth("image of a pair", image)?;
    let observation = from.instrument.observe(&target, seed)?;
    let domain = Space::of("image of a pair", &target)?;
    let problem = from.instrument.pose("pair", &observation, Some(domain))?;
    Ok(Pair { input: problem.start.image, target })
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
