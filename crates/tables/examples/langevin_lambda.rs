//! Chooses lambda of the posterior on the validation image, which the flow has not seen then.
//!
//! `cargo run --release -p smalti-tables --example langevin_lambda -- --experiment langevin_ct --profile quick --lambda 500,1000`
//!
//! Everything but lambda and the images is read from the experiment file. Without arguments it takes the smoke profile.

use clap::Parser;
use smalti_base::device::prepare_process;
use smalti_base::{DeviceChoice, Error, Seed};
use smalti_solvers::Cancel;
use smalti_tables::catalogue::Catalogue;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::langevin::LangevinTable;
use smalti_tables::experiment::{Failure, ProfileName};
use smalti_tables::run::{RunOptions, run_langevin};
use smalti_tables::table;
use std::path::PathBuf;

/// Runs an experiment on its validation image with several lambdas and prints the tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// Experiment whose settings are taken
    #[arg(long, default_value = "langevin_ct")]
    experiment: String,
    /// Its profile; `quick` for the settings of the table
    #[arg(long, value_enum, default_value = "smoke")]
    profile: ProfileName,
    /// Lambdas [default: that of the file]
    #[arg(long, value_name = "L,L,...", value_delimiter = ',')]
    lambda: Vec<f64>,
    /// Share of the steps of the chains in the file
    #[arg(long, default_value_t = 1.0)]
    length: f64,
    /// Folder with the images [default: SMALTI_DATA, else data/ beside experiments/, else synthetic images]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/langevin_lambda")]
    out: PathBuf,
}

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match sweep(&Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.render());
            std::process::ExitCode::FAILURE
        }
    }
}

fn sweep(arguments: &Arguments) -> Result<(), Failure> {
    prepare_process(None);
    let here = std::env::current_dir().map_err(|e| Error::file(".".as_ref(), "reading", e))?;
    let catalogue = Catalogue::find(&here)?;
    let mut paths = catalogue.paths(std::slice::from_ref(&arguments.experiment))?;
    let kind = || Error::value("--experiment", "one of the kind langevin", &arguments.experiment);
    let experiment = LangevinTable::read(&paths.remove(0))?.ok_or_else(kind)?.on_validation();
    let environment = std::env::var_os("SMALTI_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    let option = arguments.data.as_deref();
    let data =
        DataSource::of_files(option, environment.as_deref(), catalogue.repository(), &experiment.files())?;
    let mut profile = experiment.profile(arguments.profile).clone();
    let shorter = |n: u64| (((n as f64 * arguments.length) / 2.0).ceil() as u64 * 2).max(4);
    profile.chains.burn_in = shorter(profile.chains.burn_in);
    profile.chains.draws = shorter(profile.chains.draws);
    profile.chains.keep = profile.chains.keep.min(profile.chains.draws);
    let lambdas = match &arguments.lambda[..] {
        [] => vec![profile.patchnr.map.lambda],
        given => given.to_vec(),
    };
    println!("{}", data.sentence());
    for lambda in lambdas {
        profile.patchnr.map.lambda = lambda;
        let options = RunOptions {
            profile: arguments.profile,
            seed: Seed::new(arguments.seed),
            device: DeviceChoice::Cpu.resolve()?,
            threads: smalti_base::device::threads(),
            cancel: Cancel::default(),
            folder: arguments.out.join(&arguments.experiment).join(lambda.to_string()),
            command_line: std::env::args().collect::<Vec<String>>().join(" "),
        };
        let outcome = run_langevin(&experiment, &profile, &data, &options)?;
        println!("lambda {lambda}\n{}", table::terminal(&outcome.rows));
    }
    Ok(())
}
