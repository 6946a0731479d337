//! `--report`: one self-contained page with results beside what was known before, and all that made them.

use crate::plan::Plan;
use smalti_base::{Result, files};
use smalti_tables::png::{Picture, data_uri};
use std::path::Path;
use tch::Tensor;

const TEMPLATE: &str = include_str!("report.html");

/// A result on the page.
pub(crate) struct Shown {
    pub(crate) title: String,
    /// The simple estimate that the method started from: the observation interpolated, for most problems.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) note: String,
}

impl Shown {
    /// The pictures of a result; `window` are the values that are black and white.
    ///
    /// # Errors
    /// Those of writing PNG.
    pub(crate) fn of(
        title: &str,
        [before, after]: [&Tensor; 2],
        window: [f64; 2],
        note: String,
    ) -> Result<Self> {
        let picture =
            |image: &Tensor| Ok::<_, smalti_base::Error>(data_uri(&Picture::grey(image, window)?.to_png()?));
        Ok(Self { title: title.to_owned(), before: picture(before)?, after: picture(after)?, note })
    }
}

/// Writes the page.
///
/// # Errors
/// [`smalti_base::Error::File`].
pub(crate) fn write(path: &Path, plan: &Plan, shown: &[Shown], command: &str) -> Result<()> {
    let mut results = String::new();
    for (k, Shown { title, before, after, note }) in shown.iter().enumerate() {
        results += &format!(
            "<section><h2>{}</h2><div class=\"pair\" id=\"p{k}\"><img src=\"{after}\" alt=\"result\">\
             <img class=\"top\" src=\"{before}\" alt=\"before\"></div>\
             <label>before <input type=\"range\" min=\"0\" max=\"100\" value=\"50\" \
             oninput=\"document.getElementById('p{k}').style.setProperty('--cut', this.value + '%')\"> after</label><p>{}</p></section>\n",
            escaped(title),
            escaped(note)
        );
    }
    let hashes: String = plan
        .observations
        .iter()
        .chain(&plan.references)
        .chain(&plan.validation)
        .map(|of| format!("<tr><td>{}</td><td><code>{}</code></td></tr>\n", escaped(&of.file), of.sha256))
        .collect();
    let page = TEMPLATE
        .replace("{{results}}", &results)
        .replace("{{plan}}", &escaped(&plan.text(true)))
        .replace("{{hashes}}", &hashes)
        .replace("{{command}}", &escaped(command))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"));
    files::write_atomically(path, page.as_bytes())
}

/// A text within HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
