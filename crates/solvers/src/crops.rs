//! Observed crops that networks learn from without pairs.

use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::Operator;
use tch::{Device, Kind, Tensor};

/// The crops of step `k`: batches go through all crops in random order, anew in every epoch; what is left over when no
/// full batch remains sits that epoch out.
pub(crate) fn batch(crops: &Tensor, size: usize, seed: Seed, k: u64) -> Result<Tensor> {
    let n = crops.size()[0] as usize;
    let batches = (n / size) as u64;
    let order = seed.at("order of the training crops", k / batches).permutation(n);
    let first = (k % batches) as usize * size;
    let chosen = Tensor::f_from_slice(&order[first..first + size])?.f_to_device(crops.device())?;
    Ok(crops.f_index_select(0, &chosen)?)
}

/// The observed pixels that the operator has.
pub(crate) fn observed_by(operator: &dyn Operator, y: &Tensor) -> Result<Tensor> {
    let range = operator.range();
    Ok(y.f_narrow(2, 0, range.height)?.f_narrow(3, 0, range.width)?)
}

/// Checks that the operator goes from images of `domain` to observations that are no larger than crops, `[h, w]`.
pub(crate) fn check_operator(operator: &dyn Operator, domain: Space, crop: &[i64]) -> Result<()> {
    if operator.domain() != domain {
        return Err(Error::shape("domain of the operator", domain.batch(1), operator.domain().batch(1)));
    }
    let range = operator.range();
    let [height, width] = range.plane("range of the operator")?;
    if range.channels != 1 || height > crop[0] || width > crop[1] {
        let expected = format!("at most the {} x {} pixels of a crop", crop[0], crop[1]);
        return Err(Error::shape("range of the operator", expected, range.batch(1)));
    }
    Ok(())
}

/// Crops as networks need them, checked.
pub(crate) fn checked(what: &str, crops: &Tensor, device: Device) -> Result<Tensor> {
    match crops.size()[..] {
        [n, 1, h, w] if n * h * w > 0 && crops.is_floating_point() => {}
        _ => {
            let got = format!("{:?} {:?}", crops.kind(), crops.size());
            return Err(Error::shape(what, "floating-point [N, 1, h, w], not empty", got));
        }
    }
    if crops.isfinite().all().f_int64_value(&[])? == 0 {
        return Err(Error::value(what, "finite values", "NaN or infinity in it"));
    }
    Ok(crops.detach().f_to_kind(Kind::Float)?.f_to_device(device)?)
}
