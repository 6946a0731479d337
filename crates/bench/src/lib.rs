//! Criterion benchmarks and the peers they are measured against.
//!
//! Two kinds of measurement, both with fixed seeds and data made outside of the timed part:
//!
//! - `cargo xtask bench` runs `benches/*.rs`: how long our parts take, to compare versions with each other;
//! - `cargo xtask bench-peers` runs `src/bin/bench-peers.rs`: how long whole tasks take beside other packages, in
//!   one run that alternates between the sides, since absolute times move from machine to machine.
//!
//! A peer is a Python script of `peers/` that stays alive: it imports and loads once, warms up, and then does one
//! timed run for every line `run` that it reads. Both sides answer with values of what they computed; where those
//! differ the comparison is void and says so.
//!
//! ```
//! use smalti_bench::answer::Answer;
//! let answer = |nll: f64| Answer { seconds: 0.1, values: [("nll".to_owned(), nll)].into() };
//! assert!(answer(2.0).deviation(&answer(2.001)) < 1e-3);
//! assert!(answer(2.0).deviation(&answer(-2.0)) > 1.0);
//! ```
//!
//! Reading order: [`fixtures`], [`timed`]; and for the peers [`answer`], [`children`], [`peer`], [`compare`],
//! [`report`], [`patchnr`], [`transport`], [`tensor_transport`], [`radon`].

/// The allocator of the program that is measured, see `smalti-tables`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod answer;
pub mod children;
pub mod compare;
pub mod fixtures;
pub mod patchnr;
pub mod peer;
pub mod radon;
pub mod report;
pub mod tensor_transport;
pub mod timed;
pub mod training_curve;
pub mod transport;
