//! Running mean and variance.

use smalti_base::{Result, checkpoint::Checkpoint};
use tch::{Device, Kind, Tensor};

/// Mean and variance of a sequence of tensors of one shape, elementwise and in float64, without keeping the sequence
/// (Welford 1962).
#[derive(Debug)]
pub struct RunningMoments {
    count: u64,
    mean: Tensor,
    /// Sum of squared deviations from the mean.
    squares: Tensor,
}

impl RunningMoments {
    /// Of nothing yet, for tensors of `shape` on `device`.
    pub fn new(shape: &[i64], device: Device) -> Self {
        let zeros = || Tensor::zeros(shape, (Kind::Double, device));
        Self { count: 0, mean: zeros(), squares: zeros() }
    }

    /// Takes one more tensor in.
    ///
    /// # Errors
    /// [`smalti_base::Error::Torch`] where it has another shape.
    pub fn push(&mut self, x: &Tensor) -> Result<()> {
        let x = x.f_to_kind(Kind::Double)?.f_view_as(&self.mean)?;
        self.count += 1;
        let before = x.f_sub(&self.mean)?;
        let _ = self.mean.f_add_(&(&before / self.count as f64))?;
        let after = x.f_sub(&self.mean)?;
        let _ = self.squares.f_add_(&before.f_mul(&after)?)?;
        Ok(())
    }

    /// How many tensors were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> Tensor {
        self.mean.copy()
    }

    /// Their variance without bias, `sum (x - mean)^2 / (count - 1)`; 0 of fewer than two.
    pub fn variance(&self) -> Tensor {
        &self.squares / (self.count.max(2) - 1) as f64
    }

    /// Puts the state under names that begin with `name.`.
    pub(super) fn save(&self, name: &str, file: &mut Checkpoint) {
        file.set_meta(&format!("{name}.count"), self.count);
        file.tensors.insert(format!("{name}.mean"), self.mean.copy());
        file.tensors.insert(format!("{name}.squares"), self.squares.copy());
    }

    /// Takes the state back.
    pub(super) fn restore(&mut self, name: &str, file: &mut Checkpoint) -> Result<()> {
        let (size, device) = (self.mean.size(), self.mean.device());
        self.count = file.meta_parsed(&format!("{name}.count"))?;
        let mut take = |part: &str| -> Result<Tensor> {
            Ok(file.take(&format!("{name}.{part}"), &size, Kind::Double)?.f_to_device(device)?)
        };
        (self.mean, self.squares) = (take("mean")?, take("squares")?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    #[test]
    fn they_are_those_of_the_whole_sequence() {
        // Far from zero, where the difference of mean squares would lose all digits.
        let all = Seed::new(1).at("sequence", 0).normal(&[50, 2, 3]).to_kind(Kind::Double) + 1e8;
        let mut moments = RunningMoments::new(&[2, 3], Device::Cpu);
        assert_eq!(moments.variance(), Tensor::zeros([2, 3], (Kind::Double, Device::Cpu)));
        for k in 0..50 {
            moments.push(&all.get(k)).unwrap();
        }
        let expected = (&all - 1e8).var_dim(Some([0i64].as_slice()), true, false);
        let error = (moments.variance() / expected - 1.0).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{error}");
        let mean = all.mean_dim(Some([0i64].as_slice()), false, Kind::Double);
        assert!((moments.mean() - mean).abs().max().double_value(&[]) < 1e-6);
        assert!(moments.push(&all.get(0).narrow(0, 0, 1)).is_err());
    }
}
