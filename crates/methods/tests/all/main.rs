//! Tests of methods and problems through their registry.

mod acnn;
mod alr;
mod configured;
mod documented;
mod dpir;
mod epll;
mod identity;
mod matrix;
mod ridge;
mod run;
mod synthetic;
mod zssr;
