//! Where images come from: a folder of measured data, or the built-in synthetic set.

use smalti_base::{Error, Result, Seed, ValueRange, files, image_file};
use smalti_methods::synthetic::microstructure;
use smalti_methods::{Instrument, Role};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// The seed of the synthetic set. It is a data set like any other: the seed of a run does not change it.
pub(crate) const SYNTHETIC_SEED: u64 = 1;

/// Rows and columns of a synthetic image: those of the slices that it stands for.
const SYNTHETIC_SIZE: i64 = 600;

/// How many synthetic images a pattern stands for where no number is asked for.
const SYNTHETIC_IMAGES: usize = 10;

/// How a data folder was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// By the option `--data`.
    Option,
    /// By the environment variable `SMALTI_DATA`.
    Environment,
    /// It is `data/` of the repository, which `cargo xtask fetch-data` fills.
    Repository,
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// Image files in a folder.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// How it was named.
        named_by: NamedBy,
    },
    /// The built-in synthetic set.
    Synthetic,
    /// Built-in synthetic volumes, of which there are no others.
    SyntheticVolumes,
    /// No images: everything is drawn from what the text names.
    Drawn(&'static str),
}

impl DataSource {
    /// The first of: the folder `option`, the folder `environment` (the value of `SMALTI_DATA`), `data/` in the
    /// folder `repository`, the synthetic set.
    ///
    /// A folder that somebody named must hold all `files` (names or patterns with one `*`) and enough images for all `sets`
    /// (patterns, and how many are taken); `data/` is passed over where it holds none of them.
    ///
    /// # Errors
    /// [`Error::Content`] naming the first file that is missing.
    pub fn find(
        option: Option<&Path>,
        environment: Option<&Path>,
        repository: &Path,
        files: &[String],
        sets: &[(&[String], Option<usize>)],
    ) -> Result<Self> {
        let (source, named_by) = Self::named(option, environment, repository);
        let there = |file: &String| source.matches(file).is_ok_and(|m| !m.is_empty());
        let mut wanted = files.iter().chain(sets.iter().flat_map(|(patterns, _)| *patterns));
        if named_by == NamedBy::Repository && !wanted.any(there) {
            return Ok(Self::Synthetic);
        }
        source.names(files, None)?;
        for (patterns, take) in sets {
            source.names(patterns, *take)?;
        }
        Ok(source)
    }

    /// The folder that takes precedence, whether it is there or not.
    fn named(option: Option<&Path>, environment: Option<&Path>, repository: &Path) -> (Self, NamedBy) {
        let (folder, named_by) = match (option, environment) {
            (Some(folder), _) => (folder.to_owned(), NamedBy::Option),
            (None, Some(folder)) => (folder.to_owned(), NamedBy::Environment),
            (None, None) => (repository.join("data"), NamedBy::Repository),
        };
        (Self::Folder { folder, named_by }, named_by)
    }

    /// The folder of the files; `None` where the data are synthetic.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder { folder, .. } => Some(folder),
            Self::Synthetic | Self::SyntheticVolumes | Self::Drawn(_) => None,
        }
    }

    /// Where the file `name` lies; `None` where the data are synthetic.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder()?.join(name))
    }

    /// One sentence that says which data these are: the first line of a report.
    pub fn sentence(&self) -> String {
        match self {
            Self::Folder { folder, named_by } => {
                let how = match named_by {
                    NamedBy::Option => "given with --data",
                    NamedBy::Environment => "given with SMALTI_DATA",
                    NamedBy::Repository => "the data folder of the repository",
                };
                format!("Data: the files in {} ({how}).", folder.display())
            }
            Self::Synthetic => {
                "Data: the built-in synthetic microstructures, because no data files were found; \
                 compare these figures with each other, not with the published ones."
                    .to_owned()
            }
            Self::SyntheticVolumes => {
                "Data: built-in synthetic microstructure volumes; nothing was measured.".to_owned()
            }
            Self::Drawn(what) => format!("Data: {what}."),
        }
    }

    /// Which images `names` (at least one) are, for the column `data` of a table: up to four names, else the first
    /// two and the last, and `(synthetic)` where they are.
    pub fn label(&self, names: &[String]) -> String {
        let synthetic = match self {
            Self::Folder { .. } => "",
            Self::Synthetic => " (synthetic)",
            Self::SyntheticVolumes => " (synthetic volume)",
            Self::Drawn(_) => " (drawn)",
        };
        let file = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        match names {
            [] => String::new(),
            [first, others @ ..] if others.len() < 4 => {
                let others: String = others.iter().map(|name| format!(" + {}", file(name))).collect();
                format!("{first}{others}{synthetic}")
            }
            [first, others @ ..] => {
                let [second, .., last] = others else { return first.clone() };
                format!("{first}, {}, ..., {}{synthetic}", file(second), file(last))
            }
        }
    }

    /// The names of the images that match `patterns` (each a name or a name with one `*`), pattern by pattern
    /// and in natural order within (`img2` before `img10`): the first `take` of them, or all.
    ///
    /// Where the data are synthetic, `sic/testset/img*.png` stands for `synthetic/testset/img1`,
    /// `synthetic/testset/img2` and so on.
    ///
    /// # Errors
    /// [`Error::Content`] where a pattern matches nothing or there are fewer than `take`.
    pub fn names(&self, patterns: &[String], take: Option<usize>) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for pattern in patterns {
            let wanted = take.map(|n| n.saturating_sub(names.len()));
            let found = match self {
                Self::Folder { folder, .. } => {
                    let found = self.matches(pattern)?;
                    if found.is_empty() && wanted != Some(0) {
                        return Err(self.missing(&folder.join(pattern), "there is no such file".into()));
                    }
                    found
                }
                Self::Synthetic => synthetic_names(pattern, wanted.unwrap_or(SYNTHETIC_IMAGES)),
                Self::SyntheticVolumes | Self::Drawn(_) => vec![pattern.clone()],
            };
            names.extend(found);
        }
        match (self, take) {
            (Self::Folder { folder, .. }, Some(n)) if names.len() < n => {
                let problem = format!("{n} images are needed, {} are there", names.len());
                Err(self.missing(&folder.join(patterns.join(" ")), problem))
            }
            (_, Some(n)) => {
                names.truncate(n);
                Ok(names)
            }
            (_, None) => Ok(names),
        }
    }

    /// The image `name` (from [`DataSource::names`], or a plain name of the experiment), files in the range of values `values`:
    /// `[1, 1, H, W]`, float32, on the CPU.
    ///
    /// # Errors
    /// Those of [`image_file::load_gray_in`].
    pub fn load(&self, name: &str, values: ValueRange) -> Result<Tensor> {
        match self {
            Self::Folder { folder, .. } => image_file::load_gray_in(&folder.join(name), values),
            Self::Synthetic => microstructure(SYNTHETIC_SIZE, SYNTHETIC_SIZE, self.seed(name), 0),
            Self::SyntheticVolumes => Err(Error::value(name, "an image", "a synthetic volume")),
            Self::Drawn(what) => Err(Error::value(name, "an image", what)),
        }
    }

    /// The image `name` as [`DataSource::load`] reads it or, where the data are synthetic, one such as `instrument` looks at.
    ///
    /// # Errors
    /// Those of [`image_file::load_gray_in`], or of drawing.
    pub fn image(
        &self,
        name: &str,
        values: ValueRange,
        role: Role,
        instrument: &dyn Instrument,
    ) -> Result<Tensor> {
        match self {
            Self::Folder { .. } => self.load(name, values),
            _ => instrument.phantom(role, self.seed(name), 0),
        }
    }

    /// The seed of the synthetic image that `name` stands for.
    pub(crate) fn seed(&self, name: &str) -> Seed {
        let name = if *self == Self::SyntheticVolumes { name.to_owned() } else { synthetic_name(name) };
        Seed::new(SYNTHETIC_SEED).derive(&name, 0)
    }

    /// The files of the folder that match `pattern`, in natural order.
    fn matches(&self, pattern: &str) -> Result<Vec<String>> {
        let Self::Folder { folder, .. } = self else {
            return Ok(Vec::new());
        };
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(Vec::from_iter(folder.join(pattern).is_file().then(|| pattern.to_owned())));
        };
        let (within, start) = before.rsplit_once('/').unwrap_or(("", before));
        let entries = match std::fs::read_dir(folder.join(within)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file(&folder.join(within), "reading", e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::file(&folder.join(within), "reading", e))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Such as ._image.png of macOS.
            if files::is_hidden(Path::new(&name)) && !start.starts_with('.') {
                continue;
            }
            let fits =
                name.len() >= start.len() + after.len() && name.starts_with(start) && name.ends_with(after);
            if fits && entry.path().is_file() {
                found.push(if within.is_empty() { name } else { format!("{within}/{name}") });
            }
        }
        found.sort_by(|a, b| natural(a, b));
        Ok(found)
    }

    fn missing(&self, path: &Path, problem: String) -> Error {
        let remedy = match self {
            Self::Folder { named_by: NamedBy::Option, .. } => {
                "name another folder with --data, or leave it out"
            }
            Self::Folder { named_by: NamedBy::Environment, .. } => {
                "set SMALTI_DATA to another folder, or unset it"
            }
            _ => "run `cargo xtask fetch-data`",
        };
        Error::content(path, problem, remedy)
    }
}

/// The synthetic twins of the images that `pattern` matches.
fn synthetic_names(pattern: &str, number: usize) -> Vec<String> {
    let name = synthetic_name(pattern);
    match name.split_once('*') {
        None => vec![name],
        Some((before, after)) => (1..=number).map(|i| format!("{before}{i}{after}")).collect(),
    }
}

/// `sic/ref.png` becomes `synthetic/ref`; a name that is synthetic already stays.
fn synthetic_name(name: &str) -> String {
    let role = name.split_once('/').map_or(name, |(_, role)| role);
    let role = role.rsplit_once('.').map_or(role, |(role, _)| role);
    format!("synthetic/{role}")
}

/// Natural order: runs of digits compare as numbers, everything else letter by letter.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (m, n) = (digits(left), digits(right));
        let order = if m > 0 && n > 0 {
            let (x, y) = (left[..m].trim_start_matches('0'), right[..n].trim_start_matches('0'));
            (left, right) = (&left[m..], &right[n..]);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            let (mut p, mut q) = (left.chars(), right.chars());
            let order = match (p.next(), q.next()) {
                (None, None) => return a.cmp(b),
                (x, y) => x.cmp(&y),
            };
            (left, right) = (p.as_str(), q.as_str());
            order
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = ["img10.png", "img2.png", "img1.png", "img02.png", "a", "img", "img2b.png"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "img", "img1.png", "img02.png", "img2.png", "img2b.png", "img10.png"]);
    }

    #[test]
    fn synthetic_twins_keep_role_and_number() {
        let source = DataSource::Synthetic;
        let names = source.names(&["sic/testset/img*.png".into(), "sic/test.png".into()], None).unwrap();
        assert_eq!(names.len(), SYNTHETIC_IMAGES + 1);
        assert_eq!(names[1], "synthetic/testset/img2");
        assert_eq!(names[SYNTHETIC_IMAGES], "synthetic/test");
        let three = source.names(&["sic/testset/img*.png".into()], Some(3)).unwrap();
        assert_eq!(source.label(&three), "synthetic/testset/img1 + img2 + img3 (synthetic)");
        // The name in the file and the name in the table are one image; another role is another image.
        let image = |name: &str| source.load(name, ValueRange::ByType).unwrap();
        assert_eq!(image("sic/ref.png"), image("synthetic/ref"));
        assert_ne!(image("sic/ref.png"), image("sic/val.png"));
    }
}
