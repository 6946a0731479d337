//! Plain Rust compute without tch: loops that libtorch would do in several passes over memory, done in one.
//!
//! Everything here works on slices and uses the widest vector instructions that the processor has (by `pulp`,
//! chosen at run time). [`adam`] runs on the calling thread, [`coupling_flow`], [`transport`]
//! and [`radon`] on the threads of the rayon pool.
//!
//! ```
//! use smalti_kernels::adam::{GradientTerm, Update, adam};
//! let (mut p, mut m, mut v) = ([1.0_f32; 5], [0.0; 5], [0.0; 5]);
//! let first = Update { betas: (0.9, 0.999), rate: 0.1, eps: 1e-8, step: 1 };
//! adam(&mut p, &mut m, &mut v, &[GradientTerm::F32(&[2.0; 5])], first);
//! assert!((p[0] - 0.9).abs() < 1e-6); // the first step has the length of the rate
//! ```

pub mod adam;
pub mod affine;
pub mod bf16;
pub mod coupling_flow;
mod elementary;
pub mod error;
mod fold;
mod free_memory;
mod huge_pages;
pub mod mlp;
mod prefetch;
pub mod radon;
pub mod rows;
mod simd;
pub mod transport;
