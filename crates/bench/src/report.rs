//! The outcome of comparisons as a table and as a CSV file.

use crate::compare::{Outcome, Row};
use smalti_base::{Result, files};
use std::path::Path;

/// The first line of the file.
pub const CSV_HEADER: &str = "name,size,ours_s,peer,peer_s,ratio";

/// The rows as CSV: medians in seconds, `ratio = ours_s / peer_s`; `-` for a peer that did not run, and for the
/// ratio where it computed something else.
pub fn csv(rows: &[Row]) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for row in rows {
        let [ours, peer, ratio] = figures(row);
        text += &format!("{},{},{ours},{},{peer},{ratio}\n", row.name, row.size, row.peer);
    }
    text
}

/// Writes [`csv`] as a whole or not at all.
///
/// # Errors
/// [`smalti_base::Error::File`] where it cannot be written.
pub fn write_csv(rows: &[Row], path: &Path) -> Result<()> {
    files::write_atomically(path, csv(rows).as_bytes())
}

/// The rows for people, with a note on how well the sides agree, or why there is no figure.
pub fn table(rows: &[Row]) -> String {
    let head = ["name", "size", "ours [s]", "peer", "peer [s]", "ratio", "note"].map(String::from);
    let body = rows.iter().map(|row| {
        let [ours, peer, ratio] = figures(row);
        [row.name.into(), row.size.clone(), ours, row.peer.into(), peer, ratio, note(&row.outcome)]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(body).collect();
    // The note is the last column and needs no padding.
    let widths: Vec<usize> =
        (0..6).map(|k| lines.iter().map(|line| line[k].chars().count()).max().unwrap_or(0)).collect();
    let print = |line: &[String; 7]| {
        let padded = line.iter().zip(&widths).enumerate();
        let cells = padded.map(|(k, (cell, &w))| match k {
            2 | 4 | 5 => format!("{cell:>w$}  "),
            _ => format!("{cell:<w$}  "),
        });
        format!("{}{}\n", cells.collect::<String>(), line[6])
    };
    lines.iter().map(print).collect()
}

/// Ours, the peer's, and the ratio.
fn figures(row: &Row) -> [String; 3] {
    let peer = match row.outcome {
        Outcome::Agrees { seconds, .. } | Outcome::Disagrees { seconds, .. } => format!("{seconds:.6}"),
        Outcome::Missing(_) => "-".to_owned(),
    };
    let ratio = row.ratio().map_or("-".to_owned(), |r| format!("{r:.4}"));
    [format!("{:.6}", row.ours), peer, ratio]
}

fn note(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Agrees { deviation, versions, .. } => format!("values agree to {deviation:.2e}; {versions}"),
        Outcome::Disagrees { values, .. } => format!("VALUES DISAGREE: {values}"),
        Outcome::Missing(reason) => format!("not measured: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let outcomes = [
            Outcome::Agrees { seconds: 4.0, deviation: 2e-5, versions: "torch 1".into() },
            Outcome::Disagrees { seconds: 8.0, values: "ours value 1; theirs value 2".into() },
            Outcome::Missing("no python".into()),
        ];
        let row = |outcome| Row { name: "task", size: "10 patches".into(), ours: 1.0, peer: "peer", outcome };
        outcomes.map(row).to_vec()
    }

    #[test]
    fn the_file_holds_ratios_of_what_agrees_only() {
        let lines = [
            "name,size,ours_s,peer,peer_s,ratio",
            "task,10 patches,1.000000,peer,4.000000,0.2500",
            "task,10 patches,1.000000,peer,8.000000,-",
            "task,10 patches,1.000000,peer,-,-",
        ];
        assert_eq!(csv(&rows()).lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn the_table_says_why() {
        let table = table(&rows());
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].ends_with("4.000000  0.2500  values agree to 2.00e-5; torch 1"), "{table}");
        assert!(lines[2].ends_with("-  VALUES DISAGREE: ours value 1; theirs value 2"), "{table}");
        assert!(lines[3].ends_with("-       -  not measured: no python"), "{table}");
    }
}
