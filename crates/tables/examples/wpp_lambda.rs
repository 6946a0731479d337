//! Chooses lambda of the Wasserstein patch prior on the validation image.
//!
//! `cargo run --release -p smalti-tables --example wpp_lambda -- --profile quick --size 240 --lambda 80,160,320`
//!
//! The protocol is that of the table: operator, noise, crop and settings are read from the experiment file; only
//! lambda, the image and, where asked for, its size and the number of iterations are others. An interrupted sweep
//! goes on where it was.

use clap::Parser;
use smalti_base::device::prepare_process;
use smalti_base::{DeviceChoice, Error, Result, Seed};
use smalti_solvers::Cancel;
use smalti_tables::catalogue::Catalogue;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::settings::WppMap;
use smalti_tables::experiment::{Experiment, Failure, Method, Profile, ProfileName};
use smalti_tables::methods::{Methods, Task};
use smalti_tables::outcome::Transport;
use smalti_tables::run::RunOptions;
use smalti_tables::state::{Reconstruction, State};
use smalti_tables::superres::{Observed, Score, observe};
use std::path::PathBuf;
use tch::Tensor;

/// Reconstructs one image with several lambdas and prints how each result scores.
#[derive(Debug, Parser)]
struct Arguments {
    /// Experiment whose settings are taken
    #[arg(long, default_value = "superres_sic")]
    experiment: String,
    /// Its profile; `quick` for the settings of the table
    #[arg(long, value_enum, default_value = "smoke")]
    profile: ProfileName,
    /// Take the authors' settings
    #[arg(long)]
    authors: bool,
    /// Lambdas, in the published convention [default: a quarter to four times that of the file]
    #[arg(long, value_name = "L,L,...", value_delimiter = ',')]
    lambda: Vec<f64>,
    /// Image to reconstruct [default: the validation image]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Cut the image to its central square of so many pixels
    #[arg(long)]
    size: Option<i64>,
    /// Iterations in place of those of the file
    #[arg(long)]
    iterations: Option<u64>,
    /// Folder with the images [default: SMALTI_DATA, else data/ beside experiments/, else synthetic images]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads to compute with [default: one for every core]
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for the state of an interrupted sweep
    #[arg(long, value_name = "DIR", default_value = "results/wpp_lambda")]
    out: PathBuf,
}

fn main() -> std::process::ExitCode {
    match sweep(&Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.render());
            std::process::ExitCode::FAILURE
        }
    }
}

fn sweep(arguments: &Arguments) -> Result<(), Failure> {
    prepare_process(arguments.threads);
    let options = RunOptions {
        profile: arguments.profile,
        seed: Seed::new(arguments.seed),
        device: arguments.device.resolve()?,
        threads: smalti_base::device::threads(),
        cancel: Cancel::on_ctrl_c()?,
        folder: arguments.out.clone(),
        command_line: String::new(),
    };
    let here = std::env::current_dir().map_err(|e| Error::file(".".as_ref(), "reading", e))?;
    let catalogue = Catalogue::find(&here)?;
    let mut paths = catalogue.paths(std::slice::from_ref(&arguments.experiment))?;
    let experiment = Experiment::read(&paths.remove(0))?;
    let image = arguments.image.as_ref().unwrap_or(&experiment.data.validation);
    let profile = profile(&experiment, arguments, image);
    let environment = std::env::var_os("SMALTI_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    let (option, repository) = (arguments.data.as_deref(), catalogue.repository());
    let data = DataSource::find(option, environment.as_deref(), repository, &experiment, &profile.sets)?;
    println!(
        "{} {image}, {}",
        data.sentence(),
        profile.size.map_or("whole".into(), |n| format!("{n} x {n}"))
    );

    let seen = observe(image, &experiment, &profile, &data, &options)?;
    let crop = experiment.crop;
    println!("    lambda  PSNR [dB]   SSIM   blur      W2^2   gap [%]  c-transforms  seconds");
    let methods = Methods::prepare(&experiment, &profile, &data, &options)?;
    let task = Task { name: image, operator: &seen.operator, observation: &seen.observation };
    let bicubic = methods.reconstruct(Method::Bicubic, &task)?.image;
    for (name, image) in [("truth", &seen.truth), ("bicubic", &bicubic)] {
        let transport = methods.distance(image)?;
        line(name, image, &seen, crop, transport, 0.0)?;
    }
    let method = if arguments.authors { Method::WppAuthors } else { Method::Wpp };
    let mut finished = Vec::new();
    for lambda in lambdas(&profile, arguments)? {
        let mut profile = profile.clone();
        settings(&mut profile, arguments.authors)?.lambda = lambda;
        let options = RunOptions { folder: options.folder.join(lambda.to_string()), ..options.clone() };
        let methods = Methods::prepare(&experiment, &profile, &data, &options)?;
        let Reconstruction { image, seconds, transport } = methods.reconstruct(method, &task)?;
        line(&format!("{lambda:.2}"), &image, &seen, crop, transport, seconds)?;
        finished.push(State::of(&options));
    }
    finished.iter().for_each(State::discard);
    Ok(())
}

/// The profile with one set: the image, by the method.
fn profile(experiment: &Experiment, arguments: &Arguments, image: &str) -> Profile {
    let mut profile = experiment.profile(arguments.profile).clone();
    profile.size = arguments.size.or(profile.size);
    profile.sets.truncate(1);
    for set in &mut profile.sets {
        set.images = vec![image.to_owned()];
        set.take = None;
        set.methods = vec![if arguments.authors { Method::WppAuthors } else { Method::Wpp }];
    }
    if let (Some(iterations), Ok(map)) = (arguments.iterations, settings(&mut profile, arguments.authors)) {
        map.iterations = iterations;
    }
    profile
}

/// The settings that the sweep changes.
fn settings(profile: &mut Profile, authors: bool) -> Result<&mut WppMap> {
    let map =
        profile.wpp.as_mut().and_then(|wpp| if authors { wpp.authors.as_mut() } else { Some(&mut wpp.map) });
    map.ok_or_else(|| {
        Error::value("settings of the Wasserstein patch prior", "a section in this profile", "none")
    })
}

fn lambdas(profile: &Profile, arguments: &Arguments) -> Result<Vec<f64>> {
    if let Some(bad) = arguments.lambda.iter().find(|l| !(**l > 0.0 && l.is_finite())) {
        return Err(Error::value("--lambda", "positive numbers", bad));
    }
    let published = settings(&mut profile.clone(), arguments.authors)?.lambda;
    let around = [0.25, 0.5, 1.0, 2.0, 4.0].map(|factor| factor * published);
    Ok(if arguments.lambda.is_empty() { around.to_vec() } else { arguments.lambda.clone() })
}

fn line(
    name: &str,
    image: &Tensor,
    seen: &Observed,
    crop: i64,
    transport: Option<Transport>,
    seconds: f64,
) -> Result<()> {
    let Score { psnr, ssim, blur, .. } = Score::of(image, &seen.truth, crop)?;
    let distance = transport.map_or(f64::NAN, |t| t.distance.full());
    let gap = transport.and_then(|t| t.gap).map_or(f64::NAN, |gap| 100.0 * gap);
    let evaluations = transport.map_or(0, |t| t.evaluations);
    println!(
        "{name:>10} {psnr:10.2} {ssim:6.3} {blur:6.3} {distance:9.5} {gap:9.3} {evaluations:13} {seconds:8.1}"
    );
    Ok(())
}
