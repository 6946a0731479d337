//! `bench-peers`: measures us beside other packages, in one run that alternates between the sides.

use clap::Parser;
use clap::builder::PossibleValuesParser;
use smalti_base::device::{DeviceChoice, prepare_process, threads};
use smalti_base::image_file::load_gray;
use smalti_base::{Error, Result};
use smalti_bench::children::Children;
use smalti_bench::compare::{Outcome, Row, compare};
use smalti_bench::peer::Host;
use smalti_bench::transport::Images;
use smalti_bench::{patchnr, radon, report, tensor_transport, transport};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures us beside other packages: medians over rounds in which every side runs once while the others wait.
///
/// `cargo xtask bench-peers` installs the peers and runs this. Peers that cannot run are left out, with the reason.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Comparison to run, may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Timed runs of every side
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Patches of the gradient comparisons; fewer to try them out
    #[arg(long, value_name = "N", default_value_t = patchnr::PATCHES as u64,
          value_parser = clap::value_parser!(u64).range(1..=354_025))]
    patches: u64,
    /// Folder with sic/ref.png and sic/test.png for the transport comparisons [default: synthetic images]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device of the comparison on tensors, for both sides: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// File for the figures of this run
    #[arg(long, value_name = "FILE", default_value = "results/peers.csv")]
    out: PathBuf,
    /// Python with FrEIA and torch [default: that of the active environment, else python3]
    #[arg(long, value_name = "PROGRAM")]
    python: Option<OsString>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    prepare_process(None);
    match measure(&arguments) {
        Ok(rows) if rows.iter().any(|row| matches!(row.outcome, Outcome::Disagrees { .. })) => {
            eprintln!("error: a peer computed something else than we did; its row says what");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            // 130 is what shells give a program that Ctrl-C ended.
            if matches!(error, Error::Cancelled { .. }) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn measure(arguments: &Arguments) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir().map_err(|e| Error::file(&std::env::temp_dir(), "making a folder", e))?;
    let children = Children::default();
    children.stop_on_ctrl_c().map_err(|e| Error::value("Ctrl-C handler", "none before", e))?;
    let host = Host {
        python: arguments.python.clone().unwrap_or_else(python),
        folder: folder.path().to_owned(),
        threads: threads(),
        children,
    };
    host.write_scripts()?;
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let mut rows = Vec::new();
    for name in patchnr::NAMES.into_iter().filter(|name| wanted(name)) {
        let patches = arguments.patches as usize;
        let comparison = patchnr::comparison(name, patches, arguments.rounds, folder.path())?;
        rows.extend(compare(comparison, &host, arguments.rounds)?);
    }
    for name in transport::NAMES.into_iter().filter(|name| wanted(name)) {
        let images = images(arguments.data.as_deref())?;
        for comparison in transport::comparisons(name, &images, arguments.rounds, folder.path())? {
            rows.extend(compare(comparison, &host, arguments.rounds)?);
        }
    }
    if wanted(tensor_transport::NAME) {
        let (images, device) = (images(arguments.data.as_deref())?, arguments.device.resolve()?);
        let comparison = tensor_transport::comparison(&images, device, arguments.rounds, folder.path())?;
        rows.extend(compare(comparison, &host, arguments.rounds)?);
    }
    for name in radon::NAMES.into_iter().filter(|name| wanted(name)) {
        rows.extend(compare(radon::comparison(name, folder.path())?, &host, arguments.rounds)?);
    }
    report::write_csv(&rows, &arguments.out)?;
    println!("{} threads on either side, medians of {} runs", host.threads, arguments.rounds);
    print!("{}", report::table(&rows));
    eprintln!("written to {}", arguments.out.display());
    Ok(rows)
}

fn names() -> Vec<&'static str> {
    let transport = transport::NAMES.into_iter().chain([tensor_transport::NAME]);
    patchnr::NAMES.into_iter().chain(transport).chain(radon::NAMES).collect()
}

/// The images of the transport comparisons.
fn images(data: Option<&Path>) -> Result<Images> {
    let Some(folder) = data else { return Images::synthetic() };
    let load = |name| load_gray(&folder.join(name));
    Ok(Images { reference: load("sic/ref.png")?, image: load("sic/test.png")?, what: "SiC" })
}

/// As the build of torch-sys and xtask choose it.
fn python() -> OsString {
    if std::env::var_os("VIRTUAL_ENV").is_some() { "python".into() } else { "python3".into() }
}
