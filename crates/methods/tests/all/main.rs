//! Tests of methods and problems through their registry.

mod documented;
mod epll;
mod identity;
mod matrix;
mod run;
mod synthetic;
