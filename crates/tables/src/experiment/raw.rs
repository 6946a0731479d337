//! The experiment file as it is written, with the ranges of its values. Sections of problems and methods are read by their
//! own settings; see `check.rs`.

use super::data::{Data, LearnsFrom};
use super::kind::ExperimentKind;
use super::profiles::Profiles;
use garde::Validate;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExperiment {
    #[garde(length(min = 1))]
    pub(super) title: String,
    #[garde(skip)]
    pub(super) kind: ExperimentKind,
    /// Read by the catalogue.
    #[serde(default, rename = "main")]
    #[garde(skip)]
    pub(super) _main: bool,
    /// This, `problem` and `observed_with`: the only scene.
    #[garde(dive)]
    pub(super) data: Option<Data>,
    /// Read by the settings of the problem.
    #[serde(default)]
    #[garde(skip)]
    pub(super) problem: BTreeMap<String, toml::Table>,
    /// Read by the settings of the problem.
    #[garde(skip)]
    pub(super) observed_with: Option<toml::Table>,
    /// Several scenes by their names.
    #[serde(default)]
    #[garde(dive)]
    pub(super) scene: BTreeMap<String, RawScene>,
    #[serde(default)]
    #[garde(dive)]
    pub(super) published: BTreeMap<String, RawPublished>,
    #[garde(dive)]
    pub(super) profile: Profiles<RawProfile>,
}

#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScene {
    #[garde(dive)]
    pub(super) data: Data,
    /// Read by the settings of the problem.
    #[serde(default)]
    #[garde(skip)]
    pub(super) problem: BTreeMap<String, toml::Table>,
    /// Read by the settings of the problem.
    #[garde(skip)]
    pub(super) observed_with: Option<toml::Table>,
}

#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublished {
    #[garde(length(min = 1))]
    pub(super) source: String,
    #[garde(dive)]
    pub(super) rows: BTreeMap<String, RawFigures>,
}

/// Published figures: each `[mean]` or `[mean, standard deviation]`.
#[derive(Debug, Clone, Default, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFigures {
    #[garde(inner(length(min = 1, max = 2)))]
    pub(super) psnr: Option<Vec<f64>>,
    #[garde(inner(length(min = 1, max = 2)))]
    pub(super) ssim: Option<Vec<f64>>,
    #[garde(inner(length(min = 1, max = 2)))]
    pub(super) lpips: Option<Vec<f64>>,
}

#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    /// Read by the settings of the problem; what is given here stands in place of what the file gives for all profiles.
    #[serde(default)]
    #[garde(skip)]
    pub(super) problem: BTreeMap<String, toml::Table>,
    /// The same for named scenes.
    #[serde(default)]
    #[garde(skip)]
    pub(super) scene: BTreeMap<String, RawProfileScene>,
    #[garde(length(min = 1), dive)]
    pub(super) sets: Vec<RawSet>,
    /// Read by the settings of the methods.
    #[serde(default)]
    #[garde(skip)]
    pub(super) methods: BTreeMap<String, toml::Table>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfileScene {
    pub(super) problem: BTreeMap<String, toml::Table>,
}

#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSet {
    #[garde(skip)]
    pub(super) scene: Option<String>,
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub(super) images: Vec<String>,
    #[garde(inner(range(min = 1, max = 100_000)))]
    pub(super) take: Option<usize>,
    #[garde(length(min = 1))]
    pub(super) methods: Vec<String>,
    #[garde(inner(length(min = 1), inner(length(min = 1))))]
    pub(super) observed: Option<Vec<String>>,
    /// Read by the settings of the problem.
    #[garde(skip)]
    pub(super) observed_with: Option<toml::Table>,
    #[garde(inner(length(min = 1, max = 100)))]
    pub(super) label: Option<String>,
    #[garde(skip)]
    pub(super) published: Option<Names>,
    #[serde(default)]
    #[garde(range(max = 100))]
    pub(super) show: usize,
}

/// A name, or one for each scored part.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a name, or a list of names")]
pub(super) enum Names {
    One(String),
    Each(Vec<String>),
}

/// The keys of a row that are not settings of its method.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRow {
    /// The method; the name of the row where not given.
    pub(super) method: Option<String>,
    /// The title of the row; that of the method where not given.
    pub(super) title: Option<String>,
    /// The row whose estimate it starts from; the problem's own start where not given.
    pub(super) start: Option<String>,
    /// What it learns from.
    #[serde(default)]
    pub(super) learns_from: LearnsFrom,
    /// The published row that stands beside it; that of its own name where not given.
    pub(super) published: Option<String>,
    /// Why it does not run in this profile, and what it would take: then the row has a dash and this text.
    pub(super) left_out: Option<String>,
    /// What learning takes, and an image: in products of `1024 x 512` by `512 x 512`.
    pub(super) work: Option<[f64; 2]>,
}

impl RawRow {
    /// Its keys.
    pub(super) const KEYS: [&'static str; 7] =
        ["method", "title", "start", "learns_from", "published", "left_out", "work"];
}
