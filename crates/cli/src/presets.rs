//! Settings of methods for people's own images, by the time that they may take.

use crate::settings::{Layers, Origin};
use serde::Serialize;
use toml::Table;

/// How long a reconstruction may take on a processor with a few cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Budget {
    /// For a first look
    Seconds,
    /// Near the best figures
    #[default]
    Minutes,
    /// As good as the method gets, in hours
    Best,
}

impl Budget {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Best => "best",
        }
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The presets, by method. A file has `[settings]`, and what differs: by `[budget.BUDGET]`, then by `[problem.PROBLEM]`.
const PRESETS: &[(&str, &str)] = &[
    ("crr", include_str!("presets/crr.toml")),
    ("dip_tv", include_str!("presets/dip_tv.toml")),
    ("dpir", include_str!("presets/dpir.toml")),
    ("epll", include_str!("presets/epll.toml")),
    ("langevin", include_str!("presets/langevin.toml")),
    ("one_image_net", include_str!("presets/one_image_net.toml")),
    ("patchnr", include_str!("presets/patchnr.toml")),
    ("sinkhorn", include_str!("presets/sinkhorn.toml")),
    ("smoothed_tv", include_str!("presets/smoothed_tv.toml")),
    ("tv", include_str!("presets/tv.toml")),
    ("wcrr", include_str!("presets/wcrr.toml")),
    ("wpp", include_str!("presets/wpp.toml")),
    ("wppflow", include_str!("presets/wppflow.toml")),
    ("wppnet", include_str!("presets/wppnet.toml")),
    ("zssr", include_str!("presets/zssr.toml")),
];

/// The work of a method: to learn, and for an image of 600 x 600 pixels, in products (`smalti_tables::plan::product_time`).
pub(crate) type Work = [f64; 2];

/// Puts the preset of a method into `layers`, where it has one, and says how much work it is where that is known.
pub(crate) fn apply(layers: &mut Layers, method: &str, budget: Budget, problem: &str) -> Option<Work> {
    let (_, text) = PRESETS.iter().find(|(key, _)| *key == method)?;
    // A test reads all of them.
    let preset: Table = text.parse().ok()?;
    let at = |path: &[&str]| {
        let found = path.iter().try_fold(&preset, |table, key| table.get(*key)?.as_table());
        found.cloned().unwrap_or_default()
    };
    layers.merge(&at(&["settings"]), &Origin::Preset);
    layers.merge(&at(&["budget", budget.name()]), &Origin::Preset);
    for (key, value) in at(&["problem", problem]) {
        layers.put(&key, value, Origin::Preset);
    }
    let work = at(&["work"]).get(budget.name())?.as_array()?.clone();
    let number =
        |k: usize| work.get(k).and_then(|v| v.as_float().or_else(|| v.as_integer().map(|n| n as f64)));
    Some([number(0)?, number(1)?])
}

/// Whether there is a preset.
pub(crate) fn has(method: &str) -> bool {
    PRESETS.iter().any(|(key, _)| *key == method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_methods::{METHODS, MethodEntry};
    use std::collections::BTreeMap;

    #[test]
    fn presets_are_settings_of_their_methods_in_their_ranges() {
        for (method, text) in PRESETS {
            let parsed: Table = text.parse().unwrap_or_else(|e| panic!("{method}: {e}"));
            assert!(
                parsed.keys().all(|k| ["settings", "budget", "problem", "work"].contains(&k.as_str())),
                "{method}"
            );
            for budget in [Budget::Seconds, Budget::Minutes, Budget::Best] {
                for problem in ["superresolution", "deblurring", "inpainting", "tomography", "volume"] {
                    let mut layers = Layers::of_method(method);
                    apply(&mut layers, method, budget, problem);
                    let numbers = BTreeMap::from([
                        ("stride", 4),
                        ("observed", 22_500),
                        ("observed_of_600", 22_500),
                        ("crop_of_128", 128),
                    ]);
                    layers.substitute(&numbers);
                    let entry = MethodEntry::find(method).unwrap();
                    let read = layers.read(entry.read, |m| m.out_of_range(), None);
                    assert!(read.is_ok(), "{method} {budget} {problem}: {}", read.unwrap_err().render());
                }
            }
        }
    }

    #[test]
    fn methods_without_a_preset_are_those_that_need_none_many_images_or_a_critic() {
        let without: Vec<&str> = METHODS.iter().map(|m| m.key).filter(|key| !has(key)).collect();
        assert_eq!(without, ["bicubic", "fbp", "fill_in", "fbp_unet", "acnn", "alr"]);
    }
}
