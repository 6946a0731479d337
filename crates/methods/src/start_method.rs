//! What the methods have in common that are the start of others.

use crate::estimate::Estimate;
use crate::method::{Prepared, Reconstructor};
use crate::problem::{InverseProblem, StartKind};
use crate::run::Run;
use smalti_base::{Error, Result};

/// Gives the start of a problem, which must be of one kind.
pub(crate) struct StartItself(pub(crate) StartKind);

impl StartItself {
    pub(crate) fn prepared(kind: StartKind) -> Result<Prepared> {
        Prepared::ready(Self(kind))
    }
}

impl Reconstructor for StartItself {
    fn reconstruct(&self, problem: &InverseProblem, _run: &Run) -> Result<Estimate> {
        if problem.start.kind != self.0 {
            let expected = format!("{:?}", self.0);
            return Err(Error::value("start of the problem", expected, format!("{:?}", problem.start.kind)));
        }
        Ok(Estimate::of(problem.start.image.shallow_clone(), problem.start.seconds))
    }

    fn instant(&self) -> bool {
        true
    }
}
