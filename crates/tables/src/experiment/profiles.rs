//! The profiles of an experiment.

use super::kind::ProfileName;
use garde::Validate;
use serde::Deserialize;

/// One of each.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles<P: Validate<Context = ()>> {
    #[garde(dive)]
    smoke: P,
    #[garde(dive)]
    quick: P,
    #[garde(dive)]
    paper: P,
}

impl<P: Validate<Context = ()>> Profiles<P> {
    /// The profile of that name.
    pub(super) fn of(&self, name: ProfileName) -> &P {
        match name {
            ProfileName::Smoke => &self.smoke,
            ProfileName::Quick => &self.quick,
            ProfileName::Paper => &self.paper,
        }
    }

    /// All of them with the paths that they have in the file.
    pub(super) fn all(&self) -> [(&'static str, &P); 3] {
        [("profile.smoke", &self.smoke), ("profile.quick", &self.quick), ("profile.paper", &self.paper)]
    }
}
