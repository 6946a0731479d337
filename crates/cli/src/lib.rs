//! The command `smalti`: measured images in, reconstructions out.
//!
//! It is thin: problems and methods are those of [`smalti_methods`], by name, so that one that is added there is here, too. What it
//! adds is reading other people's files, units of their values, settings by presets, and one line about everything that is wrong before
//! the work begins.
//!
//! ```
//! let command = smalti_cli::command();
//! let names: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
//! assert!(names.contains(&"reconstruct"));
//! ```

mod arguments;
mod context;
mod evaluate;
mod fault;
mod images;
mod inspect;
mod list;
mod material;
mod method;
mod noise;
mod plan;
mod presets;
mod problem;
mod reconstruct;
mod report;
mod sample;
mod settings;
mod shell;
mod simulate;
mod train;
mod work;

use arguments::{Arguments, Command};
use clap::Parser;
use context::Context;
use fault::Fault;
use smalti_tables::logging;
use smalti_tables::signals::Signals;
use smalti_tables::streams::say;
use std::io::IsTerminal;
use std::process::ExitCode;

/// The command line, for completions and manual pages.
pub fn command() -> clap::Command {
    arguments::command()
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(match (arguments.quiet, arguments.verbose) {
        (true, _) => "warn",
        (_, true) => "debug",
        // Progress is for who sits before a terminal.
        _ if std::io::stderr().is_terminal() => "info",
        _ => "info,smalti_solvers=warn",
    });
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            say(&Fault::from(error).render());
            return ExitCode::FAILURE;
        }
    };
    let context = Context::new(signals, [arguments.quiet, arguments.verbose, arguments.json]);
    match run(&arguments.command, &context).and_then(|()| context.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            say(&fault.render());
            ExitCode::from(if fault.cancelled() { context.signals.exit_code() } else { fault.code() })
        }
    }
}

fn run(command: &Command, context: &Context) -> Result<(), Fault> {
    match command {
        Command::Reconstruct(options) => reconstruct::run(options, context),
        Command::Train(options) => train::run(options, context),
        Command::Sample(options) => sample::run(options, context),
        Command::Evaluate(options) => evaluate::run(options, context),
        Command::Simulate(options) => simulate::run(options, context),
        Command::Phantom(options) => simulate::phantom(options, context),
        Command::Inspect(options) => inspect::run(options, context),
        Command::Methods(options) => list::run(options, context),
        Command::Completions(options) => shell::completions(options, context),
        Command::Man(options) => shell::man(options, context),
    }
}
