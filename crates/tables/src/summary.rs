//! The page of all results: `OUT/index.html`, with every published figure beside ours.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, files};
use std::path::{Path, PathBuf};

const TEMPLATE: &str = include_str!("summary.html");

/// What stands in every page that is ours, and may be replaced.
const MARK: &str = r#"<meta name="generator" content="smalti-tables">"#;

/// What `run.toml` says that the page shows.
#[derive(Debug, Deserialize, Serialize)]
struct Made {
    experiment: String,
    #[serde(default)]
    title: String,
    profile: String,
    seed: u64,
    command: String,
    processor: String,
    threads: usize,
}

/// What `table.csv` says that the page shows.
#[derive(Debug, Deserialize)]
struct Line {
    method: String,
    images: u64,
    psnr_mean: Option<f64>,
    ssim_mean: Option<f64>,
    lpips_mean: Option<f64>,
    published_psnr: Option<f64>,
    published_ssim: Option<f64>,
    published_lpips: Option<f64>,
    data: String,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Serialize)]
struct Row {
    method: String,
    images: u64,
    data: String,
    note: String,
    /// PSNR, SSIM, LPIPS: ours, published, the difference.
    figures: Vec<[String; 3]>,
}

#[derive(Debug, Serialize)]
struct Table {
    made: Made,
    /// The folder, seen from the page.
    folder: String,
    /// Empty for an experiment without images, whose figures are distances.
    rows: Vec<Row>,
}

/// Writes `index.html` into `out`, the folder of results: the tables of all experiments in `out/NAME/PROFILE`, linked to their reports.
/// Differences are ours less the published figure. Folders whose results cannot be read are passed over with a warning.
///
/// # Errors
/// [`Error::File`] where the folder cannot be read or the page not be written; [`Error::Content`] where there is an `index.html` of
/// others, which stays.
pub fn write(out: &Path) -> Result<()> {
    let index = out.join("index.html");
    if index.exists() && !String::from_utf8_lossy(&files::read(&index)?).contains(MARK) {
        let remedy = "move it, or choose another folder with --out, for a summary of all tables";
        return Err(Error::content(&index, "is no page of this program, and stays as it is", remedy));
    }
    let mut tables = Vec::new();
    for experiment in folders(out)? {
        let profiles = folders(&experiment).unwrap_or_else(|e| {
            tracing::warn!("not in index.html: {e}");
            Vec::new()
        });
        for profile in profiles {
            if !(profile.join("run.toml").is_file() && profile.join("table.csv").is_file()) {
                continue;
            }
            match table(out, &profile) {
                Ok(table) => tables.push(table),
                Err(e) => tracing::warn!("not in index.html: {e}"),
            }
        }
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let page = environment
        .add_template("index.html", TEMPLATE)
        .and_then(|()| {
            environment.get_template("index.html")?.render(context! { tables => Value::from(Serde(&tables)) })
        })
        .map_err(|e| Error::value("summary template", "a template that renders", e))?;
    files::write_atomically(&index, page.as_bytes())
}

/// The visible folders in `folder`, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::file(folder, "reading", e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let visible = path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        if visible && path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn table(out: &Path, folder: &Path) -> Result<Table> {
    let (run, csv) = (folder.join("run.toml"), folder.join("table.csv"));
    let remedy = "run the experiment again";
    let text = String::from_utf8_lossy(&files::read(&run)?).into_owned();
    let made: Made = toml::from_str(&text).map_err(|e| Error::content(&run, e.message(), remedy))?;
    let has_images = !folder.join("distances.csv").is_file();
    let bytes = if has_images { files::read(&csv)? } else { Vec::new() };
    let mut rows = Vec::new();
    for line in csv::Reader::from_reader(&bytes[..]).deserialize() {
        let line: Line = line.map_err(|e| Error::content(&csv, e.to_string(), remedy))?;
        let pairs = [
            (line.psnr_mean, line.published_psnr, 2),
            (line.ssim_mean, line.published_ssim, 3),
            (line.lpips_mean, line.published_lpips, 3),
        ];
        let figures = pairs.map(|(ours, published, decimals)| {
            let plain = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{v:.decimals$}"));
            let difference =
                ours.zip(published).map(|(ours, published)| format!("{:+.decimals$}", ours - published));
            let ours = if line.psnr_mean.is_none() { "–".to_owned() } else { plain(ours) };
            [ours, plain(published), difference.unwrap_or_default()]
        });
        let Line { method, images, data, note, .. } = line;
        rows.push(Row { method, images, data, note, figures: figures.into() });
    }
    let parts = folder.strip_prefix(out).unwrap_or(folder).components();
    let names: Vec<String> = parts.map(|part| percent_encoded(part.as_os_str().as_encoded_bytes())).collect();
    Ok(Table { made, folder: names.join("/"), rows })
}

/// A name within an address: all bytes but letters, digits, `-`, `_` and `.` as `%XX`.
fn percent_encoded(name: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_linked_with_the_difference_to_published_figures() {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("my table/quick");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(out.path().join(".hidden/quick")).unwrap();
        std::fs::create_dir_all(out.path().join("other/smoke")).unwrap();
        let made = "experiment = 'my table'\ntitle = 'A < B'\nprofile = 'quick'\nseed = 1\ncommand = 'c'\nprocessor = 'p'\nthreads = 2\n";
        std::fs::write(folder.join("run.toml"), made).unwrap();
        let lines = "patchnr,10,28.2800,0.5,0.78000,,0.16000,,5.0,28.53,0.780,0.159,slices,\"a, b\"\ndpir,10,,,,,,,,27.78,,,slices,why not\n";
        std::fs::write(folder.join("table.csv"), format!("{}\n{lines}", crate::table::CSV_HEADER)).unwrap();
        std::fs::write(out.path().join("other/smoke/run.toml"), "seed = 'x'").unwrap();
        std::fs::write(out.path().join("other/smoke/table.csv"), "").unwrap();
        write(out.path()).unwrap();
        let page = std::fs::read_to_string(out.path().join("index.html")).unwrap();
        for expected in
            ["my%20table/quick/report.html", "A &lt; B", "-0.25", "+0.001", "a, b", "why not", "–"]
        {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert_eq!(page.matches("<table").count(), 1);
        // Experiments without images are linked only.
        std::fs::write(folder.join("distances.csv"), "").unwrap();
        write(out.path()).unwrap();
        let page = std::fs::read_to_string(out.path().join("index.html")).unwrap();
        assert!(page.contains("my%20table/quick/report.html") && !page.contains("<table"), "{page}");
    }

    #[test]
    fn a_page_of_others_stays() {
        let out = tempfile::tempdir().unwrap();
        std::fs::write(out.path().join("index.html"), "mine").unwrap();
        let error = write(out.path()).unwrap_err().to_string();
        assert!(error.contains("index.html") && error.contains("stays as it is"), "{error}");
        assert_eq!(std::fs::read_to_string(out.path().join("index.html")).unwrap(), "mine");
    }
}
