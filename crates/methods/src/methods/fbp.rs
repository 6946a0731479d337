//! Filtered back-projection.

use super::NoSettings;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learns, Method, Prepared};
use crate::problem::ProblemKey;
use crate::problem::StartKind;
use crate::run::Run;
use crate::start_method::StartItself;
use smalti_base::Result;

/// Filtered back-projection.
#[derive(Debug)]
pub struct FilteredBackProjection;

impl Method for FilteredBackProjection {
    const KEY: &'static str = "fbp";
    const TITLE: &'static str = "FBP";
    const PAPERS: &'static [&'static str] =
        &["F. Natterer. The Mathematics of Computerized Tomography. SIAM, 2001, chapter V.1."];
    const LEARNS: Learns = Learns::Nothing;
    type Settings = NoSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        match instrument.key() {
            ProblemKey::Tomography => Ok(()),
            ProblemKey::Superresolution
            | ProblemKey::Deblurring
            | ProblemKey::Inpainting
            | ProblemKey::Volume => Err("needs projections".into()),
        }
    }

    fn prepare(_settings: &NoSettings, _from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        StartItself::prepared(StartKind::FilteredBackProjection)
    }
}
