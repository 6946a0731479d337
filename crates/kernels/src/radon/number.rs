//! Arithmetic of float32 and float64 numbers.

use std::ops::{Add, Mul, Sub};

/// float32 or float64.
pub trait Number: Copy + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// 0.
    const ZERO: Self;
    /// The nearest number.
    fn of(value: f64) -> Self;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    fn of(value: f64) -> Self {
        value
    }
}
