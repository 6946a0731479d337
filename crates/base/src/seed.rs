//! Seeded random numbers: one run seed, and a stream of its own for every purpose and step.
//!
//! A draw depends on (run seed, purpose, step) alone, so that a resumed run draws what the uninterrupted
//! one would have drawn, and nothing depends on the order in which parts of the program run.

use crate::error::{Error, Result};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

/// The seed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The run seed `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The number that was given.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A seed of its own for a part of the run, e.g. one test image.
    pub fn derive(self, purpose: &str, index: u64) -> Self {
        let hash = self.hash(purpose, index);
        Self(hash.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    /// The stream for `purpose` in step `step`.
    pub fn at(self, purpose: &str, step: u64) -> Stream {
        Stream(ChaCha8Rng::from_seed(self.hash(purpose, step)))
    }

    fn hash(self, purpose: &str, step: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0.to_le_bytes());
        hash.update(step.to_le_bytes());
        hash.update(purpose.as_bytes());
        hash.finalize().into()
    }
}

/// A stream of random numbers; tensors come as float32 (or int64) on the CPU, the same on every machine.
#[derive(Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Independent N(0, 1) values.
    pub fn normal(&mut self, shape: &[i64]) -> Tensor {
        let n = shape.iter().product::<i64>().max(0) as usize;
        let values: Vec<f32> = (0..n).map(|_| StandardNormal.sample(&mut self.0)).collect();
        Tensor::from_slice(&values).reshape(shape)
    }

    /// Independent values, uniform in `[0, 1)`.
    pub fn uniform(&mut self, shape: &[i64]) -> Tensor {
        let n = shape.iter().product::<i64>().max(0) as usize;
        let values: Vec<f32> = (0..n).map(|_| self.0.random()).collect();
        Tensor::from_slice(&values).reshape(shape)
    }

    /// Independent counts, Poisson with the given means: of the shape of `means`, float64 on the CPU.
    ///
    /// Exact: by products of uniform numbers below a mean of 12, by rejection above. The same on every machine up to
    /// the rounding of its `exp` and `log`.
    ///
    /// # Errors
    /// [`Error::Value`] where a mean is negative, not finite or above 1.8e19.
    pub fn poisson(&mut self, means: &Tensor) -> Result<Tensor> {
        let flat = means.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_flatten(0, -1)?;
        let mut counts = Vec::<f64>::try_from(&flat)?;
        // The distribution of one mean is made once for all neighbours that have it.
        let mut last = (f64::NAN, None);
        for value in &mut counts {
            if last.0 != *value {
                let refused = |_| Error::value("mean of a Poisson count", "0 to 1.8e19", *value);
                let distribution =
                    if *value == 0.0 { None } else { Some(Poisson::new(*value).map_err(refused)?) };
                last = (*value, distribution);
            }
            *value = last.1.map_or(0.0, |distribution| distribution.sample(&mut self.0));
        }
        Ok(Tensor::f_from_slice(&counts)?.f_reshape(means.size())?)
    }

    /// `n` integers, uniform in `0..below`, with replacement.
    pub fn indices(&mut self, below: i64, n: usize) -> Vec<i64> {
        (0..n).map(|_| self.0.random_range(0..below.max(1))).collect()
    }

    /// `n` distinct integers in `0..below` in random order (all of them where `n >= below`).
    pub fn distinct_indices(&mut self, below: i64, n: usize) -> Vec<i64> {
        let below = below.max(0) as usize;
        let drawn = rand::seq::index::sample(&mut self.0, below, n.min(below));
        drawn.into_iter().map(|i| i as i64).collect()
    }

    /// A random permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        order.shuffle(&mut self.0);
        order
    }

    /// One integer, uniform in `0..below`.
    pub fn index(&mut self, below: i64) -> i64 {
        self.0.random_range(0..below.max(1))
    }
}

impl rand::RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, dst: &mut [u8]) {
        self.0.fill_bytes(dst);
    }
}
