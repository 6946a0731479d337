//! Image files that a method learns from in place of the run's references.

use smalti_base::{Error, Result, ValueRange, files, image_file};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Endings of image files, as a folder's are taken.
const ENDINGS: [&str; 3] = ["png", "tif", "tiff"];

/// Whether `pattern` stays inside of the data folder and has at most one `*`, in the file name.
///
/// # Errors
/// What is wrong, for readers.
pub(crate) fn plain_pattern(pattern: &str) -> std::result::Result<(), String> {
    let path = pattern.strip_suffix('/').unwrap_or(pattern);
    if path.split('/').any(|part| matches!(part, "" | "..")) {
        return Err(format!("{pattern:?} is not a name inside of the data folder"));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if folder.contains('*') || name.matches('*').count() > 1 {
        return Err(format!("{pattern:?} has a * where none can be: one, in the file name"));
    }
    Ok(())
}

/// Names and images of all files of `folder` that `pattern` stands for: a file, a pattern with one `*` in the file name, or a folder,
/// of which all PNG and TIFF files are taken; in the order of their names.
///
/// # Errors
/// [`Error::Content`] where there are none, [`Error::File`] where a folder cannot be read; those of [`image_file::load_gray_in`].
pub(crate) fn load_references(
    folder: &Path,
    pattern: &str,
    values: ValueRange,
) -> Result<Vec<(String, Tensor)>> {
    let whole = folder.join(pattern);
    let paths = if whole.is_file() {
        vec![whole.clone()]
    } else if whole.is_dir() {
        let image = |name: &str| {
            let ending = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
            ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
        };
        listed(&whole, image)?
    } else if let (Some(within), Some((start, end))) =
        (whole.parent(), pattern.rsplit('/').next().and_then(|name| name.split_once('*')))
    {
        let fits = |name: &str| {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        };
        if within.is_dir() { listed(within, fits)? } else { Vec::new() }
    } else {
        Vec::new()
    };
    if paths.is_empty() {
        let problem = "there are no images to learn from";
        return Err(Error::content(
            &whole,
            problem,
            "name others as references, relative to the data folder",
        ));
    }
    let load = |path: PathBuf| {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        Ok((name, image_file::load_gray_in(&path, values)?))
    };
    paths.into_iter().map(load).collect()
}

/// The files of a folder whose names are wanted, hidden ones left out.
fn listed(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::file(folder, "reading", e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(&wanted) && !files::is_hidden(&path) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns_stand_for_their_images() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("some/slices");
        std::fs::create_dir_all(&within).unwrap();
        std::fs::create_dir(folder.path().join("none")).unwrap();
        for (k, name) in ["b1.png", "a2.png", "a1.png", "._a1.png"].iter().enumerate() {
            let image = Tensor::full([1, 1, 4, 5], 0.25 * k as f64, tch::kind::FLOAT_CPU);
            image_file::save_png8(&within.join(name), &image).unwrap();
        }
        std::fs::write(within.join("notes.txt"), "no image").unwrap();
        let load = |pattern: &str| load_references(folder.path(), pattern, ValueRange::ByType);
        let names =
            |pattern: &str| load(pattern).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let all = ["some/slices/a1.png", "some/slices/a2.png", "some/slices/b1.png"];
        assert_eq!(names("some/slices"), all);
        assert_eq!(names("some/slices/"), all);
        assert_eq!(names("some/slices/*.png"), all);
        assert_eq!(names("some/slices/a*"), all[..2]);
        assert_eq!(names("some/slices/b1.png"), all[2..]);
        let images = load("some/slices").unwrap();
        let value = |k: usize| images[k].1.double_value(&[0, 0, 3, 4]);
        assert!(value(1) < value(0) && value(2) == 0.0 && images[0].1.size() == [1, 1, 4, 5]);
        for empty in ["none", "none/*.png", "some/slices/c*.png", "not there", "not there/*.png"] {
            let line = load(empty).unwrap_err().to_string();
            assert!(line.contains(empty) && line.contains("no images to learn from"), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        assert!(load("some/slices/*.txt").is_err());
    }

    #[test]
    fn patterns_stay_inside_of_the_data_folder() {
        for good in ["slices", "a/slices/", "a/b*.png", "*.png"] {
            assert_eq!(plain_pattern(good), Ok(()), "{good}");
        }
        for bad in ["/etc", "../x", "a//b", "a/../b", "a*/b.png", "a/*b*.png", ""] {
            assert!(plain_pattern(bad).is_err(), "{bad}");
        }
    }
}
