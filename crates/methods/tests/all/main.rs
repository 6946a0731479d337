//! Tests of methods and problems through their registry.

mod matrix;
mod run;
mod synthetic;
