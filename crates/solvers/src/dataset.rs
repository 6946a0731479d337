//! Pairs of images to learn from, and batches of them.

use smalti_base::{Error, Result, Seed};
use tch::{Device, Kind, Tensor};

/// What a network is given and what it should make of it.
#[derive(Debug)]
pub struct Pair {
    /// The input, `[1, 1, h, w]`, e.g. a filtered back-projection, or an observation.
    pub input: Tensor,
    /// The target, e.g. the ground truth: as large as the network's image for the input.
    pub target: Tensor,
}

/// A source of pairs: images in memory, a file, or a generator.
pub trait PairedDataset {
    /// Number of pairs; `None` where there is one for every index.
    fn count(&self) -> Option<u64>;

    /// The pair number `index`, from 0 and below [`PairedDataset::count`]: for the same index always the same, so that a
    /// resumed training goes on as the uninterrupted one. It must not depend on the order of the calls.
    ///
    /// # Errors
    /// Whatever reading or making the pair meets.
    fn pair(&self, index: u64) -> Result<Pair>;
}

impl PairedDataset for Vec<Pair> {
    fn count(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    fn pair(&self, index: u64) -> Result<Pair> {
        let pair = self.get(index as usize);
        let pair =
            pair.ok_or_else(|| Error::value("index of a pair", format!("below {}", self.len()), index))?;
        Ok(Pair { input: pair.input.shallow_clone(), target: pair.target.shallow_clone() })
    }
}

/// Pair `index` of `pairs`, checked, as float32 on `device`: sides of the target are `factor` times those of the input.
pub(crate) fn checked(
    what: &str,
    pairs: &dyn PairedDataset,
    index: u64,
    factor: i64,
    device: Device,
) -> Result<Pair> {
    let Pair { input, target } = pairs.pair(index)?;
    let ready = |part: &str, t: &Tensor| {
        let what = || format!("{part} of {what} {index}");
        match t.size()[..] {
            [1, 1, h, w] if h * w > 0 && t.is_floating_point() => {}
            _ => {
                let got = format!("{:?} {:?}", t.kind(), t.size());
                return Err(Error::shape(what(), "floating-point [1, 1, H, W], not empty", got));
            }
        }
        if t.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::value(what(), "finite values", "NaN or infinity in it"));
        }
        Ok(t.detach().f_to_kind(Kind::Float)?.f_to_device(device)?)
    };
    let pair = Pair { input: ready("input", &input)?, target: ready("target", &target)? };
    let size = pair.input.size();
    let expected = [size[0], size[1], factor * size[2], factor * size[3]];
    if pair.target.size() != expected {
        return Err(Error::shape(format!("target of {what} {index}"), expected, pair.target.size()));
    }
    Ok(pair)
}

/// Batches of a training, which go through all pairs in random order, anew in every epoch; what is left over when no
/// full batch remains sits that epoch out. Where there is a pair for every index, each is used once.
pub(crate) struct Batches<'a> {
    pairs: &'a dyn PairedDataset,
    batch: u64,
    /// Side of the random square that is cut out of each target.
    crop: Option<i64>,
    /// How many times as large as inputs, along each side, targets are.
    factor: i64,
    seed: Seed,
    device: Device,
}

impl<'a> Batches<'a> {
    /// # Errors
    /// [`Error::Value`] where there are fewer pairs than a batch needs, or batch or crop are not positive.
    pub(crate) fn new(
        pairs: &'a dyn PairedDataset,
        batch: i64,
        crop: Option<i64>,
        factor: i64,
        seed: Seed,
        device: Device,
    ) -> Result<Self> {
        let Ok(batch @ 1..) = u64::try_from(batch) else {
            return Err(Error::value("batch", "at least 1", batch));
        };
        if let Some(side) = crop {
            if side < 1 {
                return Err(Error::value("side of the random crops", "at least 1 pixel", side));
            }
            if side % factor != 0 {
                let expected = format!("a multiple of the factor {factor} of the network");
                return Err(Error::value("side of the random crops", expected, side));
            }
        }
        match pairs.count() {
            Some(n) if n < batch => {
                let expected = format!("at least the {batch} of a batch");
                Err(Error::value("number of training pairs", expected, n))
            }
            _ => Ok(Self { pairs, batch, crop, factor, seed, device }),
        }
    }

    /// Inputs and targets of step `k`, `[batch, 1, H, W]` each.
    pub(crate) fn at(&self, k: u64) -> Result<Pair> {
        let mut stream = self.seed.at("crops of the training pairs", k);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for index in self.indices(k) {
            let Pair { input, target } =
                checked("training pair", self.pairs, index, self.factor, self.device)?;
            let (f, size) = (self.factor, target.size());
            let (mut top, mut left, mut h, mut w) = (0, 0, size[2], size[3]);
            if let Some(side) = self.crop {
                if side > h.min(w) {
                    let what = format!("training pair {index}");
                    let expected = format!("at least the {side} x {side} pixels of a crop");
                    return Err(Error::value(what, expected, format!("{h} x {w}")));
                }
                let mut first = |n: i64| f * stream.index((n - side) / f + 1);
                (top, left) = (first(h), first(w));
                (h, w) = (side, side);
            }
            let cut = |t: &Tensor, f: i64| t.f_narrow(2, top / f, h / f)?.f_narrow(3, left / f, w / f);
            if let Some(first) = targets.first().map(Tensor::size)
                && first[2..] != [h, w]
            {
                let expected =
                    format!("{} x {} as the others of its batch (or random crops)", first[2], first[3]);
                return Err(Error::value(format!("training pair {index}"), expected, format!("{h} x {w}")));
            }
            inputs.push(cut(&input, f)?);
            targets.push(cut(&target, 1)?);
        }
        Ok(Pair { input: Tensor::f_cat(&inputs, 0)?, target: Tensor::f_cat(&targets, 0)? })
    }

    fn indices(&self, k: u64) -> Vec<u64> {
        let Some(n) = self.pairs.count() else {
            return (0..self.batch).map(|i| k.wrapping_mul(self.batch).wrapping_add(i)).collect();
        };
        let batches = n / self.batch;
        let order = self.seed.at("order of the training pairs", k / batches).permutation(n as usize);
        let first = ((k % batches) * self.batch) as usize;
        order[first..first + self.batch as usize].iter().map(|&i| i as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pair `i` has `i + column / 100` everywhere.
    fn pairs(n: i64, h: i64, w: i64) -> Vec<Pair> {
        let columns = Tensor::arange(w, tch::kind::FLOAT_CPU) / 100.0;
        let image = |i: i64| (&columns + i as f64).expand([1, 1, h, w], false).copy();
        (0..n).map(|i| Pair { input: image(i), target: image(i) * 2.0 }).collect()
    }

    #[test]
    fn an_epoch_has_every_pair_once() {
        let pairs = pairs(7, 2, 3);
        let batches = Batches::new(&pairs, 3, None, 1, Seed::new(1), Device::Cpu).unwrap();
        let epoch = |e: u64| -> Vec<u64> { (2 * e..2 * e + 2).flat_map(|k| batches.indices(k)).collect() };
        for e in 0..5 {
            let mut seen = epoch(e);
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.len() == 6 && seen.iter().all(|&i| i < 7));
        }
        assert_ne!(epoch(0), epoch(1));
        let batch = batches.at(1).unwrap();
        assert_eq!(batch.input.size(), [3, 1, 2, 3]);
        assert!((&batch.input * 2.0).equal(&batch.target));
    }

    #[test]
    fn crops_are_at_random_places_and_the_same_in_both() {
        let pairs = pairs(2, 8, 9);
        let batches = Batches::new(&pairs, 2, Some(5), 1, Seed::new(1), Device::Cpu).unwrap();
        let mut places = Vec::new();
        for k in 0..20 {
            let batch = batches.at(k).unwrap();
            assert_eq!(batch.input.size(), [2, 1, 5, 5]);
            assert!(
                (&batch.input * 2.0).equal(&batch.target) && batch.input.equal(&batches.at(k).unwrap().input)
            );
            places.push((batch.input.double_value(&[0, 0, 0, 0]).fract() * 100.0).round() as i64);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn crops_of_enlarging_networks_show_the_same_place() {
        // Observed pixel `j` has `j`, its squares of 3 x 3 pixels of the target, too.
        let input = Tensor::arange(9, tch::kind::FLOAT_CPU).expand([1, 1, 8, 9], false).copy();
        let target = input.repeat_interleave_self_int(3, 2, None).repeat_interleave_self_int(3, 3, None);
        let pairs = vec![Pair { input, target }];
        let batches = Batches::new(&pairs, 1, Some(12), 3, Seed::new(1), Device::Cpu).unwrap();
        let mut places = Vec::new();
        for k in 0..40 {
            let Pair { input, target } = batches.at(k).unwrap();
            assert_eq!((input.size(), target.size()), (vec![1, 1, 4, 4], vec![1, 1, 12, 12]));
            assert!(target.slice(2, 1, None, 3).slice(3, 1, None, 3).equal(&input));
            places.push(input.double_value(&[0, 0, 0, 0]) as i64);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, [0, 1, 2, 3, 4, 5]);
        let line = |crop, factor| {
            let batches = Batches::new(&pairs, 1, crop, factor, Seed::new(1), Device::Cpu);
            batches.and_then(|b| b.at(0)).err().unwrap().to_string()
        };
        assert!(line(Some(10), 3).contains("a multiple of the factor 3 of the network, got 10"));
        assert!(line(None, 2).starts_with("target of training pair 0: expected [1, 1, 16, 18]"));
    }

    #[test]
    fn generated_pairs_are_never_used_twice() {
        struct Endless;
        impl PairedDataset for Endless {
            fn count(&self) -> Option<u64> {
                None
            }
            fn pair(&self, index: u64) -> Result<Pair> {
                Ok(pairs(1, 2, 3).remove(0)).map(|p| Pair { input: p.input + index as f64, ..p })
            }
        }
        let batches = Batches::new(&Endless, 2, None, 1, Seed::new(1), Device::Cpu).unwrap();
        assert_eq!((batches.indices(0), batches.indices(4)), (vec![0, 1], vec![8, 9]));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_line() {
        let line = |pairs: &Vec<Pair>, batch, crop| {
            let batches = Batches::new(pairs, batch, crop, 1, Seed::new(1), Device::Cpu);
            let line = batches.and_then(|b| b.at(0)).err().unwrap().to_string();
            assert_eq!(line.lines().count(), 1, "{line}");
            line
        };
        assert!(line(&vec![], 1, None).starts_with("number of training pairs"));
        assert!(line(&pairs(2, 4, 4), 0, None).starts_with("batch"));
        assert!(line(&pairs(2, 4, 4), 2, Some(0)).starts_with("side of the random crops"));
        assert!(line(&pairs(2, 4, 6), 2, Some(5)).contains("5 x 5 pixels of a crop, got 4 x 6"));
        let mut mixed = pairs(1, 4, 4);
        mixed.extend(pairs(1, 5, 4));
        assert!(line(&mixed, 2, None).contains("as the others of its batch"));
        let mut wrong = pairs(1, 4, 4);
        wrong[0].target = wrong[0].target.narrow(3, 0, 3);
        assert!(line(&wrong, 1, None).starts_with("target of training pair 0: expected [1, 1, 4, 4]"));
        wrong[0].target = wrong[0].input.get(0);
        assert!(line(&wrong, 1, None).contains("[1, 1, H, W]"));
        wrong[0].target = &wrong[0].input / 0.0;
        assert!(line(&wrong, 1, None).contains("NaN or infinity"));
        assert!(wrong.pair(1).unwrap_err().to_string().contains("below 1, got 1"));
    }
}
