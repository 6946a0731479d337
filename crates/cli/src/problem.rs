//! The problem of measured images: settings from options, a file and the images, then the instrument.

use crate::arguments::ProblemOptions;
use crate::fault::{Fault, usage};
use crate::settings::{Layers, Origin, SettingsFile};
use smalti_base::Space;
use smalti_methods::{Instrument, MethodEntry, ProblemEntry, ProblemKey};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What an instrument is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To reconstruct what it has measured, which nothing is known of beyond the edges.
    Measured,
    /// To observe images, mirrored beyond their edges, so that what it sees lies in the middle of what it stands for.
    Simulated,
}

/// What is known before the settings are read.
pub(crate) struct Known<'a> {
    pub(crate) purpose: Purpose,
    /// Rows and columns (and planes before them) of the observation, or of the image to observe.
    pub(crate) size: Vec<i64>,
    /// The noise of the observation, where it is asked for and not given.
    pub(crate) noise: Option<f64>,
    /// The method that is to be used.
    pub(crate) method: Option<&'a MethodEntry>,
}

/// A problem with its settings.
pub(crate) struct ChosenProblem {
    pub(crate) entry: &'static ProblemEntry,
    pub(crate) layers: Layers,
    pub(crate) instrument: Box<dyn Instrument>,
}

/// The problem that options and file name; superresolution where they name none.
///
/// # Errors
/// Where the file has several and none is named.
pub(crate) fn entry(
    options: &ProblemOptions,
    file: Option<&SettingsFile>,
) -> Result<&'static ProblemEntry, Fault> {
    let in_file = file.map(|file| file.names("problem")).unwrap_or_default();
    let name = match (&options.problem, &in_file[..]) {
        (Some(name), _) => name.as_str(),
        (None, []) => "superresolution",
        (None, [only]) => only,
        (None, several) => {
            return Err(usage(format!(
                "the file has the problems {}: choose one with --problem",
                several.join(", ")
            )));
        }
    };
    let known = || smalti_methods::PROBLEMS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    ProblemEntry::find(name)
        .ok_or_else(|| usage(format!("there is no problem {name}: choose one of {}", known())))
}

/// The folder that files named in settings are relative to.
pub(crate) fn data_folder(options: &ProblemOptions) -> PathBuf {
    folder_of_data(options.data.as_deref())
}

/// The folder that is given, else that of `SMALTI_DATA`, else the current one.
pub(crate) fn folder_of_data(given: Option<&Path>) -> PathBuf {
    let environment = std::env::var_os("SMALTI_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    given.map(Path::to_owned).or(environment).unwrap_or_else(|| PathBuf::from("."))
}

/// The settings of a problem as far as they are written: the file, then options, then `--set` of keys that belong to no method.
pub(crate) fn written(entry: &ProblemEntry, options: &ProblemOptions, file: Option<&SettingsFile>) -> Layers {
    let mut layers = Layers::of_problem(entry.name);
    if let Some(file) = file {
        layers.merge(&file.section("problem", entry.name), &Origin::File);
    }
    let option = |name: &str| Origin::Derived(name.to_owned());
    if let Some(factor) = options.factor {
        layers.put("stride", factor.into(), option("--factor"));
    }
    if let Some(sigma) = options.blur {
        let side = Value::Integer(odd_side(sigma));
        if entry.key == ProblemKey::Deblurring {
            let gaussian = Table::from_iter([("size".to_owned(), side), ("sigma".to_owned(), sigma.into())]);
            layers.put("kernel.gaussian", gaussian.into(), option("--blur"));
        } else {
            layers.put("sigma", sigma.into(), option("--blur"));
        }
    }
    if let Some(noise) = options.noise {
        layers.put("noise", noise.into(), option("--noise"));
    }
    let of_method = |key: &str| MethodEntry::find(key.split('.').next().unwrap_or_default()).is_some();
    for setting in options.set.iter().filter(|setting| !of_method(&setting.key)) {
        layers.put(&setting.key, setting.value.clone(), Origin::Option(setting.text.clone()));
    }
    layers
}

/// The side of a kernel that holds a Gaussian up to three standard deviations, odd.
fn odd_side(sigma: f64) -> i64 {
    (2 * (3.0 * sigma.clamp(0.0, 10.0)).ceil() as i64 + 1).clamp(3, 63)
}

/// Fills in what is not written, reads the settings and makes the instrument.
///
/// # Errors
/// What is missing or wrong, where it was written; a file that the instrument reads.
pub(crate) fn choose(
    entry: &'static ProblemEntry,
    mut layers: Layers,
    known: &Known<'_>,
    file: Option<&SettingsFile>,
    folder: &Path,
) -> Result<ChosenProblem, Fault> {
    let unfilled = layers.clone();
    fill(entry.key, &mut layers, known, "valid");
    let read = |layers: &Layers| {
        layers.read(entry.read, |problem| problem.out_of_range().or_else(|| problem.check().err()), file)
    };
    let configured = read(&layers)?;
    for (key, name) in configured.files() {
        let path = folder.join(&name);
        std::fs::File::open(&path).map_err(|e| {
            layers.fault(
                key,
                &format!("{} cannot be read ({e}); --data names the folder", path.display()),
                file,
            )
        })?;
    }
    let mut instrument = configured.instrument(Some(folder))?;
    // Methods that work at the resolution of the observation need its grid to divide that of the result.
    let refused = |instrument: &dyn Instrument| {
        known.method.is_some_and(|method| (method.applies)(instrument).is_err())
    };
    if known.purpose == Purpose::Measured && !unfilled.has("form") && refused(instrument.as_ref()) {
        let mut other = unfilled;
        fill(entry.key, &mut other, known, "reflect");
        if let Ok(reflected) = read(&other) {
            let with = reflected.instrument(Some(folder))?;
            if !refused(with.as_ref()) {
                (layers, instrument) = (other, with);
            }
        }
    }
    Ok(ChosenProblem { entry, layers, instrument })
}

/// What can be said without being asked.
fn fill(key: ProblemKey, layers: &mut Layers, known: &Known<'_>, form: &str) {
    if let Some(noise) = known.noise {
        layers.fill("noise", noise, "the observation");
    }
    let simulated = known.purpose == Purpose::Simulated;
    let (rows, columns) = match known.size[..] {
        [.., h, w] => (h, w),
        _ => (0, 0),
    };
    match key {
        ProblemKey::Superresolution | ProblemKey::Volume if !layers.has("estimated") => {
            let stride = layers.number("stride").unwrap_or(1.0);
            layers.fill("sigma", stride / 2.0, "half of the stride");
            // As wide as four observed pixels, and such that its middle is that of an observed pixel.
            let sigma = layers.number("sigma").unwrap_or(stride / 2.0);
            let side = (8.0 * sigma).round().max(stride) as i64;
            let side = (side + (side + stride as i64).rem_euclid(2)).clamp(1, 63);
            layers.fill("kernel_size", side, "the blur");
        }
        _ => {}
    }
    match key {
        ProblemKey::Superresolution | ProblemKey::Deblurring => {
            layers.fill("crop", 0, "the command");
            if layers.has("estimated") {
                layers.fill("form", "wrap-after", "an estimated operator");
            } else if simulated {
                let stride =
                    if key == ProblemKey::Deblurring { 1.0 } else { layers.number("stride").unwrap_or(1.0) };
                let side = layers.number("kernel_size").or(layers.number("kernel.gaussian.size"));
                match side {
                    // Observed pixels lie in the middle of the pixels that they stand for.
                    Some(side) => {
                        let by = ((side - stride).max(0.0) / 2.0).ceil() as i64;
                        layers.fill(
                            "form",
                            Table::from_iter([("reflect-by".to_owned(), by.into())]),
                            "the command",
                        );
                    }
                    None => layers.fill("form", "reflect", "the command"),
                }
            } else {
                layers.fill("form", form, "the command");
            }
        }
        ProblemKey::Inpainting => {
            for (name, value) in [("top", 0), ("left", 0), ("height", rows), ("width", columns)] {
                layers.fill(&format!("part.{name}"), value, "the size of the image");
            }
        }
        ProblemKey::Tomography => {
            layers.fill("window", vec![Value::Float(0.0), Value::Float(1.0)], "the command");
            layers.fill("fbp.filter", "hann", "the command");
            layers.fill("fbp.frequency_scaling", 0.65, "the command");
            if !simulated {
                if !layers.has("scan.angle_file") {
                    layers.fill("scan.angles", rows, "the rows of the sinogram");
                }
                layers.fill("scan.detectors", columns, "the columns of the sinogram");
            } else {
                layers.fill("scan.size", columns, "the image");
            }
            let size = layers.number("scan.size").unwrap_or(0.0) as i64;
            layers.fill(
                "scan.simulation_size",
                if simulated { (2 * size).min(8192) } else { size },
                "the slice",
            );
        }
        ProblemKey::Volume => {
            layers.fill("crop", 0, "the command");
            let stride = layers.number("stride").unwrap_or(1.0) as i64;
            let side = known.size.iter().copied().min().unwrap_or(8);
            let side = if simulated { side } else { side * stride };
            // Only phantoms have these sizes.
            layers.fill("size", side.clamp(8, 512) / stride.max(1) * stride.max(1), "the observation");
            layers.fill("reference_size", 64, "the command");
            layers.fill("grain", 16.0, "the command");
        }
    }
}

/// Settings of a problem that stand for any of it, to ask which methods make sense.
const EXAMPLES: [(&str, &str); 5] = [
    ("superresolution", "stride = 4"),
    ("deblurring", "kernel = { gaussian = { size = 7, sigma = 1.0 } }"),
    ("inpainting", "hole = { top = 16, left = 16, height = 16, width = 16 }"),
    ("tomography", "scan = { size = 32, extent = 0.1 }\nnoise = { photons = 4096, mu_max = 80.0 }"),
    ("volume", "stride = 2"),
];

/// Whether a method makes sense for a problem, or why not; `None` where no example of the problem is known.
pub(crate) fn suits(entry: &'static ProblemEntry, method: &MethodEntry) -> Option<Result<(), String>> {
    let (_, text) = EXAMPLES.iter().find(|(name, _)| *name == entry.name)?;
    let mut layers = Layers::of_problem(entry.name);
    layers.merge(&text.parse().ok()?, &Origin::Preset);
    let noise = (entry.key != ProblemKey::Tomography).then_some(0.01);
    let known = Known { purpose: Purpose::Measured, size: vec![64, 64], noise, method: Some(method) };
    let chosen = choose(entry, layers, &known, None, Path::new(".")).ok()?;
    Some((method.applies)(chosen.instrument.as_ref()))
}

impl ChosenProblem {
    /// What presets may refer to: numbers by name.
    pub(crate) fn numbers(&self, observed: i64) -> std::collections::BTreeMap<&'static str, i64> {
        let stride = match self.entry.key {
            ProblemKey::Superresolution | ProblemKey::Volume => {
                self.layers.number("stride").unwrap_or(1.0) as i64
            }
            _ => 1,
        };
        let stride = stride.max(1);
        let axes = if self.entry.key == ProblemKey::Volume { 3 } else { 2 };
        std::collections::BTreeMap::from([
            ("stride", stride),
            ("observed", observed),
            ("observed_of_600", (360_000 / stride.pow(axes)).max(1)),
            ("crop_of_128", (128 / stride * stride).max(1)),
        ])
    }

    /// What a reader must know about it.
    pub(crate) fn described(&self) -> Vec<(&'static str, String)> {
        let of_scores = ["Score", "Images", "Volumes", "Pictures", "Noise"];
        self.instrument.protocol().into_iter().filter(|(key, _)| !of_scores.contains(key)).collect()
    }
}

/// The part of a result that its observation stands for, as first index and length of each axis: as many times the observed pixels as
/// the grid is finer, with each of them in the middle; all of it where the grid is not like that.
pub(crate) fn seen(grid: Option<smalti_operators::Grid>, domain: Space, observed: &[i64]) -> Vec<(i64, i64)> {
    let whole: Vec<(i64, i64)> = domain.axes().into_iter().map(|length| (0, length)).collect();
    let Some(grid) = grid.filter(|_| observed.len() == whole.len()) else { return whole };
    let plane = [(grid.origin.0, grid.spacing.0), (grid.origin.1, grid.spacing.1)];
    let depth = grid.depth.filter(|_| whole.len() == 3);
    if whole.len() == 3 && depth.is_none() {
        return whole;
    }
    let axes = depth.into_iter().chain(plane);
    let mut part = Vec::new();
    for ((origin, spacing), (&n, &(_, length))) in axes.zip(observed.iter().zip(&whole)) {
        let first = (origin - (spacing - 1.0) / 2.0).floor() as i64;
        let wanted = (n as f64 * spacing).round() as i64;
        if first < 0 || first + wanted > length {
            return whole;
        }
        part.push((first, wanted));
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_operators::Grid;

    #[test]
    fn results_are_cut_to_what_was_observed() {
        let grid = |origin: f64, spacing: f64| {
            Some(Grid { origin: (origin, origin), spacing: (spacing, spacing), ..Grid::IDENTITY })
        };
        let image = Space::image(1, 615, 415);
        // A kernel of 16, every 4th pixel: the first observed pixel is the mean of pixels 6 to 9, and more.
        assert_eq!(seen(grid(7.5, 4.0), image, &[150, 100]), [(6, 600), (6, 400)]);
        // A periodic image is as large as what was observed.
        assert_eq!(seen(grid(7.5, 4.0), Space::image(1, 600, 400), &[150, 100]), [(0, 600), (0, 400)]);
        assert_eq!(seen(None, image, &[150, 100]), [(0, 615), (0, 415)]);
    }
}
