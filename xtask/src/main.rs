//! `cargo xtask`: set-up, tests, CI, the tables and the benchmarks of the workspace.
//!
//! It stands outside of the layers and knows no libtorch, so that it builds in seconds and can fetch libtorch
//! for the rest. Reading order: [`libtorch`], [`setup`], [`child`], then one command.

/// What is said on standard error. Unlike that of the standard library it does not panic where nobody hears it: a closed or full
/// standard error is no reason to end halfway.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod bench;
mod child;
mod ci;
mod docs;
mod failure;
mod fetch;
mod libtorch;
mod manifest;
mod pip;
mod setup;
mod tables;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Set-up, tests, CI, tables and benchmarks of Smalti.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make libtorch 2.11.0 available; afterwards plain cargo works too
    Setup {
        /// With what NVIDIA GPUs need, also where there is no driver
        #[arg(long)]
        cuda: bool,
    },
    /// Set up, then run all tests and doctests
    Test,
    /// Set up, then run the standing suite: inputs that have gone wrong, processes that are killed, arbitrary bytes for readers
    Cases,
    /// All checks, cheapest first: fmt, tidy, clippy, documentation, tests, cases, examples, experiments
    Ci,
    /// Check layering, file length, topics and the other rules of the house
    Tidy,
    /// Set up, then make the tables of the papers
    ReproduceTables(tables::Options),
    /// Fill data/ from the pinned public sources, or from a local mirror
    FetchData(fetch::Options),
    /// Renew tables and examples in documents, from results and from the code
    Docs(docs::Options),
    /// Set up, then run the criterion benchmarks; ARGS go to `cargo bench` as they are
    Bench {
        /// What `cargo bench` gets, e.g. `--bench flow -- --quick`
        args: Vec<OsString>,
    },
    /// Set up, then measure us against other packages
    BenchPeers {
        /// Only the benchmarks of this name (repeatable)
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Folder of images for the comparisons of patches [default: synthetic images]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Set up, then train patchNR here and in PyTorch and write both validation curves (half an hour)
    BenchTraining {
        /// What `bench-training` gets, e.g. `-- --images data/sic/ref.png data/sic/val.png`
        #[arg(last = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let line = Line::parse_from(words(std::env::args_os().collect()));
    match run(&line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = &failure.message {
                eprintln!("error: {message}");
            }
            ExitCode::from(failure.code)
        }
    }
}

/// The words of the command line; what follows `bench` is not for us to read, not even its first `--`.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "bench") {
        words.insert(2, "--".into());
    }
    words
}

fn run(command: &Command) -> failure::Result {
    let root = &workspace::root()?;
    match command {
        Command::Setup { cuda } => setup::with_extent(root, *cuda).map(drop),
        Command::Test => ci::test(root),
        Command::Cases => ci::cases(root),
        Command::Ci => ci::ci(root),
        Command::Tidy => tidy::tidy(root),
        Command::ReproduceTables(options) => tables::reproduce_tables(root, options),
        Command::FetchData(options) => fetch::fetch_data(root, options),
        Command::Docs(options) => docs::docs(root, options),
        Command::Bench { args } => bench::bench(root, args),
        Command::BenchPeers { only, data } => bench::bench_peers(root, only, data.as_deref()),
        Command::BenchTraining { args } => bench::bench_training(root, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Line::command().debug_assert();
    }

    #[test]
    fn arguments_of_bench_pass_through() {
        for args in ["--bench flow -- --quick x", "-- --quick", "--help", "flow", ""] {
            let line = ["x", "bench"].into_iter().chain(args.split_whitespace());
            let line = Line::try_parse_from(words(line.map(OsString::from).collect())).unwrap();
            let Command::Bench { args: passed } = line.command else { panic!("not bench") };
            assert_eq!(passed.join(" ".as_ref()), args);
        }
    }
}
