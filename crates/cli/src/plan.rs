//! What a command is going to do, told before it does it.

use crate::images::{Description, Units};
use serde::Serialize;

/// What is going to be done.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Plan {
    pub(crate) observations: Vec<Description>,
    pub(crate) references: Vec<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<Description>,
    /// For every type of stored values.
    pub(crate) units: Vec<Units>,
    pub(crate) problem: String,
    /// What a reader must know about the problem.
    pub(crate) described: Vec<(&'static str, String)>,
    pub(crate) problem_settings: Vec<String>,
    pub(crate) noise: String,
    pub(crate) method: String,
    pub(crate) method_settings: Vec<String>,
    /// Sizes of the results, and where observed pixels lie in them.
    pub(crate) result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    pub(crate) device: String,
    pub(crate) outputs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
}

/// Images of a kind that are listed by name.
const LISTED: usize = 5;

impl Plan {
    /// For people: a line for each thing, settings of the method only where they are asked for.
    pub(crate) fn text(&self, with_settings: bool) -> String {
        let mut lines = Lines::default();
        let described =
            |images: &[Description]| -> Vec<String> { images.iter().map(Description::line).collect() };
        lines.add_all("observation", &described(&self.observations));
        lines.add_all("reference", &described(&self.references));
        lines.add_all("validation", &self.validation.iter().map(Description::line).collect::<Vec<_>>());
        for Units { values, low, high, from } in &self.units {
            let (low, high) = (crate::images::short(*low), crate::images::short(*high));
            lines.add("values", &format!("{values}: {low} is 0, {high} is 1 ({from})"));
        }
        lines.add("problem", &self.problem);
        for (key, value) in &self.described {
            lines.add(&key.to_lowercase(), value);
        }
        lines.add("noise", &self.noise);
        lines.add("method", &self.method);
        if with_settings {
            self.problem_settings.iter().chain(&self.method_settings).for_each(|line| lines.add("", line));
        }
        lines.add("result", &self.result);
        lines.add("time", self.time.as_deref().unwrap_or_default());
        lines.add("device", &self.device);
        lines.add_all("output", &self.outputs);
        lines.add("state", self.state.as_deref().unwrap_or_default());
        lines.0
    }
}

/// Lines with a word before each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, word: &str, text: &str) {
        if !text.is_empty() {
            self.0 += &format!("{word:12} {text}\n");
        }
    }

    fn add_all(&mut self, word: &str, texts: &[String]) {
        for (k, text) in texts.iter().take(LISTED).enumerate() {
            self.add(if k == 0 { word } else { "" }, text);
        }
        if texts.len() > LISTED {
            self.add("", &format!("... {} in all", texts.len()));
        }
    }
}
