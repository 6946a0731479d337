//! Images of other people: where they lie, what their numbers mean, and how results are written in the same units.

use crate::fault::{Fault, usage};
use serde::Serialize;
use smalti_base::checkpoint::data_hash;
use smalti_base::value_range::{Stored, bits_used};
use smalti_base::{Error, Result, files, hdf5_file, image_file, npy_file, npz_file};
use smalti_tables::data::natural;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tch::{Kind, Tensor};

/// Where an image lies: a file, and within HDF5 and `.npz` files the name of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) array: Option<String>,
}

/// The ends of the names of files that are taken from a folder.
const KNOWN: [&str; 4] = ["png", "tif", "tiff", "npy"];

impl Place {
    /// `FILE`, or `FILE.h5:/GROUP/DATASET` and `FILE.npz:ARRAY`.
    pub(crate) fn parse(path: &Path) -> Self {
        let whole = || Self { path: path.to_owned(), array: None };
        let Some(text) = path.to_str().filter(|_| !path.exists()) else { return whole() };
        let named = [".h5:", ".hdf5:", ".npz:"].iter().find_map(|end| {
            let at = text.find(end)? + end.len();
            Some(Self { path: PathBuf::from(&text[..at - 1]), array: Some(text[at..].to_owned()) })
        });
        named.unwrap_or_else(whole)
    }

    /// For readers.
    pub(crate) fn label(&self) -> String {
        match &self.array {
            Some(array) => format!("{}:{array}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// The name of the file without its end, and that of the array.
    pub(crate) fn stem(&self) -> String {
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = |name: &String| name.trim_matches('/').replace('/', "-");
        self.array.as_ref().map_or_else(|| stem.clone(), |array| format!("{stem}-{}", plain(array)))
    }

    /// The end of the name of the file, in lower case.
    fn end(&self) -> String {
        end(&self.path)
    }
}

/// The end of the name of a file, in lower case.
pub(crate) fn end(path: &Path) -> String {
    path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// All images that are meant: files as they are, of folders all images in natural order.
pub(crate) fn expand(paths: &[PathBuf]) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for path in paths {
        if !path.is_dir() {
            places.push(Place::parse(path));
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| Error::file(path, "reading", e))? {
            let file = entry.map_err(|e| Error::file(path, "reading", e))?.path();
            if file.is_file() && !files::is_hidden(&file) && KNOWN.contains(&end(&file).as_str()) {
                found.push(file);
            }
        }
        if found.is_empty() {
            let problem = "is a folder without images";
            return Err(Error::content(path, problem, "put PNG, TIFF or .npy files into it, or name them"));
        }
        found.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
        places.extend(found.into_iter().map(|path| Place { path, array: None }));
    }
    Ok(places)
}

/// An image as its file stores it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) place: Place,
    /// `[1, 1, H, W]`, or a volume `[1, 1, D, H, W]`: stored values divided by the largest of their type.
    pub(crate) values: Tensor,
    pub(crate) stored: Stored,
    /// Whether it is the luma of colours.
    pub(crate) colour: bool,
    /// Smallest and largest stored value.
    pub(crate) extremes: [f64; 2],
}

/// What is told about an image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Description {
    pub(crate) file: String,
    pub(crate) size: Vec<i64>,
    pub(crate) values: String,
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
    pub(crate) colour: bool,
    pub(crate) sha256: String,
}

impl Description {
    /// One line for readers.
    pub(crate) fn line(&self) -> String {
        let size: Vec<String> = self.size.iter().map(ToString::to_string).collect();
        let colour = if self.colour { ", the luma of colours" } else { "" };
        let Self { file, values, smallest, largest, .. } = self;
        format!(
            "{file}: {} pixels, {values} from {} to {}{colour}",
            size.join(" x "),
            short(*smallest),
            short(*largest)
        )
    }
}

/// A number with as many digits as are of use.
pub(crate) fn short(v: f64) -> String {
    if v == v.round() && v.abs() < 1e12 { format!("{v}") } else { format!("{v:.4}") }
}

impl Measured {
    /// Reads an image.
    ///
    /// # Errors
    /// Those of the loaders: a file that cannot be read, is damaged, or holds something else than a grey image; NaN and infinity.
    pub(crate) fn read(place: &Place) -> Result<Self> {
        let path = &place.path;
        let (values, stored, colour) = match (place.end().as_str(), &place.array) {
            ("h5" | "hdf5" | "nxs", Some(array)) => {
                let (values, stored) = hdf5_file::load_dataset(path, array)?;
                (values, stored, false)
            }
            ("h5" | "hdf5" | "nxs", None) => {
                let there: Vec<String> =
                    hdf5_file::list(path)?.into_iter().map(|of| of.name).take(8).collect();
                let remedy = format!(
                    "name one of its datasets: {}:{}",
                    path.display(),
                    there.first().map_or("/DATASET", |name| name)
                );
                let problem = format!("is an HDF5 file, with the datasets {}", there.join(", "));
                return Err(Error::content(path, problem, remedy));
            }
            ("npz", array) => (array_of_npz(path, array.as_deref())?, Stored::FLOAT, false),
            ("npy", _) => {
                let (values, stored) = npy_file::load(path)?;
                (values, stored, false)
            }
            _ => {
                let read = image_file::load_stored(path)?;
                (read.image, read.stored, read.colour)
            }
        };
        let values = as_image(&place.label(), values)?;
        let exact =
            |v: f64| if stored.unit > 1.0 && !colour { (v * stored.unit).round() } else { v * stored.unit };
        let numbers = [values.f_min()?, values.f_max()?].map(|v| exact(v.double_value(&[])));
        if !numbers.iter().all(|v| v.is_finite()) || values.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            let remedy = "replace these pixels, e.g. by the mean of their neighbours, or crop them away";
            return Err(Error::content(path, "has NaN or infinite values", remedy));
        }
        Ok(Self { place: place.clone(), values, stored, colour, extremes: numbers })
    }

    /// Rows and columns, before them planes of a volume.
    pub(crate) fn size(&self) -> Vec<i64> {
        self.values.size().split_off(2)
    }

    /// What there is to tell.
    pub(crate) fn describe(&self) -> Result<Description> {
        Ok(Description {
            file: self.place.label(),
            size: self.size(),
            values: self.stored.kind.to_owned(),
            smallest: self.extremes[0],
            largest: self.extremes[1],
            colour: self.colour,
            sha256: data_hash(&[&self.values])?,
        })
    }

    /// The image in `units`: `[1, 1, H, W]`, float32.
    pub(crate) fn in_units(&self, units: &Units) -> Result<Tensor> {
        if units.low == 0.0 && units.high == self.stored.unit {
            return Ok(self.values.shallow_clone());
        }
        let stored = self.values.f_to_kind(Kind::Double)? * self.stored.unit;
        Ok(((stored - units.low) / (units.high - units.low)).f_to_kind(Kind::Float)?)
    }
}

/// The array of an archive, or its only one.
fn array_of_npz(path: &Path, name: Option<&str>) -> Result<Tensor> {
    let mut arrays = npz_file::load(path)?;
    let there: Vec<String> = arrays.keys().cloned().collect();
    let name = match (name, &there[..]) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => only.clone(),
        (None, _) => {
            let problem = format!("has the arrays {}", there.join(", "));
            let first = there.first().map_or("ARRAY", |name| name);
            return Err(Error::content(path, problem, format!("name one: {}:{first}", path.display())));
        }
    };
    arrays.remove(&name).ok_or_else(|| {
        let problem = format!("has no array {name:?} of floats; there are {}", there.join(", "));
        Error::content(path, problem, "name one of them")
    })
}

/// An image or a volume in the library's shape.
fn as_image(name: &str, values: Tensor) -> Result<Tensor> {
    let size = values.size();
    let fits = |n: &i64| *n > 0;
    if !size.iter().all(fits) {
        return Err(Error::shape(name, "at least one pixel", size));
    }
    Ok(match size[..] {
        [h, w] | [1, h, w] => values.f_reshape([1, 1, h, w])?,
        [1, 1, _, _] | [1, 1, _, _, _] => values,
        [d, 1, h, w] | [d, h, w] => values.f_reshape([1, 1, d, h, w])?,
        _ => return Err(Error::shape(name, "a grey image [H, W] or a volume [D, H, W]", size)),
    })
}

/// How stored values become 0 and 1, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum RangeChoice {
    /// What the images themselves suggest.
    #[default]
    Auto,
    /// By the type of the stored values.
    Type,
    /// These two stored values.
    Given(f64, f64),
}

impl FromStr for RangeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "expected auto, type, or two numbers LOW,HIGH with LOW < HIGH, such as 0,4095".to_owned();
        match text {
            "auto" => return Ok(Self::Auto),
            "type" => return Ok(Self::Type),
            _ => {}
        }
        let (low, high) = text.split_once(',').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low < high => Ok(Self::Given(low, high)),
            _ => Err(wrong()),
        }
    }
}

/// The stored values that are 0 and 1 in computations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Units {
    /// The type of stored values that they are for.
    pub(crate) values: String,
    /// The stored value that becomes 0.
    pub(crate) low: f64,
    /// The stored value that becomes 1.
    pub(crate) high: f64,
    /// Where they come from.
    pub(crate) from: String,
}

impl Units {
    /// Values as they are stored.
    pub(crate) fn as_stored(kind: &str) -> Self {
        Self { values: kind.to_owned(), low: 0.0, high: 1.0, from: "as stored".into() }
    }
}

/// Floats within these limits are taken for grey values from 0 to 1 with noise.
const NEAR_UNIT: [f64; 2] = [-0.5, 1.5];

/// The units of images whose values are of the type `kind`, of which `all` are known.
///
/// # Errors
/// [`Error::Value`] where `auto` finds constant floats.
pub(crate) fn units(choice: RangeChoice, kind: &str, all: &[&Measured]) -> Result<Units> {
    let of_kind: Vec<&&Measured> = all.iter().filter(|image| image.stored.kind == kind).collect();
    let given = |low: f64, high: f64, from: String| Ok(Units { values: kind.to_owned(), low, high, from });
    let least = of_kind.iter().map(|image| image.extremes[0]).fold(f64::INFINITY, f64::min);
    let most = of_kind.iter().map(|image| image.extremes[1]).fold(f64::NEG_INFINITY, f64::max);
    let stored = of_kind.first().map_or(Stored::FLOAT, |image| image.stored);
    let float = stored.unit == 1.0;
    match choice {
        RangeChoice::Given(low, high) => given(low, high, "--range".into()),
        RangeChoice::Type if float => Ok(Units::as_stored(kind)),
        RangeChoice::Type => given(0.0, stored.unit, "the type".into()),
        RangeChoice::Auto if stored.bits > 0 => {
            let brightest = [(most / stored.unit) as f32];
            match bits_used(&brightest, stored.bits) {
                Some(bits) if bits > 8 || most > 1.0 => {
                    let white = f64::from((1_u32 << bits) - 1);
                    tracing::warn!(
                        "{bits} bits in {}: no value is above {most}, so {white} is taken as white; \
                         --range 0,{white} says so, --range type takes {}",
                        stored.bits,
                        stored.unit
                    );
                    given(0.0, white, format!("{bits} of {} bits are used", stored.bits))
                }
                _ => given(0.0, stored.unit, "the type".into()),
            }
        }
        RangeChoice::Auto if float && least >= NEAR_UNIT[0] && most <= NEAR_UNIT[1] => {
            Ok(Units::as_stored(kind))
        }
        RangeChoice::Auto if most > least => {
            given(least, most, "smallest and largest value of these images".into())
        }
        RangeChoice::Auto => {
            Err(Error::value("values of the images", "values that vary, or --range LOW,HIGH", least))
        }
    }
}

/// How the values of a result are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Depth {
    /// 8-bit integers.
    #[value(name = "8")]
    Eight,
    /// 16-bit integers.
    #[value(name = "16")]
    Sixteen,
    /// 32-bit floats.
    #[value(name = "float")]
    Float,
}

/// How a file of a result is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// Its end decides the format: `png`, `tif`, `tiff` or `npy`.
    pub(crate) path: PathBuf,
    pub(crate) depth: Depth,
    units: Units,
    /// The stored value that a file of integers has for its largest number; `None` where numbers are stored values themselves.
    white: Option<[f64; 2]>,
}

impl Written {
    /// A result at `path` in the units of a measured image, with its type unless `depth` is given.
    ///
    /// # Errors
    /// Where the end of the name is not known, or the format does not have that type.
    pub(crate) fn like(
        path: &Path,
        units: &Units,
        stored: Stored,
        depth: Option<Depth>,
    ) -> Result<Self, Fault> {
        let own = match stored.bits {
            1..=8 => Depth::Eight,
            16 => Depth::Sixteen,
            _ => Depth::Float,
        };
        let depth = match (end(path).as_str(), depth) {
            ("png", Some(Depth::Float)) => {
                return Err(usage(format!("{}: PNG has no floats; write a .tif or .npy", path.display())));
            }
            ("png", None) if own == Depth::Float => Depth::Sixteen,
            ("npy", Some(Depth::Eight | Depth::Sixteen)) => {
                return Err(usage(format!(
                    "{}: .npy is written as floats; write a .tif or .png",
                    path.display()
                )));
            }
            ("npy", _) => Depth::Float,
            ("png" | "tif" | "tiff", chosen) => chosen.unwrap_or(own),
            (other, _) => {
                let got = if other.is_empty() { "no end".to_owned() } else { format!(".{other}") };
                return Err(usage(format!(
                    "{}: {got}, and results are written as .png, .tif or .npy; change the end of its name",
                    path.display()
                )));
            }
        };
        // Integers keep their units where they are as wide as those of the input; others run over the range of values.
        let same = depth == own && stored.unit > 1.0;
        let white = (depth != Depth::Float).then_some(if same {
            [0.0, stored.unit]
        } else {
            [units.low, units.high]
        });
        Ok(Self { path: path.to_owned(), depth, units: units.clone(), white })
    }

    /// For readers.
    pub(crate) fn line(&self) -> String {
        let format = match end(&self.path).as_str() {
            "png" => "PNG",
            "npy" => "npy",
            _ => "TIFF",
        };
        let what = match self.depth {
            Depth::Eight => format!("8-bit {format}"),
            Depth::Sixteen => format!("16-bit {format}"),
            Depth::Float => format!("float32 {format}"),
        };
        let units = match self.white {
            Some([low, high]) if (low, high) != (0.0, largest(self.depth)) => {
                format!("0 is {}, {} is {}", short(low), largest(self.depth), short(high))
            }
            _ => "in the units of the observation".to_owned(),
        };
        format!("{} ({what}, {units})", self.path.display())
    }

    /// Writes an image whose values are 0 and 1 at the ends of the units: as a whole or not at all. Returns the share of values
    /// that integers had to cut.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Shape`].
    pub(crate) fn write(&self, image: &Tensor) -> Result<f64> {
        let Units { low, high, .. } = self.units;
        let stored = image.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double)? * (high - low) + low;
        let volume = image.dim() == 5;
        let Some([black, white]) = self.white else {
            let values = stored.f_to_kind(Kind::Float)?;
            match (end(&self.path).as_str(), volume) {
                ("npy", _) => npy_file::save(&self.path, &values.f_reshape(&image.size()[2..])?)?,
                (_, false) => image_file::save_tiff_f32(&self.path, &values)?,
                (_, true) => return Err(Error::value("volume to save", "a file .npy", self.path.display())),
            }
            return Ok(0.0);
        };
        if volume {
            return Err(Error::value("volume to save", "a file .npy", self.path.display()));
        }
        let scaled = (stored - black) / (white - black);
        let half = 0.5 / largest(self.depth);
        let cut = scaled.f_lt(-half)?.f_logical_or(&scaled.f_gt(1.0 + half)?)?;
        let cut = cut.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.double_value(&[]);
        match (end(&self.path).as_str(), self.depth) {
            ("png", Depth::Eight) => image_file::save_png8(&self.path, &scaled)?,
            ("png", _) => image_file::save_png16(&self.path, &scaled)?,
            (_, Depth::Eight) => image_file::save_tiff8(&self.path, &scaled)?,
            (_, _) => image_file::save_tiff16(&self.path, &scaled)?,
        }
        Ok(cut)
    }
}

/// The largest number of integers.
fn largest(depth: Depth) -> f64 {
    match depth {
        Depth::Eight => 255.0,
        Depth::Sixteen => 65535.0,
        Depth::Float => 1.0,
    }
}

/// Whether results can be written there: nothing is overwritten unless it may be, and the folder takes files.
///
/// # Errors
/// [`Error::Content`] for a file that is there, [`Error::File`] where none can be written.
pub(crate) fn check_writable(path: &Path, force: bool) -> Result<()> {
    if path.is_dir() {
        return Err(Error::content(path, "is a folder", "name a file"));
    }
    if path.exists() && !force {
        return Err(Error::content(
            path,
            "is there already",
            "name another file, or overwrite it with --force",
        ));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, "writing", e))?;
    tempfile::tempfile_in(folder).map(drop).map_err(|e| Error::file(path, "writing", e))
}
