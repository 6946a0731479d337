//! What an evaluation of the Wasserstein patch prior found, and in which convention.

/// A squared Wasserstein distance that knows its cost: both conventions by name, so that no factor 2 is lost.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct SquaredDistance(f64);

impl SquaredDistance {
    /// From a value for the cost `|p - q|^2`, the library's.
    pub fn from_full(value: f64) -> Self {
        Self(value)
    }

    /// From a value for the cost `|p - q|^2 / 2`.
    pub fn from_half(value: f64) -> Self {
        Self(2.0 * value)
    }

    /// With the cost `|p - q|^2`: the authors' code, POT's `emd2` of squared Euclidean costs, this library.
    pub fn full(self) -> f64 {
        self.0
    }

    /// With the cost `|p - q|^2 / 2`: the authors' slides, GeomLoss with `p = 2`.
    pub fn half(self) -> f64 {
        self.0 / 2.0
    }
}

/// The dual problem of one scale at the last image. Where the kernels search, its bounds are those of the patches rounded to
/// float32: for a float64 image, and patches that are nearly those of the reference, the distance itself can lie outside of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleReport {
    /// Weight `w_l` of the scale.
    pub weight: f64,
    /// The value found, never above the distance; where libtorch searches, up to the
    /// [rounding](super::tensors) of its winners.
    pub value: SquaredDistance,
    /// What the distance (of the rounded patches) is certainly not above, where the method knows such a bound.
    pub upper: Option<SquaredDistance>,
    /// What it cost, in c-transforms of all patches.
    pub evaluations: usize,
    /// Whether the gap asked for was reached.
    pub converged: bool,
    /// Number `M` of reference patches.
    pub references: usize,
}

impl ScaleReport {
    /// `(upper - value) / upper`, at least 0: by how much, relatively, the value can be below the distance.
    pub fn gap(&self) -> Option<f64> {
        let upper = self.upper?.full();
        Some(if upper > self.value.full() { (upper - self.value.full()) / upper } else { 0.0 })
    }
}
