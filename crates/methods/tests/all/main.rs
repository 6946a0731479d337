//! Tests of methods and problems through their registry.

mod epll;
mod identity;
mod matrix;
mod run;
mod synthetic;
