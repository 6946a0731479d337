//! The table of an experiment: for the terminal, as Markdown and as CSV.

use crate::outcome::{Distance, Figure, TableRow};

/// The header of `table.csv`.
pub const CSV_HEADER: &str = "method,images,psnr_mean,psnr_std,ssim_mean,ssim_std,lpips_mean,lpips_std,\
seconds_mean,published_psnr,published_ssim,published_lpips,data,note";

/// Columns that only appear where a row fills them are dropped, but never these first ones.
const ALWAYS: usize = 4;

const TITLES: [&str; 10] = [
    "method",
    "images",
    "PSNR [dB]",
    "SSIM",
    "LPIPS",
    "s / image",
    "published PSNR",
    "published SSIM",
    "published LPIPS",
    "data",
];

/// The rows as CSV (RFC 4180, lines end with `\n`) under [`CSV_HEADER`].
///
/// PSNR with 4 decimals, SSIM and LPIPS with 5, seconds with 3; published figures as their means. A field is
/// empty where there is nothing to say, or no finite number.
pub fn csv(rows: &[TableRow]) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for row in rows {
        let mut fields = vec![row.method.clone(), row.images.to_string()];
        for (figure, decimals) in [(row.ours.psnr, 4), (row.ours.ssim, 5), (row.ours.lpips, 5)] {
            fields.push(number(figure.map(|f| f.mean), decimals));
            fields.push(number(figure.and_then(|f| f.std), decimals));
        }
        fields.push(number(row.seconds_mean, 3));
        for (figure, decimals) in [(row.published.psnr, 2), (row.published.ssim, 3), (row.published.lpips, 3)]
        {
            fields.push(number(figure.map(|f| f.mean), decimals));
        }
        fields.extend([row.data.clone(), row.note.clone()]);
        text.push_str(&line_of_csv(&fields));
    }
    text
}

/// The rows that have a distance as CSV, where there are some: `distances.csv`.
///
/// The header is `method,problems,observations,samples,M_mean,M_std`, `M` being [`crate::outcome::DistanceKind::key`]; figures have 5
/// decimals, and are empty where the method could not run.
pub fn distances_csv(rows: &[TableRow]) -> Option<String> {
    let all: Vec<(&TableRow, Distance)> = rows.iter().filter_map(|row| Some((row, row.distance?))).collect();
    let key = all.first()?.1.measure.key();
    let mut text = format!("method,problems,observations,samples,{key}_mean,{key}_std\n");
    for (row, Distance { figure, problems, observations, samples, .. }) in all {
        let mut fields = vec![row.method.clone()];
        fields.extend([problems.to_string(), observations.to_string(), samples.to_string()]);
        fields.extend([number(figure.map(|f| f.mean), 5), number(figure.and_then(|f| f.std), 5)]);
        text.push_str(&line_of_csv(&fields));
    }
    Some(text)
}

fn line_of_csv(fields: &[String]) -> String {
    let quoted: Vec<String> = fields.iter().map(|f| quoted(f)).collect();
    format!("{}\n", quoted.join(","))
}

/// The rows as a Markdown table, with the notes as a list below it.
pub fn markdown(rows: &[TableRow]) -> String {
    let escape = |cell: &str| cell.replace('|', "\\|").replace('\n', " ");
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| escape(c)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let grid = TableCells::of(rows);
    let mut text = line(&grid.titles);
    let rule = |i: usize| if grid.numeric(i) { "---:" } else { "---" }.to_owned();
    text.push_str(&line(&(0..grid.titles.len()).map(rule).collect::<Vec<_>>()));
    for cells in &grid.rows {
        text.push_str(&line(cells));
    }
    for (i, note) in notes(rows).iter().enumerate() {
        let gap = if i == 0 { "\n" } else { "" };
        text.push_str(&format!("{gap}- {}\n", note.replace('\n', " ")));
    }
    text
}

/// The rows as a table for the terminal, with the notes below it.
pub fn terminal(rows: &[TableRow]) -> String {
    let grid = TableCells::of(rows);
    let width = |i: usize| {
        let cells = grid.rows.iter().map(|r| &r[i]).chain([&grid.titles[i]]);
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..grid.titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let pad = |(i, cell): (usize, &String)| match grid.numeric(i) {
            true => format!("{cell:>0$}", widths[i]),
            false => format!("{cell:<0$}", widths[i]),
        };
        let cells: Vec<String> = cells.iter().enumerate().map(pad).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&grid.titles);
    text.push_str(&format!("{}\n", "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1))));
    for cells in &grid.rows {
        text.push_str(&line(cells));
    }
    for note in notes(rows) {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// A row of an experiment with images as one line, as soon as it is known.
pub fn line(row: &TableRow) -> String {
    let TableRow { title, images, ours, .. } = row;
    let over = if *images == 1 { row.data.clone() } else { format!("{images} images") };
    let lpips = ours.lpips.map_or_else(String::new, |_| format!(", LPIPS {}", figure(ours.lpips, 3)));
    format!("{title}, {over}: PSNR {} dB, SSIM {}{lpips}", figure(ours.psnr, 2), figure(ours.ssim, 3))
}

/// The cells that readers see; columns that no row fills are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCells {
    /// The titles of the columns.
    pub titles: Vec<String>,
    /// The cells, row by row, each as long as `titles`.
    pub rows: Vec<Vec<String>>,
}

impl TableCells {
    /// The grid of `rows`: PSNR with 2 decimals, SSIM and LPIPS with 3, each `mean ± std`; in an experiment without images the
    /// distances, with 4.
    pub fn of(rows: &[TableRow]) -> Self {
        if let Some(grid) = Self::of_distances(rows) {
            return grid;
        }
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let kept: Vec<usize> =
            (0..TITLES.len()).filter(|&i| i < ALWAYS || cells.iter().any(|row| !row[i].is_empty())).collect();
        Self {
            titles: kept.iter().map(|&i| TITLES[i].to_owned()).collect(),
            rows: cells.iter().map(|row| kept.iter().map(|&i| row[i].clone()).collect()).collect(),
        }
    }

    /// The grid of rows that all have a distance.
    fn of_distances(rows: &[TableRow]) -> Option<Self> {
        let cells = |row: &TableRow| {
            let Distance { figure: f, problems, observations, samples, .. } = row.distance?;
            let f = f.map_or_else(|| "–".to_owned(), |f| figure(Some(f), 4));
            let counts = [problems.to_string(), observations.to_string(), samples.to_string()];
            let [problems, observations, samples] = counts;
            Some(vec![row.title.clone(), problems, observations, samples, f, row.data.clone()])
        };
        let measure = rows.first()?.distance?.measure;
        let titles = ["method", "problems", "observations", "samples", measure.title(), "data"];
        Some(Self {
            titles: titles.map(str::to_owned).into(),
            rows: rows.iter().map(cells).collect::<Option<_>>()?,
        })
    }

    /// Whether column `i` holds numbers, which are aligned on the right.
    pub fn numeric(&self, i: usize) -> bool {
        !matches!(self.titles.get(i).map(String::as_str), Some("method" | "data"))
    }
}

/// What a reader must know about single rows: `method: note`, each once.
pub fn notes(rows: &[TableRow]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for row in rows.iter().filter(|r| !r.note.is_empty()) {
        let note = format!("{}: {}", row.title.clone(), row.note);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn cells(row: &TableRow) -> Vec<String> {
    let seconds = match row.seconds_mean.filter(|s| s.is_finite()) {
        Some(s) if s < 0.1 => format!("{s:.3}"),
        Some(s) => format!("{s:.1}"),
        None => String::new(),
    };
    vec![
        row.title.clone(),
        row.images.to_string(),
        figure(row.ours.psnr, 2),
        figure(row.ours.ssim, 3),
        figure(row.ours.lpips, 3),
        seconds,
        figure(row.published.psnr, 2),
        figure(row.published.ssim, 3),
        figure(row.published.lpips, 3),
        row.data.clone(),
    ]
}

/// `mean ± std`, or what there is of it; a dash in place of what is not finite.
fn figure(figure: Option<Figure>, decimals: usize) -> String {
    let shown = |v: f64| if v.is_finite() { format!("{v:.decimals$}") } else { "–".to_owned() };
    match figure {
        None => String::new(),
        Some(Figure { mean, std: Some(std) }) if mean.is_finite() => {
            format!("{} ± {}", shown(mean), shown(std))
        }
        Some(Figure { mean, .. }) => shown(mean),
    }
}

/// Empty where there is no finite number.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.filter(|v| v.is_finite()).map_or_else(String::new, |v| format!("{v:.decimals$}"))
}

/// A CSV field: in quotes where it holds a comma, a quote or a line break.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}
