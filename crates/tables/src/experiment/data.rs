//! What methods learn from.

use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::ValueRange;

/// What methods learn from, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The reference images; none where all methods learn nothing or from the observation.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub references: Vec<String>,
    /// The image that settings are chosen on; it measures trainings, unless it is one of the references.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub validation: Option<String>,
    /// Observed crops of the material; methods that need some make them from the references where not given.
    #[serde(default)]
    #[garde(dive)]
    pub observations: Option<Observations>,
    /// HDF5 file with groups that hold an observation `obs` each, which measure trainings on observations.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub validation_observations: Option<String>,
    /// Step of the grey values of the files, 0 to 0.1: densities are learned from images with uniform noise of this width, since
    /// patches of one rounded value would have an infinite density.
    #[serde(default)]
    #[garde(range(min = 0.0, max = 0.1))]
    pub grey_step: f64,
    /// Which stored values of the files become `[0, 1]`: `by_type` (the default), `by_data`, or the two, such as `[0, 4095]`.
    #[serde(default, skip_serializing_if = "is_by_type")]
    #[garde(skip)]
    pub values: ValueRange,
}

fn is_by_type(values: &ValueRange) -> bool {
    *values == ValueRange::ByType
}

/// Where observed crops come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Observations {
    /// All images of an HDF5 file.
    File(#[garde(length(min = 1))] String),
    /// Cut from an observation.
    Cut {
        /// The observation.
        #[garde(length(min = 1))]
        image: String,
        /// Side of a crop in pixels, 8 to 1000.
        #[garde(range(min = 8, max = 1000))]
        size: i64,
        /// Distance of neighbouring crops in pixels, 1 to 1000.
        #[garde(range(min = 1, max = 1000))]
        step: i64,
    },
}

impl Data {
    /// All files, each with its key.
    pub fn files(&self) -> Vec<(String, &String)> {
        let mut files: Vec<(String, &String)> =
            self.references.iter().enumerate().map(|(i, name)| (format!("references[{i}]"), name)).collect();
        files.extend(self.validation.iter().map(|name| ("validation".into(), name)));
        files.extend(self.observations.iter().map(|from| match from {
            Observations::File(name) => ("observations.file".into(), name),
            Observations::Cut { image, .. } => ("observations.cut.image".into(), image),
        }));
        files
            .extend(self.validation_observations.iter().map(|name| ("validation_observations".into(), name)));
        files
    }
}

/// What a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnsFrom {
    /// The reference images of the scene, once for all problems.
    #[default]
    References,
    /// The observation itself, or what is seen around its hole: anew for every image.
    Observation,
}
