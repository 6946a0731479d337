//! `smalti-tables`: runs experiments and writes their tables.

use clap::Parser;
use smalti_base::device::{limit_spinning, prepare_process};
use smalti_base::{DeviceChoice, Error, Seed};
use smalti_solvers::Cancel;
use smalti_tables::catalogue::Catalogue;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::samplers::{MixtureProfile, Samplers, ScatterometryProfile};
use smalti_tables::experiment::{Experiment, Failure, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::run::{run, run_mixture, run_scatterometry};
use smalti_tables::sweep::{self, Sweep};
use smalti_tables::{mixture, scatterometry, table};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_indicatif::IndicatifLayer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::prelude::*;

/// Serves all of the process, libtorch included: the threads of `smalti_base::parallel` allocate tensors all the
/// time, and glibc's allocator made them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the experiments in experiments/*.toml and writes OUT/NAME/PROFILE/{table.csv,table.md,report.html,images/}.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Experiment to run, may be given several times; all: every one [default: the main ones]
    #[arg(long = "experiment", value_name = "NAME")]
    experiments: Vec<String>,
    /// How much work to do
    #[arg(long, value_enum, default_value_t)]
    profile: ProfileName,
    /// Folder with the images [default: SMALTI_DATA, else data/ beside experiments/, else synthetic images]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder for the results
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Instead of a table: one setting of one row of one experiment in several values, on the validation image
    #[arg(long, value_name = "ROW.KEY=V,V,..")]
    sweep: Option<Sweep>,
    /// The image of a sweep [default: the validation image]
    #[arg(long, value_name = "NAME", requires = "sweep")]
    image: Option<String>,
    /// Threads to compute with [default: one for every core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

fn main() -> ExitCode {
    limit_spinning();
    let arguments = Arguments::parse();
    log();
    match reproduce(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.render());
            // 130 is what shells give a program that Ctrl-C ended.
            if failure.cancelled() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// Logs and progress bars on standard error; bars only where it is a terminal.
fn log() {
    let bars = IndicatifLayer::new();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(bars.get_stderr_writer())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .compact();
    let level = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::registry().with(level).with(lines).with(bars).init();
}

/// The first Ctrl-C asks to stop, a second one ends the process at once (exit code 130).
fn cancel_on_ctrl_c() -> Result<Cancel, Error> {
    let cancel = Cancel::default();
    let handler = cancel.clone();
    ctrlc::set_handler(move || {
        if handler.requested() {
            std::process::exit(130);
        }
        handler.request();
    })
    .map_err(|e| Error::value("Ctrl-C handler", "none before", e))?;
    Ok(cancel)
}

fn reproduce(arguments: &Arguments) -> Result<(), Failure> {
    let threads = arguments.threads.map(usize::from);
    prepare_process(threads);
    let device = arguments.device.resolve()?;
    let cancel = cancel_on_ctrl_c()?;
    let here = std::env::current_dir().map_err(|e| Error::file(".".as_ref(), "reading", e))?;
    let catalogue = Catalogue::find(&here)?;
    let environment = std::env::var_os("SMALTI_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);

    // All files are checked before the first experiment runs.
    let (option, environment) = (arguments.data.as_deref(), environment.as_deref());
    let repository = catalogue.repository();
    let options = |name: &str, folder: &str| RunOptions {
        profile: arguments.profile,
        seed: Seed::new(arguments.seed),
        device,
        threads: smalti_base::device::threads(),
        cancel: cancel.clone(),
        folder: arguments.out.join(name).join(folder),
        command_line: std::env::args().collect::<Vec<String>>().join(" "),
    };
    if let Some(asked) = &arguments.sweep {
        for path in catalogue.paths(&arguments.experiments)? {
            let experiments = asked.experiments(&path, arguments.profile, arguments.image.as_deref())?;
            let Some((_, first)) = experiments.first() else { continue };
            let options = options(&first.name, &format!("{}-sweep", arguments.profile));
            let find = |experiment: &Experiment| {
                experiment.find_data(experiment.profile(options.profile), option, environment, repository)
            };
            let rows = sweep::run(&experiments, find, &options)?;
            println!("{}\n\n{}", find(first)?.sentence(), table::terminal(&rows));
        }
        return Ok(());
    }
    let mut planned = Vec::new();
    for path in catalogue.paths(&arguments.experiments)? {
        planned.push(if let Some(experiment) = Samplers::<MixtureProfile>::read(&path)? {
            Planned::Mixture(Box::new(experiment), mixture::data())
        } else if let Some(experiment) = Samplers::<ScatterometryProfile>::read(&path)? {
            let data = scatterometry::data(option, environment, repository)?;
            Planned::Scatterometry(Box::new(experiment), data)
        } else {
            let experiment = Experiment::read(&path)?;
            let profile = experiment.profile(arguments.profile);
            let data = experiment.find_data(profile, option, environment, repository)?;
            Planned::Table(Box::new(experiment), data)
        });
    }
    for plan in &planned {
        let (name, title, data) = match plan {
            Planned::Table(experiment, data) => (&experiment.name, &experiment.title, data),
            Planned::Mixture(experiment, data) => (&experiment.name, &experiment.title, data),
            Planned::Scatterometry(experiment, data) => (&experiment.name, &experiment.title, data),
        };
        let options = options(name, &arguments.profile.to_string());
        eprintln!("{title}, profile {}. {}", options.profile, data.sentence());
        let outcome = match plan {
            Planned::Table(experiment, data) => {
                run(experiment, experiment.profile(options.profile), data, &options)?
            }
            Planned::Mixture(experiment, data) => {
                run_mixture(experiment, experiment.profile(options.profile), data, &options)?
            }
            Planned::Scatterometry(experiment, data) => {
                run_scatterometry(experiment, experiment.profile(options.profile), data, &options)?
            }
        };
        println!("{}\n\n{}", data.sentence(), table::terminal(&outcome.rows));
        eprintln!("written to {}", options.folder.display());
    }
    Ok(())
}

/// An experiment and its data.
enum Planned {
    Table(Box<Experiment>, DataSource),
    Mixture(Box<Samplers<MixtureProfile>>, DataSource),
    Scatterometry(Box<Samplers<ScatterometryProfile>>, DataSource),
}
