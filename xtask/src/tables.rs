//! `cargo xtask reproduce-tables`: checks the options in seconds, sets up, and hands over to `smalti-tables`.

use crate::{
    child,
    failure::{Failure, Result},
    setup::setup,
    workspace,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// How much work a table may be.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Less than a minute: does it run?
    Smoke,
    /// The main table in a quarter of an hour on 2 cores.
    Quick,
    /// More rows and images: an hour or more.
    Table,
    /// The authors' settings.
    Paper,
}

/// What `reproduce-tables` takes; relative paths are seen from where the user stands.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// This experiment, named as its file in experiments/ (repeatable); all: every one [default: the main ones]
    #[arg(long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// How much work [default: quick]
    #[arg(long)]
    pub(crate) profile: Option<Profile>,
    /// Folder of the data [default: SMALTI_DATA, then data/, then the synthetic set]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// auto, cpu or cuda:N [default: auto]
    #[arg(long, value_parser = device)]
    pub(crate) device: Option<String>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Folder of the results [default: results]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Instead of a table: one setting of one row in several values, on the validation image
    #[arg(long, value_name = "ROW.KEY=V,V,..")]
    pub(crate) sweep: Option<String>,
    /// The image of a sweep [default: the validation image]
    #[arg(long, value_name = "NAME", requires = "sweep")]
    pub(crate) image: Option<String>,
    /// Threads to compute on [default: one for every core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) threads: Option<u32>,
}

fn device(text: &str) -> Result<String, &'static str> {
    let number = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit());
    match text.strip_prefix("cuda:") {
        None if ["auto", "cpu", "cuda"].contains(&text) => Ok(text.to_owned()),
        Some(n) if number(n) => Ok(text.to_owned()),
        _ => Err("expected auto, cpu or cuda:N"),
    }
}

/// Sets up, then becomes `smalti-tables`: Ctrl-C and the exit code are that program's own.
pub(crate) fn reproduce_tables(root: &Path, options: &Options) -> Result {
    check_names(&workspace::experiments(root)?, &options.experiment)?;
    let libtorch = setup(root)?;
    let mut cargo = libtorch
        .cargo(root, &["run", "--release", "--package", "smalti-tables", "--bin", "smalti-tables", "--"])?;
    cargo.args(arguments(options));
    Err(child::replace(cargo))
}

fn check_names(there: &[String], asked: &[String]) -> Result {
    match asked.iter().find(|name| *name != "all" && !there.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let there = there.join(", ");
            Err(Failure::usage(format!("--experiment: no experiment '{name}'; experiments/ has {there}")))
        }
    }
}

/// The options as `smalti-tables` takes them; what is not given is left to its defaults.
pub(crate) fn arguments(options: &Options) -> Vec<OsString> {
    let profile = options.profile.map(|profile| match profile {
        Profile::Smoke => "smoke",
        Profile::Quick => "quick",
        Profile::Table => "table",
        Profile::Paper => "paper",
    });
    let mut arguments = Vec::new();
    let mut give = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            arguments.extend([name.into(), value]);
        }
    };
    for name in &options.experiment {
        give("--experiment", Some(name.into()));
    }
    give("--profile", profile.map(Into::into));
    give("--data", options.data.as_ref().map(Into::into));
    give("--device", options.device.as_ref().map(Into::into));
    give("--seed", options.seed.map(|n| n.to_string().into()));
    give("--out", options.out.as_ref().map(Into::into));
    give("--sweep", options.sweep.as_ref().map(Into::into));
    give("--image", options.image.as_ref().map(Into::into));
    give("--threads", options.threads.map(|n| n.to_string().into()));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn through(line: &str) -> Result<String, clap::Error> {
        let line = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))?;
        let words = arguments(&line.options).into_iter().map(|word| word.into_string().unwrap());
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_arrive_as_they_were_given() {
        let all = "--experiment a --experiment b --profile smoke --data ../d --device cuda:1 --seed 7 --out r --sweep tv.iterations=1,2 --image x --threads 2";
        assert_eq!(through(all).unwrap(), all);
        assert_eq!(through("").unwrap(), "");
    }

    #[test]
    fn wrong_options_are_usage_errors() {
        for line in ["--profile big", "--device gpu", "--device cuda:", "--seed -1", "--threads 0", "--what"]
        {
            assert_eq!(through(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn an_unknown_experiment_is_told_with_those_there_are() {
        let there = ["superres".to_owned(), "tomography".to_owned()];
        check_names(&there, &there[1..]).unwrap();
        check_names(&there, &["all".to_owned()]).unwrap();
        let failure = check_names(&there, &["superes".to_owned()]).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(
            failure.to_string().contains("'superes'; experiments/ has superres, tomography"),
            "{failure}"
        );
    }
}
