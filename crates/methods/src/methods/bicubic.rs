//! Cubic interpolation at the pixel centres of the operator.

use super::NoSettings;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learns, Method, Prepared};
use crate::problem::ProblemKey;
use crate::problem::StartKind;
use crate::run::Run;
use crate::start_method::StartItself;
use smalti_base::Result;

/// Cubic interpolation at the pixel centres of the operator.
#[derive(Debug)]
pub struct Bicubic;

impl Method for Bicubic {
    const KEY: &'static str = "bicubic";
    const TITLE: &'static str = "bicubic";
    const PAPERS: &'static [&'static str] = &[
        "R. Keys. Cubic convolution interpolation for digital image processing. IEEE Transactions on Acoustics, Speech, and \
         Signal Processing 29(6), 1981.",
    ];
    const LEARNS: Learns = Learns::Nothing;
    type Settings = NoSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        match instrument.key() {
            ProblemKey::Superresolution | ProblemKey::Deblurring | ProblemKey::Volume => Ok(()),
            ProblemKey::Inpainting => Err("what is seen is as fine as the image".into()),
            ProblemKey::Tomography => {
                Err("projections are no coarse image that could be interpolated".into())
            }
        }
    }

    fn prepare(_settings: &NoSettings, _from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        StartItself::prepared(StartKind::Interpolation)
    }
}
