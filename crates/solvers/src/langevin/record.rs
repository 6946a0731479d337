//! What is kept of the draws while chains run.

use super::moments::RunningMoments;
use super::samples::{Quantity, Trace};
use super::settings::LangevinSettings;
use smalti_base::{Result, Space, checkpoint::Checkpoint};
use tch::{Device, Kind, Tensor};

/// Moments of both halves of all chains, traces, and kept draws.
pub(super) struct Record {
    domain: Space,
    chains: i64,
    draws: u64,
    keep: u64,
    quantities: Vec<Quantity>,
    /// Of the first and the second half of the draws, for all chains at once: `[chains, C, H, W]`.
    halves: [RunningMoments; 2],
    /// `values[k]` of draw `k`: every quantity in every chain, quantity by quantity.
    values: Vec<Vec<f64>>,
    /// Draws kept, each `[chains, C, H, W]`.
    kept: Vec<Tensor>,
}

impl Record {
    pub(super) fn new(settings: &LangevinSettings, domain: Space, chains: i64, device: Device) -> Self {
        let moments = || RunningMoments::new(&domain.batch(chains), device);
        let pixels = settings.pixels.iter().map(|&p| Quantity::Pixel(p));
        Self {
            domain,
            chains,
            draws: settings.draws,
            keep: settings.keep,
            quantities: std::iter::once(Quantity::Energy).chain(pixels).collect(),
            halves: [moments(), moments()],
            values: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Draws recorded so far.
    pub(super) fn count(&self) -> u64 {
        self.values.len() as u64
    }

    /// Takes in the draw `x: [chains, C, H, W]` with its energies.
    pub(super) fn push(&mut self, x: &Tensor, energies: &[f64]) -> Result<()> {
        let k = self.count();
        self.halves[usize::from(k >= self.draws / 2)].push(x)?;
        let mut values = Vec::with_capacity(self.quantities.len() * energies.len());
        for quantity in &self.quantities {
            match *quantity {
                Quantity::Energy => values.extend_from_slice(energies),
                Quantity::Pixel([c, i, j]) => {
                    values.extend((0..self.chains).map(|chain| x.double_value(&[chain, c, i, j])));
                }
            }
        }
        self.values.push(values);
        // Draw k is kept where another whole share of `draws / keep` ends with it.
        if (k + 1) * self.keep / self.draws > k * self.keep / self.draws {
            self.kept.push(x.f_detach_copy()?);
        }
        Ok(())
    }

    /// Mean, variance and split R-hat of every pixel, `[1, C, H, W]`, float64.
    pub(super) fn statistics(&self) -> Result<[Tensor; 3]> {
        let over = [0i64];
        let over = Some(over.as_slice());
        let stack = |f: fn(&RunningMoments) -> Tensor| Tensor::f_cat(&self.halves.each_ref().map(f), 0);
        let (means, variances) = (stack(RunningMoments::mean)?, stack(RunningMoments::variance)?);
        let n = self.halves[0].count() as f64;
        let m = means.size()[0] as f64;
        let within = variances.f_mean_dim(over, true, Kind::Double)?;
        let between = means.f_var_dim(over, true, true)?;
        let r_hat = ((&within * ((n - 1.0) / n) + &between) / &within).f_sqrt()?;
        // Sum of squares within halves plus that of their means, over all draws but one.
        let variance = (within * (m * (n - 1.0)) + between * (n * (m - 1.0))) / (m * n - 1.0);
        Ok([means.f_mean_dim(over, true, Kind::Double)?, variance, r_hat])
    }

    /// The kept draws, `[chains, keep, C, H, W]`, of the dtype `kind`.
    pub(super) fn samples(&self, kind: Kind, device: Device) -> Result<Tensor> {
        if self.kept.is_empty() {
            let mut size = self.domain.batch(self.chains);
            size.insert(1, 0);
            return Ok(Tensor::f_zeros(size, (kind, device))?);
        }
        Ok(Tensor::f_stack(&self.kept, 1)?)
    }

    pub(super) fn traces(&self) -> Result<Vec<Trace>> {
        let chains = self.chains as usize;
        let of = |(q, &quantity): (usize, &Quantity)| {
            let chain = |c: usize| self.values.iter().map(|v| v[q * chains + c]).collect();
            Trace::new(quantity, (0..chains).map(chain).collect())
        };
        self.quantities.iter().enumerate().map(of).collect()
    }

    pub(super) fn save(&self, file: &mut Checkpoint) {
        for (half, name) in self.halves.iter().zip(["record.first", "record.second"]) {
            half.save(name, file);
        }
        file.set_meta("record.draws", self.values.len());
        file.set_meta("record.kept", self.kept.len());
        file.tensors.insert("record.values".into(), Tensor::from_slice(&self.values.concat()));
        for (k, x) in self.kept.iter().enumerate() {
            file.tensors.insert(format!("record.kept.{k}"), x.copy());
        }
    }

    pub(super) fn restore(&mut self, file: &mut Checkpoint, like: &Tensor) -> Result<()> {
        for (half, name) in self.halves.iter_mut().zip(["record.first", "record.second"]) {
            half.restore(name, file)?;
        }
        let draws: i64 = file.meta_parsed("record.draws")?;
        let each = self.quantities.len() as i64 * self.chains;
        let values = Vec::<f64>::try_from(file.take("record.values", &[draws * each], Kind::Double)?)?;
        self.values = values.chunks_exact(each as usize).map(<[f64]>::to_vec).collect();
        let kept: usize = file.meta_parsed("record.kept")?;
        let one = |k| -> Result<Tensor> {
            let x = file.take(&format!("record.kept.{k}"), &like.size(), like.kind())?;
            Ok(x.f_to_device(like.device())?)
        };
        self.kept = (0..kept).map(one).collect::<Result<_>>()?;
        Ok(())
    }
}
