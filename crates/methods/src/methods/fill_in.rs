//! A smooth surface over what was not seen: each value is the mean of its neighbours.

use super::NoSettings;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learns, Method, Prepared};
use crate::problem::ProblemKey;
use crate::problem::StartKind;
use crate::run::Run;
use crate::start_method::StartItself;
use smalti_base::Result;

/// A smooth surface over what was not seen: each value is the mean of its neighbours.
#[derive(Debug)]
pub struct FillIn;

impl Method for FillIn {
    const KEY: &'static str = "fill_in";
    const TITLE: &'static str = "smooth fill-in";
    const PAPERS: &'static [&'static str] =
        &["M. Bertalmio, G. Sapiro, V. Caselles, C. Ballester. Image inpainting. SIGGRAPH 2000."];
    const LEARNS: Learns = Learns::Nothing;
    type Settings = NoSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        match instrument.key() {
            ProblemKey::Inpainting => Ok(()),
            ProblemKey::Superresolution
            | ProblemKey::Deblurring
            | ProblemKey::Tomography
            | ProblemKey::Volume => Err("nothing is missing that could be filled in".into()),
        }
    }

    fn prepare(_settings: &NoSettings, _from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        StartItself::prepared(StartKind::FillIn)
    }
}
