//! `smalti-tables`: runs experiments and writes their tables.

use clap::Parser;
use smalti_base::device::{limit_spinning, prepare_process};
use smalti_base::{DeviceChoice, Error, Seed};
use smalti_tables::catalogue::Catalogue;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::samplers::{MixtureProfile, Samplers, ScatterometryProfile};
use smalti_tables::experiment::{Experiment, Failure, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::TableRow;
use smalti_tables::plan::{self, product_time};
use smalti_tables::publish::Results;
use smalti_tables::run::{replaces, run, run_mixture, run_scatterometry};
use smalti_tables::signals::Signals;
use smalti_tables::streams::{Output, command_line, say};
use smalti_tables::sweep::{self, Sweep};
use smalti_tables::{evaluate, logging, mixture, scatterometry, summary, table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

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
    logging::start("info");
    let done =
        Signals::listen().map_err(Failure::from).map(|signals| (reproduce(&arguments, &signals), signals));
    let (failure, code) = match done {
        Ok((Ok(()), _)) => return ExitCode::SUCCESS,
        Ok((Err(failure), signals)) if failure.cancelled() => (failure, ExitCode::from(signals.exit_code())),
        Ok((Err(failure), _)) | Err(failure) => (failure, ExitCode::FAILURE),
    };
    say(&failure.render());
    code
}

fn reproduce(arguments: &Arguments, signals: &Signals) -> Result<(), Failure> {
    let threads = arguments.threads.map(usize::from);
    prepare_process(threads);
    let device = arguments.device.resolve()?;
    let here = std::env::current_dir().map_err(|e| Error::file(".".as_ref(), "reading", e))?;
    let catalogue = Catalogue::find(&here)?;
    let environment = std::env::var_os("SMALTI_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    let places = Places {
        option: arguments.data.as_deref(),
        environment: environment.as_deref(),
        repository: catalogue.repository(),
    };
    // Whatever can be wrong with any of them is said before the first experiment runs.
    let paths = catalogue.paths(&arguments.experiments)?;
    let plans = match &arguments.sweep {
        Some(asked) => paths.iter().map(|path| Plan::sweep(asked, path, arguments, &places)).collect(),
        None => paths
            .iter()
            .map(|path| Plan::table(path, arguments.profile, &places))
            .collect::<Result<Vec<_>, _>>(),
    }?;
    let command_line = command_line();
    let options = |plan: &Plan| -> Result<RunOptions, Error> {
        let ending = if arguments.sweep.is_some() { "-sweep" } else { "" };
        let folder = format!("{}{ending}", arguments.profile);
        Ok(RunOptions {
            profile: arguments.profile,
            seed: Seed::new(arguments.seed),
            device,
            threads: smalti_base::device::threads(),
            cancel: signals.cancel(),
            results: Results::claim(&arguments.out.join(plan.name()).join(folder))?,
            command_line: command_line.clone(),
        })
    };
    let options = plans.iter().map(options).collect::<Result<Vec<RunOptions>, _>>()?;
    for (i, (plan, options)) in plans.iter().zip(&options).enumerate() {
        plan.check(i > 0, options)?;
        replaces(options).iter().for_each(|line| say(line));
    }
    let product = product_time(device)?;
    for plan in &plans {
        plan.say(arguments.profile, product)?;
    }
    let mut output = Output::default();
    for (plan, options) in plans.iter().zip(options) {
        let data = plan.data.sentence();
        if arguments.sweep.is_none() {
            say(&format!("{}, profile {}. {data}", plan.title(), options.profile));
        }
        let rows = plan.run(&options)?;
        output.print(&format!("{data}\n\n{}", table::terminal(&rows)));
        say(&format!("written to {}", options.results.folder().display()));
        if arguments.sweep.is_none() {
            // The results are in place, with or without it.
            summary::write(&arguments.out)
                .unwrap_or_else(|e| tracing::warn!("no summary of all tables: {e}"));
        }
    }
    Ok(output.finish()?)
}

/// Where data can be.
struct Places<'a> {
    option: Option<&'a Path>,
    environment: Option<&'a Path>,
    repository: &'a Path,
}

/// What is asked for, with its data.
struct Plan {
    kind: Kind,
    data: DataSource,
}

enum Kind {
    Table(Box<Experiment>),
    Mixture(Box<Samplers<MixtureProfile>>),
    Scatterometry(Box<Samplers<ScatterometryProfile>>),
    /// Every value with the experiment that it makes; at least one.
    Sweep(Vec<(String, Experiment)>),
}

impl Plan {
    /// The experiment of the file at `path`.
    fn table(path: &Path, profile: ProfileName, places: &Places<'_>) -> Result<Self, Failure> {
        let &Places { option, environment, repository } = places;
        if let Some(experiment) = Samplers::<MixtureProfile>::read(path)? {
            return Ok(Self { kind: Kind::Mixture(Box::new(experiment)), data: mixture::data() });
        }
        if let Some(experiment) = Samplers::<ScatterometryProfile>::read(path)? {
            let data = scatterometry::data(option, environment, repository)?;
            return Ok(Self { kind: Kind::Scatterometry(Box::new(experiment)), data });
        }
        let experiment = Experiment::read(path)?;
        let data = experiment.find_data(experiment.profile(profile), option, environment, repository)?;
        Ok(Self { kind: Kind::Table(Box::new(experiment)), data })
    }

    /// What a sweep makes of it.
    fn sweep(
        asked: &Sweep,
        path: &Path,
        arguments: &Arguments,
        places: &Places<'_>,
    ) -> Result<Self, Failure> {
        let &Places { option, environment, repository } = places;
        let all = asked.experiments(path, arguments.profile, arguments.image.as_deref())?;
        let Some((_, first)) = all.first() else {
            return Err(Error::value("--sweep", "at least one value", "none").into());
        };
        let data = first.find_data(first.profile(arguments.profile), option, environment, repository)?;
        Ok(Self { kind: Kind::Sweep(all), data })
    }

    fn name(&self) -> &str {
        match &self.kind {
            Kind::Table(experiment) => &experiment.name,
            Kind::Mixture(experiment) => &experiment.name,
            Kind::Scatterometry(experiment) => &experiment.name,
            Kind::Sweep(all) => all.first().map_or("", |(_, experiment)| &experiment.name),
        }
    }

    fn title(&self) -> &str {
        match &self.kind {
            Kind::Table(experiment) => &experiment.title,
            Kind::Mixture(experiment) => &experiment.title,
            Kind::Scatterometry(experiment) => &experiment.title,
            Kind::Sweep(all) => all.first().map_or("", |(_, experiment)| &experiment.title),
        }
    }

    /// Whether it can run. A single table that runs at once (not `later`) says so by itself.
    fn check(&self, later: bool, options: &RunOptions) -> Result<(), Error> {
        match &self.kind {
            Kind::Table(experiment) if later => {
                evaluate::check(experiment.profile(options.profile), &self.data, options)
            }
            Kind::Sweep(all) => sweep::check(all, &self.data, options),
            Kind::Table(_) | Kind::Mixture(_) | Kind::Scatterometry(_) => Ok(()),
        }
    }

    /// Says what it is going to do, where a file tells how much work that is.
    fn say(&self, profile: ProfileName, product: Duration) -> Result<(), Error> {
        if let Kind::Table(experiment) = &self.kind {
            let sentence = plan::sentence(experiment.profile(profile), &self.data, product)?;
            say(&format!("{}: {sentence}", experiment.title));
        }
        Ok(())
    }

    fn run(&self, options: &RunOptions) -> Result<Vec<TableRow>, Error> {
        let (data, name) = (&self.data, options.profile);
        let outcome = match &self.kind {
            Kind::Table(experiment) => run(experiment, experiment.profile(name), data, options),
            Kind::Mixture(experiment) => run_mixture(experiment, experiment.profile(name), data, options),
            Kind::Scatterometry(experiment) => {
                run_scatterometry(experiment, experiment.profile(name), data, options)
            }
            Kind::Sweep(all) => return sweep::run(all, data, options),
        };
        Ok(outcome?.rows)
    }
}
