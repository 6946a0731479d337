//! Tests of the command from outside, in one program: linking libtorch takes longer than most of them.

mod bad_input;
mod commands;
mod folder;
mod presets;
