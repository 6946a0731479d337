//! The report of a run: one HTML page that holds everything it shows, and the same images as files.

mod curve;
mod pictures;
mod plot;
mod strip;

use crate::data::DataSource;
use crate::options::RunOptions;
use crate::outcome::{ExperimentOutcome, Figures, Plot, ReportImage};
use crate::png::{Picture, data_uri};
use crate::publish::Results;
use crate::table::{TableCells, notes};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use pictures::{COLOURS, Region, error_map, error_scale, inset, observed};
use smalti_base::{Error, Result};
use tch::Device;

const TEMPLATE: &str = include_str!("report/report.html");

/// What was run, and how.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The title.
    pub title: &'a str,
    /// The data.
    pub data: &'a DataSource,
    /// Where published figures come from.
    pub sources: Vec<String>,
    /// What a reader must know to compare these figures with others.
    pub protocol: Vec<(&'static str, String)>,
    /// The settings of the methods as they stand in the experiment file.
    pub settings: String,
}

/// Adds `report.html` and `images/` to the results.
///
/// # Errors
/// [`Error::Shape`] where a shown image is not `[1, 1, H, W]` or smaller than the crop; [`Error::File`].
pub fn add(results: &Results, facts: &Facts<'_>, outcome: &ExperimentOutcome) -> Result<()> {
    let scale = error_scale(&outcome.shown)?;
    let mut images = Vec::new();
    for shown in &outcome.shown {
        images.push(image(results, shown, scale)?);
    }
    let curve = outcome.curve.as_ref().map(curve::draw).transpose()?.flatten();
    let plots = outcome.plots.iter().map(drawn).collect::<Result<Vec<_>>>()?;
    let stops: Vec<String> = COLOURS.iter().map(|[r, g, b]| format!("rgb({r},{g},{b})")).collect();
    let comparable = outcome.rows.iter().any(|row| row.published != Figures::default());
    let page = context! {
        title => facts.title,
        data_sentence => facts.data.sentence(),
        columns => columns(outcome),
        groups => groups(outcome),
        notes => notes(&outcome.rows),
        protocol => &facts.protocol,
        sources => if comparable { facts.sources.clone() } else { Vec::new() },
        settings => facts.settings.as_str(),
        images,
        curve => curve.map(Value::from_safe_string),
        plots,
        scale => format!("{scale:.2}"),
        stops,
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let page = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map(|syntax| environment.set_syntax(syntax))
        .and_then(|()| environment.add_template("report.html", TEMPLATE))
        .and_then(|()| environment.get_template("report.html")?.render(page))
        .map_err(|e| Error::value("report template", "a template that renders", e))?;
    results.add("report.html", page.as_bytes())
}

/// A drawing for the page.
fn drawn(plot: &Plot) -> Result<Value> {
    let svg = plot::draw(plot)?.map(Value::from_safe_string);
    Ok(
        context! { title => plot.title.as_str(), legend => plot.legend.to_vec(), caption => plot.caption.as_str(), svg },
    )
}

/// The versions of a shown image: truth, observation, every result. Writes each picture as a file as well.
fn image(results: &Results, shown: &ReportImage, scale: f64) -> Result<Value> {
    let scored = Region::of(shown.scored);
    let place = inset(&shown.truth, scored)?;
    let folder = format!("images/{}", file_name(&shown.name));
    results.add(&format!("{folder}/side-by-side.png"), &strip::side_by_side(shown, place)?.to_png()?)?;
    let embed = |name: String, picture: &Picture| -> Result<Value> {
        let png = picture.to_png()?;
        results.add(&format!("{folder}/{name}.png"), &png)?;
        Ok(Value::from_safe_string(data_uri(&png)))
    };
    let version = |key: &str, title: &str, figures: String, image: &tch::Tensor, window, error: bool| {
        let picture = Picture::grey(image, window)?;
        let region = match &shown.observation {
            Some((observation, grid)) if key == "observation" => observed(place, observation, *grid)?,
            _ => place,
        };
        let detail = region.cut(&picture);
        // The file is enlarged for viewers; the page enlarges by itself.
        let factor = (336 / detail.width.max(1)).max(1);
        embed(format!("{key}-inset"), &detail.enlarged(factor))?;
        let map = if error { Some(error_map(image, &shown.truth, scale)?) } else { None };
        Ok::<_, Error>(context! {
            title,
            figures,
            overview => embed(key.to_owned(), &picture)?,
            inset => Value::from_safe_string(data_uri(&detail.to_png()?)),
            frame => region.css(picture.height, picture.width),
            error => map.map(|m| embed(format!("{key}-error"), &m)).transpose()?,
            scored => scored.css(picture.height, picture.width),
        })
    };
    let size = |t: &tch::Tensor| format!("{} × {} px", t.size()[2], t.size()[3]);
    let mut versions =
        vec![version("truth", "Ground truth", size(&shown.truth), &shown.truth, shown.window, false)?];
    if let Some((observation, _)) = &shown.observation {
        versions.push(version(
            "observation",
            "Observation",
            size(observation),
            observation,
            shown.window,
            false,
        )?);
    }
    for result in &shown.results {
        let figures = format!("{:.2} dB, SSIM {:.3}", result.psnr, result.ssim);
        versions.push(version(&result.key, &result.title, figures, &result.image, shown.window, true)?);
    }
    for map in &shown.maps {
        versions.push(version(&map.key, &map.title, map.caption.clone(), &map.image, [0.0, 1.0], false)?);
    }
    Ok(context! { name => shown.name.as_str(), versions })
}

/// `sic/test.png` becomes `sic-test`; of `sic/test.png observed with sigma 2.5` all stays.
fn file_name(image: &str) -> String {
    let ending = image.rsplit_once('.').filter(|(_, ending)| ending.starts_with(char::is_alphabetic));
    let name = ending.map_or(image, |(name, _)| name);
    name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

/// The columns of the table: title and alignment; the column of the data becomes a heading.
fn columns(outcome: &ExperimentOutcome) -> Vec<(String, bool)> {
    let grid = TableCells::of(&outcome.rows);
    let numeric: Vec<bool> = (0..grid.titles.len()).map(|i| grid.numeric(i)).collect();
    let last = grid.titles.len().saturating_sub(1);
    grid.titles.into_iter().zip(numeric).take(last).collect()
}

/// The rows of the table under the data that they share.
fn groups(outcome: &ExperimentOutcome) -> Vec<(String, Vec<Vec<String>>)> {
    let mut groups: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for mut row in TableCells::of(&outcome.rows).rows {
        let data = row.pop().unwrap_or_default();
        match groups.last_mut() {
            Some((title, rows)) if *title == data => rows.push(row),
            _ => groups.push((data, vec![row])),
        }
    }
    groups
}

/// What a reader must know about every run.
pub(crate) fn how(options: &RunOptions) -> [(&'static str, String); 4] {
    let device = match options.device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(n) => format!("cuda:{n}"),
        other => format!("{other:?}"),
    };
    [
        ("Seed", options.seed.value().to_string()),
        ("Device", format!("{device}; threads: {}", options.threads)),
        ("Version", format!("smalti-tables {}", env!("CARGO_PKG_VERSION"))),
        ("Command", options.command_line.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn images_that_differ_have_files_that_differ() {
        assert_eq!(file_name("sic/test.png"), "sic-test");
        let observed = |sigma: &str| file_name(&format!("sic/test.png observed with sigma {sigma}"));
        assert_ne!(observed("2.0"), observed("2.5"));
        assert_ne!(file_name("a: sic/test.png"), file_name("b: sic/test.png"));
    }
}
