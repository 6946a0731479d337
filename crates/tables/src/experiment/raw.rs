//! The experiment file as it is written, with the ranges of its values.

use super::settings::{Data, L2Tv, Operator, PatchNr, Wpp};
use super::{ExperimentKind, Method};
use crate::volume::settings::Volume;
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
    #[garde(range(min = 0, max = 10_000))]
    pub(super) crop: i64,
    #[garde(dive)]
    pub(super) data: Data,
    #[garde(dive)]
    pub(super) operator: Operator,
    #[serde(default)]
    #[garde(dive)]
    pub(super) published: BTreeMap<String, RawPublished>,
    #[garde(dive)]
    pub(super) profile: RawProfiles,
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

#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfiles {
    #[garde(dive)]
    pub(super) smoke: RawProfile,
    #[garde(dive)]
    pub(super) quick: RawProfile,
    #[garde(dive)]
    pub(super) paper: RawProfile,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    #[serde(default)]
    #[garde(dive)]
    pub(super) sets: Vec<RawSet>,
    #[garde(inner(range(min = 8, max = 100_000)))]
    pub(super) size: Option<i64>,
    #[garde(dive)]
    pub(super) l2_tv: Option<L2Tv>,
    #[garde(dive)]
    pub(super) patchnr: Option<PatchNr>,
    #[garde(dive)]
    pub(super) volume: Option<Volume>,
    #[garde(dive)]
    pub(super) wpp: Option<Wpp>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSet {
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub(super) images: Vec<String>,
    #[garde(inner(range(min = 1, max = 100_000)))]
    pub(super) take: Option<usize>,
    #[garde(length(min = 1))]
    pub(super) methods: Vec<Method>,
    #[garde(skip)]
    pub(super) published: Option<String>,
    #[serde(default)]
    #[garde(range(max = 100))]
    pub(super) show: usize,
}
