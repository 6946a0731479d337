//! What methods make of a problem: an image, and what there is to say about it.

use crate::run::Persist;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Tensor};

/// What a method made of a problem.
#[derive(Debug)]
pub struct Estimate {
    /// The image, an element of the operator's domain.
    pub image: Tensor,
    /// Wall-clock seconds of the process that finished it, without learning.
    pub seconds: f64,
    /// Numbers that it knows about itself, by name.
    pub figures: Metrics,
    /// What a reader must know about this one; empty where nothing.
    pub note: String,
    /// Draws of the posterior, `[S, C, H, W]`, where the method samples.
    pub draws: Option<Tensor>,
    /// Other images that are scored, too.
    pub others: Vec<ExtraImage>,
    /// Pictures of something else, such as a standard deviation.
    pub maps: Vec<UncertaintyMap>,
    /// Curves.
    pub plots: Vec<Plot>,
}

/// Numbers by name.
pub type Metrics = BTreeMap<String, f64>;

impl Estimate {
    /// An image that took `seconds`, and nothing else.
    pub fn of(image: Tensor, seconds: f64) -> Self {
        Self {
            image,
            seconds,
            figures: Metrics::new(),
            note: String::new(),
            draws: None,
            others: Vec::new(),
            maps: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// The same on another device.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn to(mut self, device: Device) -> Result<Self> {
        self.image = self.image.f_to_device(device)?;
        for other in &mut self.others {
            other.image = other.image.f_to_device(device)?;
        }
        Ok(self)
    }
}

/// An image beside the estimate that comes from the same computation, such as a mode or a draw.
#[derive(Debug)]
pub struct ExtraImage {
    /// What is appended to the key of the estimate's row, such as `draw`.
    pub key: String,
    /// For readers.
    pub title: String,
    /// The image.
    pub image: Tensor,
    /// The seconds that it took by itself, where that can be said.
    pub seconds: Option<f64>,
    /// Where it stands in the table.
    pub place: Placement,
}

/// Where an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// In the table, before the row of the estimate.
    Before,
    /// In the table, after it.
    After,
    /// Among the pictures only.
    Pictures,
}

/// A picture of something that is no reconstruction, such as the standard deviation of samples.
#[derive(Debug)]
pub struct UncertaintyMap {
    /// For file names.
    pub key: String,
    /// For readers.
    pub title: String,
    /// What its black and white stand for.
    pub caption: String,
    /// The picture, from 0 (black) to 1 (white).
    pub image: Tensor,
}

/// A drawing of curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// For readers.
    pub title: String,
    /// What is along the axes.
    pub axes: [String; 2],
    /// The curves.
    pub lines: Vec<Line>,
    /// What the lines of either style are.
    pub legend: [String; 2],
    /// What else a reader must know.
    pub caption: String,
}

/// A curve of a [`Plot`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    #[serde(alias = "look")]
    pub style: LineStyle,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineStyle {
    /// In the first colour.
    First,
    /// In the second colour.
    Second,
    /// As an axis: what the others are compared with.
    Reference,
}

/// The loss of a training over its steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// Step and training loss.
    pub training: Vec<(u64, f64)>,
    /// Step and validation loss.
    pub validation: Vec<(u64, f64)>,
}

/// All of an estimate but its tensors.
#[derive(Serialize, Deserialize)]
struct Text {
    seconds: f64,
    figures: Metrics,
    note: String,
    others: Vec<(String, String, Option<f64>, Placement)>,
    maps: Vec<[String; 3]>,
    plots: Vec<Plot>,
}

/// The key of [`Text`] in a file.
const TEXT: &str = "estimate";

impl Persist for Estimate {
    fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut file = Checkpoint::default();
        let mut put = |name: String, t: &Tensor| {
            file.tensors.insert(name, t.f_to_device(Device::Cpu)?.f_contiguous()?);
            Ok::<_, Error>(())
        };
        put("image".into(), &self.image)?;
        self.draws.iter().try_for_each(|draws| put("draws".into(), draws))?;
        for (i, other) in self.others.iter().enumerate() {
            put(format!("other.{i}"), &other.image)?;
        }
        for (i, map) in self.maps.iter().enumerate() {
            put(format!("map.{i}"), &map.image)?;
        }
        let text = Text {
            seconds: self.seconds,
            figures: self.figures.clone(),
            note: self.note.clone(),
            others: (self.others.iter())
                .map(|o| (o.key.clone(), o.title.clone(), o.seconds, o.place))
                .collect(),
            maps: self.maps.iter().map(|m| [&m.key, &m.title, &m.caption].map(String::clone)).collect(),
            plots: self.plots.clone(),
        };
        let figures = self.figures.values().chain([&self.seconds]);
        let others = self.others.iter().filter_map(|other| other.seconds.as_ref());
        if figures.chain(others).any(|figure| !figure.is_finite()) {
            return Err(Error::value("figures of an estimate", "finite numbers", "some that are not"));
        }
        let json = serde_json::to_string(&text);
        file.set_meta(TEXT, json.map_err(|e| Error::value("estimate", "finite numbers", e))?);
        Ok(file)
    }

    fn from_checkpoint(mut file: Checkpoint) -> Result<Self> {
        let damaged = |problem: String| {
            Error::content(Path::new("state of the run"), problem, "delete the folder state/ to start anew")
        };
        let text: Text =
            serde_json::from_str(file.meta(TEXT)?).map_err(|e| damaged(format!("has no estimate: {e}")))?;
        let mut take =
            |name: String| file.tensors.remove(&name).ok_or_else(|| damaged(format!("has no tensor {name}")));
        let mut others = Vec::new();
        for (i, (key, title, seconds, place)) in text.others.into_iter().enumerate() {
            others.push(ExtraImage { key, title, image: take(format!("other.{i}"))?, seconds, place });
        }
        let mut maps = Vec::new();
        for (i, [key, title, caption]) in text.maps.into_iter().enumerate() {
            maps.push(UncertaintyMap { key, title, caption, image: take(format!("map.{i}"))? });
        }
        Ok(Self {
            image: take("image".into())?,
            draws: take("draws".into()).ok(),
            seconds: text.seconds,
            figures: text.figures,
            note: text.note,
            others,
            maps,
            plots: text.plots,
        })
    }
}
