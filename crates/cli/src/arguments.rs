//! The command line.

use crate::images::{Depth, RangeChoice};
use crate::presets::Budget;
use crate::settings::Setting;
use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory, Parser, Subcommand};
use smalti_base::DeviceChoice;
use smalti_methods::{METHODS, PROBLEMS};
use std::path::PathBuf;
use std::str::FromStr;

/// The command line, for completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}

/// Reconstructs images with priors that are learned from a reference image.
#[derive(Debug, Parser)]
#[command(name = "smalti", version, max_term_width = 100, after_help = OVERVIEW)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say less: warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const OVERVIEW: &str = "\
Examples:
  smalti reconstruct scan.tif --reference good.tif --factor 4 --output result.tif
  smalti evaluate result.tif truth.tif --crop 40
  smalti methods

Exit codes: 0 done, 1 a failure or bad input (one line on standard error), 2 wrong usage, 130 Ctrl-C.
A tutorial of five minutes: docs/guide/tutorial.md; all messages: docs/cli.md.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reconstruct measured images
    #[command(after_help = RECONSTRUCT)]
    Reconstruct(Box<Reconstruct>),
    /// Learn from references, and keep what was learned
    #[command(after_help = TRAIN)]
    Train(Box<Train>),
    /// Draw from the posterior: mean, standard deviation and single draws
    #[command(after_help = SAMPLE)]
    Sample(Box<Sample>),
    /// Say how near an image is to the truth: PSNR, SSIM, LPIPS
    #[command(after_help = EVALUATE)]
    Evaluate(Evaluate),
    /// Simulate what an instrument sees of an image
    #[command(after_help = SIMULATE)]
    Simulate(Box<Simulate>),
    /// Draw an image to try things with
    #[command(after_help = PHANTOM)]
    Phantom(Phantom),
    /// Say what a file holds: images, arrays, checkpoints
    #[command(after_help = INSPECT)]
    Inspect(Inspect),
    /// List the methods, or tell about one
    #[command(after_help = METHODS_HELP)]
    Methods(Methods),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  smalti completions bash > ~/.local/share/bash-completion/completions/smalti"
    )]
    Completions(Completions),
    /// Write manual pages into a folder
    #[command(after_help = "Example:\n  smalti man ~/.local/share/man/man1")]
    Man(Man),
}

const TRAIN: &str = "\
Example:
  smalti train --reference good.tif --state learned/
  smalti reconstruct scan.tif --reference good.tif --factor 4 --state learned/ --output result.tif

What was learned is found again by references, settings and seed; the folder has the trained weights as files, too.";

const SAMPLE: &str = "\
Examples:
  smalti sample scan.tif --reference good.tif --problem inpainting --output draws/ \\
    --set hole.top=8 --set hole.left=8 --set hole.height=12 --set hole.width=12
  smalti sample scan.tif --reference good.tif --factor 4 --method wppflow --output draws/

The folder gets mean, std (of all draws, as floats) and single draws. Langevin chains are for small images.";

const EVALUATE: &str = "\
Examples:
  smalti evaluate result.tif truth.tif --crop 40
  smalti evaluate slice.npy truth.npy --data-range truth --json

PSNR is 10 log10(RANGE^2 / mean squared error), SSIM has a uniform window of 7 x 7 pixels, LPIPS is that of AlexNet (version 0.1),
where its weights are in the folder of data. A warning says where a shift by up to 4 pixels would gain more than 1 dB.";

const SIMULATE: &str = "\
Examples:
  smalti simulate truth.png --factor 4 --noise 0.01 --output observed.tif
  smalti simulate truth.png --problem deblurring --blur 1.5 --output blurred.png --seed 7
  smalti simulate slice.png --problem tomography --output sinogram.npy --set scan.extent=0.26 --set scan.angles=200 \\
    --set scan.detectors=513 --set noise.photons=4096 --set noise.mu_max=81.4

Images are mirrored beyond their edges, so that an observed pixel lies in the middle of the pixels that it stands for.";

const PHANTOM: &str = "\
Examples:
  smalti phantom reference.png --seed 1
  smalti phantom slice.tif --kind chest --size 362 --seed 3";

const INSPECT: &str = "\
Examples:
  smalti inspect scan.tif
  smalti inspect scan.h5
  smalti inspect scan.h5:/entry/data
  smalti inspect patchnr.safetensors --json";

const METHODS_HELP: &str = "\
Examples:
  smalti methods
  smalti methods patchnr --budget seconds";

const RECONSTRUCT: &str = "\
Examples:
  A scan of 4 times coarser pixels, blurred by a Gaussian of 2 pixels of the result:
    smalti reconstruct scan.tif --reference good.tif --factor 4 --blur 2 --output result.tif
  What would be done, without doing it:
    smalti reconstruct scan.tif --reference good.tif --factor 4 --output result.tif --dry-run
  All images of a folder; the prior is learned once, and kept for later:
    smalti reconstruct scans/ -r good.tif --factor 4 --output results/ --state learned/
  Deblurring without a reference:
    smalti reconstruct blurred.png --problem deblurring --blur 1.5 --method tv --output sharp.png
  A hole of 40 x 40 pixels, from a data set in an HDF5 file:
    smalti reconstruct scan.h5:/entry/data -r good.png --problem inpainting --output whole.tif \\
      --set hole.top=100 --set hole.left=120 --set hole.height=40 --set hole.width=40
  A sinogram [directions, detector pixels], settings in a file:
    smalti reconstruct sinogram.npy -r slice.png --problem tomography --config scan.toml --output slice.npy
  Settings of the method:
    smalti reconstruct scan.tif -r good.tif --factor 4 -o out.tif --set patchnr.descent.iterations=400

What lies beyond the edges of a measured image is not known: images are reconstructed a little larger, with no
assumption about it (`form = \"valid\"`), and cut to FACTOR times the observation.";

/// What is observed, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProblemOptions {
    /// What the observation is
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PROBLEMS.iter().map(|p| p.name)), help_heading = "Problem")]
    pub(crate) problem: Option<String>,
    /// Pixels of the result for one of the observation, along each axis [stride]
    #[arg(long, value_name = "N", help_heading = "Problem")]
    pub(crate) factor: Option<i64>,
    /// Standard deviation of a Gaussian blur in pixels of the result [superresolution: FACTOR / 2]
    #[arg(long, value_name = "SIGMA", help_heading = "Problem")]
    pub(crate) blur: Option<f64>,
    /// Standard deviation of the noise, as a share of the range of values [reconstruct: estimated from the observation]
    #[arg(long, value_name = "SIGMA", help_heading = "Problem")]
    pub(crate) noise: Option<f64>,
    /// A setting of the problem (stride=4), or of the method (patchnr.descent.iterations=400)
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Problem")]
    pub(crate) set: Vec<Setting>,
    /// A TOML file with sections [problem.NAME] and [methods.NAME]
    #[arg(long, value_name = "FILE", help_heading = "Problem")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that files named in settings are relative to [default: SMALTI_DATA, else .]
    #[arg(long, value_name = "DIR", help_heading = "Problem")]
    pub(crate) data: Option<PathBuf>,
}

/// What is learned, and from what.
#[derive(Debug, Clone, Args)]
pub(crate) struct MethodOptions {
    /// Images of the material to learn from, as fine as the result
    #[arg(short, long = "reference", value_name = "IMAGE", num_args = 1.., help_heading = "Method")]
    pub(crate) references: Vec<PathBuf>,
    /// Another image of the material, which measures the training
    #[arg(long, value_name = "IMAGE", help_heading = "Method")]
    pub(crate) validation: Option<PathBuf>,
    /// Learn from the observation itself, in place of references
    #[arg(long, conflicts_with_all = ["references", "validation"], help_heading = "Method")]
    pub(crate) from_observation: bool,
    /// The method, see `smalti methods` [default: patchnr; of sample: langevin]
    #[arg(short, long, value_name = "NAME", value_parser = PossibleValuesParser::new(METHODS.iter().map(|m| m.key)), hide_possible_values = true, help_heading = "Method")]
    pub(crate) method: Option<String>,
    /// How long it may take on a processor with a few cores
    #[arg(long, value_enum, default_value_t, help_heading = "Method")]
    pub(crate) budget: Budget,
}

/// What stored values mean.
#[derive(Debug, Clone, Args)]
pub(crate) struct ValueOptions {
    /// Which stored values are 0 and 1: auto (by the type and the bits in use; floats as stored where they lie in 0 to 1, else
    /// from their smallest to their largest value), type, or LOW,HIGH
    #[arg(long, value_name = "RANGE", default_value = "auto", help_heading = "Values")]
    pub(crate) range: RangeChoice,
}

/// Where and how to compute.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Running")]
    pub(crate) device: DeviceChoice,
    /// Threads to compute with [default: one for every core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Running")]
    pub(crate) threads: Option<u16>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Running")]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Reconstruct {
    /// Measured images: PNG, TIFF, .npy, FILE.h5:/DATASET, FILE.npz:ARRAY, or folders of them
    #[arg(required = true, value_name = "OBSERVATION")]
    pub(crate) observations: Vec<PathBuf>,
    /// The result: .png, .tif or .npy; a folder where there are several observations
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) method: MethodOptions,
    #[command(flatten)]
    pub(crate) problem: ProblemOptions,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
    /// Type of the stored values of the result [default: that of the observation]
    #[arg(long, value_enum, help_heading = "Values")]
    pub(crate) depth: Option<Depth>,
    /// Keep what was learned in this folder, and take it from there
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    pub(crate) state: Option<PathBuf>,
    /// Write a page with results, settings, versions and hashes: one HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Say what would be done, and end
    #[arg(long, help_heading = "Running")]
    pub(crate) dry_run: bool,
    /// Overwrite what is there
    #[arg(long, help_heading = "Running")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// The range of values that scores refer to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum DataRange {
    /// From 0 to 1 of the units that are taken.
    #[default]
    Auto,
    /// From the smallest to the largest value of the truth.
    Truth,
    /// So many stored units of the truth.
    Given(f64),
}

impl FromStr for DataRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "truth" => Ok(Self::Truth),
            _ => match text.parse::<f64>() {
                Ok(range) if range > 0.0 && range.is_finite() => Ok(Self::Given(range)),
                _ => Err("expected auto, truth, or a positive number, such as 255".into()),
            },
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Evaluate {
    /// The image to score
    pub(crate) estimate: PathBuf,
    /// The true image
    pub(crate) truth: PathBuf,
    /// Pixels that do not count along each side
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=100_000))]
    pub(crate) crop: i64,
    /// Which stored values are 0 and 1: auto, type, or LOW,HIGH
    #[arg(long, value_name = "RANGE", default_value = "auto")]
    pub(crate) range: RangeChoice,
    /// The range in PSNR and SSIM: auto (from 0 to 1 as above), truth (its smallest to its largest value), or stored units
    #[arg(long, value_name = "RANGE", default_value = "auto")]
    pub(crate) data_range: DataRange,
    /// Folder with weights/lpips_alex [default: SMALTI_DATA, else .]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Simulate {
    /// The image that is looked at
    pub(crate) image: PathBuf,
    /// The observation: .png, .tif or .npy
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) problem: ProblemOptions,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
    /// Type of the stored values of the observation [default: that of the image]
    #[arg(long, value_enum, help_heading = "Values")]
    pub(crate) depth: Option<Depth>,
    /// Overwrite what is there
    #[arg(long, help_heading = "Running")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum PhantomKind {
    /// Grains, binder, spheres and cracks
    #[default]
    Microstructure,
    /// A slice of a chest
    Chest,
    /// A volume of grains, as .npy
    Volume,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Phantom {
    /// The image: .png, .tif or .npy
    pub(crate) output: PathBuf,
    /// What is drawn
    #[arg(long, value_enum, default_value_t)]
    pub(crate) kind: PhantomKind,
    /// Rows and columns
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(i64).range(16..=8192))]
    pub(crate) size: i64,
    /// Another image for every seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Type of the stored values [default: 16]
    #[arg(long, value_enum)]
    pub(crate) depth: Option<Depth>,
    /// Overwrite what is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Inspect {
    /// The file; FILE.h5:/DATASET and FILE.npz:ARRAY look at one array
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Methods {
    /// Tell about this one
    #[arg(value_parser = PossibleValuesParser::new(METHODS.iter().map(|m| m.key)), hide_possible_values = true)]
    pub(crate) name: Option<String>,
    /// The settings of which preset are shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) budget: Budget,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Train {
    /// Where what is learned is kept
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) method: MethodOptions,
    #[command(flatten)]
    pub(crate) problem: ProblemOptions,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
    /// Say what would be done, and end
    #[arg(long, help_heading = "Running")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Sample {
    /// The measured image: PNG, TIFF, .npy, FILE.h5:/DATASET or FILE.npz:ARRAY
    pub(crate) observation: PathBuf,
    /// A folder for mean, std and draws
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Draws to write
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i64).range(0..=10_000))]
    pub(crate) draws: i64,
    #[command(flatten)]
    pub(crate) method: MethodOptions,
    #[command(flatten)]
    pub(crate) problem: ProblemOptions,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
    /// Keep what was learned in this folder, and take it from there
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    pub(crate) state: Option<PathBuf>,
    /// Say what would be done, and end
    #[arg(long, help_heading = "Running")]
    pub(crate) dry_run: bool,
    /// Overwrite what is there
    #[arg(long, help_heading = "Running")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Man {
    /// The folder
    pub(crate) folder: PathBuf,
}
