//! Tests of methods and problems through their registry.

mod epll;
mod matrix;
mod run;
mod synthetic;
