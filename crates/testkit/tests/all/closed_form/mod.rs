//! The laws of flows and priors, tried on instances known in closed form and on their broken twins.

mod flows;
mod priors;
mod reference;
