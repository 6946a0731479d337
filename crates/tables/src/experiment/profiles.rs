//! The profiles of an experiment.

use super::kind::ProfileName;
use garde::Validate;
use serde::Deserialize;
use std::borrow::Cow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One of each.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles<P: Validate<Context = ()>> {
    #[garde(dive)]
    smoke: P,
    #[garde(dive)]
    quick: P,
    #[garde(dive)]
    table: P,
    #[garde(dive)]
    paper: P,
}

impl<P: Validate<Context = ()>> Profiles<P> {
    /// The profile of that name.
    pub(super) fn of(&self, name: ProfileName) -> &P {
        match name {
            ProfileName::Smoke => &self.smoke,
            ProfileName::Quick => &self.quick,
            ProfileName::Table => &self.table,
            ProfileName::Paper => &self.paper,
        }
    }

    /// All of them with the paths that they have in the file.
    pub(super) fn all(&self) -> [(&'static str, &P); 4] {
        [
            ("profile.smoke", &self.smoke),
            ("profile.quick", &self.quick),
            ("profile.table", &self.table),
            ("profile.paper", &self.paper),
        ]
    }
}

/// Gives the profile `table` of a file what it has in common with `quick`: everything that it does not give itself, or all of it. A
/// row with a section in `table` runs there, though `quick` leaves it out.
pub(super) fn complete_table(file: &mut DeTable<'_>) {
    let Some(DeValue::Table(profiles)) = file.get_mut("profile").map(Spanned::get_mut) else { return };
    let Some((key, quick)) = profiles.get_key_value("quick").map(|(k, v)| (k.span(), v.clone())) else {
        return;
    };
    match profiles.remove_entry("table") {
        None => drop(profiles.insert(Spanned::new(key, Cow::Borrowed("table")), quick)),
        Some((key, own)) => drop(profiles.insert(key, laid_over(own, quick))),
    }
}

/// What stands in `own`, and of `base` what does not.
fn laid_over<'a>(own: Spanned<DeValue<'a>>, base: Spanned<DeValue<'a>>) -> Spanned<DeValue<'a>> {
    let span = own.span();
    match (own.into_inner(), base.into_inner()) {
        (DeValue::Table(mut own), DeValue::Table(mut base)) => {
            base.remove("left_out");
            for (key, below) in base {
                let merged = match own.remove_entry(key.get_ref().as_ref()) {
                    None => (key, below),
                    Some((key, above)) => (key, laid_over(above, below)),
                };
                own.insert(merged.0, merged.1);
            }
            Spanned::new(span, DeValue::Table(own))
        }
        (own, _) => Spanned::new(span, own),
    }
}
