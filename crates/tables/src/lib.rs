//! Reads experiments, runs them, and writes tables and reports.
//!
//! An experiment file (`experiments/*.toml`) describes one table: images, operator, published figures, and three
//! profiles of increasing work. The file is checked as a whole before anything runs; a fault in it is shown with
//! line and caret. A run collects rows, images and the training curve in an [`outcome::ExperimentOutcome`], from which the
//! table (terminal, Markdown, CSV) and a self-contained HTML report are written; results appear whole or not at
//! all, from one process at a time, and a run that is ended early goes on from where it was. Where no measured images are found, a built-in synthetic set stands in, and every output says so first.
//!
//! ```
//! use smalti_tables::outcome::{Figure, Figures, TableRow};
//! use smalti_tables::table;
//! let ours = Figures { psnr: Figure::over(&[25.0, 26.0]), ..Figures::default() };
//! let row = TableRow {
//!     method: "bicubic".into(),
//!     title: "bicubic".into(),
//!     images: 2,
//!     ours,
//!     seconds_mean: Some(0.01),
//!     published: Figures::default(),
//!     distance: None,
//!     data: "sic/testset/img1.png to img2.png".into(),
//!     note: String::new(),
//! };
//! let csv = table::csv(&[row]);
//! assert!(csv.starts_with(table::CSV_HEADER));
//! assert!(csv.contains("bicubic,2,25.5000,0.5000"));
//! ```
//!
//! Reading order: [`experiment`] (the file and its checks), [`catalogue`], [`data`], [`options`], [`run`], [`evaluate`] (what most tables
//! are made by), [`sweep`], [`mixture`], [`scatterometry`], [`outcome`], [`table`], [`report`], [`png`],
//! [`publish`], [`signals`], [`logging`], [`streams`].

mod calibration_plot;
pub mod catalogue;
pub mod data;
mod distances;
pub mod evaluate;
pub mod experiment;
pub mod logging;
pub mod mixture;
pub mod options;
pub mod outcome;
pub mod plan;
pub mod png;
pub mod publish;
mod recorded;
pub mod report;
pub mod run;
pub mod scatterometry;
pub mod signals;
pub mod streams;
pub mod summary;
pub mod sweep;
pub mod table;
