//! A table of one's own, from an experiment file to Markdown, on synthetic images.
//!
//! `cargo run --release -p smalti-tables --example own_table`

use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::{data::DataSource, evaluate, options::RunOptions, publish::Results, table};

const EXPERIMENT: &str = "
title = 'Twice as fine'
kind = 'reconstruction'
data = { references = ['reference.png'] }
problem.superresolution = { kernel_size = 8, sigma = 1.5, stride = 2, form = 'wrap-after', noise = 0.01, crop = 4, size = 64 }
";

/// The same images and rows in each of the three profiles.
const PROFILE: &str = "
[profile.NAME]
sets = [{ images = ['first.png', 'second.png'], methods = ['bicubic', 'tv'], show = 1 }]
methods.tv = { weight = { half_squared_errors = 5e-4 }, iterations = 200, tolerance = 1e-4 }
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    smalti_base::device::prepare_process(None);
    let profiles = ["smoke", "quick", "paper"].map(|name| PROFILE.replace("NAME", name));
    let text = format!("{EXPERIMENT}{}", profiles.concat());
    let experiment = Experiment::parse("own", "own.toml", &text).map_err(|fault| fault.render())?;
    let folder = tempfile::tempdir()?;
    let options = RunOptions {
        profile: ProfileName::Smoke,
        seed: smalti_base::Seed::new(1),
        device: tch::Device::Cpu,
        threads: smalti_base::device::threads(),
        cancel: smalti_solvers::Cancel::default(),
        results: Results::claim(&folder.path().join("own"))?,
        command_line: "own_table".into(),
    };
    let outcome = evaluate::run(experiment.profile(options.profile), &DataSource::Synthetic, &options)?;
    println!("{}", table::terminal(&outcome.rows));
    Ok(())
}
