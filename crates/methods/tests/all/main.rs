//! Tests of methods and problems through their registry.

mod alr;
mod configured;
mod documented;
mod dpir;
mod epll;
mod identity;
mod matrix;
mod run;
mod synthetic;
