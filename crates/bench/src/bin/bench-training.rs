//! `bench-training`: the validation loss of patchNR over the seconds of its training, ours and PyTorch's.

use clap::Parser;
use smalti_base::device::{prepare_process, threads};
use smalti_base::{Error, Result};
use smalti_bench::children::Children;
use smalti_bench::peer::Host;
use smalti_bench::training_curve::{Plan, images, ours, theirs, write_csv};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains patchNR here and, from the same weights, in PyTorch, one after the other, and writes both validation curves.
///
/// `cargo xtask bench-training` installs the peer and runs this. Give each side the steps that its time allows.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Reference and validation image [default: synthetic ones]
    #[arg(long, value_names = ["REFERENCE", "VALIDATION"], num_args = 2)]
    images: Option<Vec<PathBuf>>,
    /// Our training: steps, patches a step, largest learning rate
    #[arg(long, value_names = ["STEPS", "BATCH", "RATE"], num_args = 3, default_values = ["24000", "256", "3e-3"])]
    ours: Vec<String>,
    /// That of PyTorch
    #[arg(long, value_names = ["STEPS", "BATCH", "RATE"], num_args = 3, default_values = ["36000", "256", "3e-3"])]
    peer: Vec<String>,
    /// File for the curves
    #[arg(long, value_name = "FILE", default_value = "results/training_curve.csv")]
    out: PathBuf,
    /// Python with FrEIA and torch
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    prepare_process(None);
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, Error::Cancelled { .. }) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn plan(what: &str, words: &[String]) -> Result<Plan> {
    let wrong = || Error::value(what, "a number of steps (at least 20), a batch and a rate", words.join(" "));
    let [steps, batch, rate] = words else { return Err(wrong()) };
    let (steps, batch, rate) = (steps.parse(), batch.parse(), rate.parse());
    match (steps, batch, rate) {
        (Ok(steps), Ok(batch @ 1..), Ok(rate)) if steps >= 20 && rate > 0.0 => {
            Ok(Plan { steps, batch, rate })
        }
        _ => Err(wrong()),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (our_plan, peer_plan) = (plan("--ours", &arguments.ours)?, plan("--peer", &arguments.peer)?);
    let files: Option<[&Path; 2]> = match arguments.images.as_deref() {
        Some([reference, validation]) => Some([reference, validation]),
        _ => None,
    };
    let images = images(files)?;
    let folder = tempfile::tempdir().map_err(|e| Error::file(&std::env::temp_dir(), "making a folder", e))?;
    let children = Children::default();
    children.stop_on_ctrl_c().map_err(|e| Error::value("Ctrl-C handler", "none before", e))?;
    let python = arguments.python.clone().into_os_string();
    let host = Host { python, folder: folder.path().to_owned(), threads: threads(), children };
    host.write_scripts()?;
    let mut sides = vec![("smalti", ours(our_plan, &images)?)];
    write_csv(&sides, &arguments.out)?;
    sides.push(("pytorch", theirs(peer_plan, &images, &host)?));
    write_csv(&sides, &arguments.out)?;
    eprintln!("written to {}", arguments.out.display());
    Ok(())
}
