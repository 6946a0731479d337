//! Logs and progress bars on standard error.

use std::io::IsTerminal;
use tracing_indicatif::IndicatifLayer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::prelude::*;

/// Shows logs from now on: those that the variable `RUST_LOG` asks for, or else `default` does, such as `info` or
/// `info,smalti_solvers=warn`; bars only where standard error is a terminal.
pub fn start(default: &str) {
    let bars = IndicatifLayer::new();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(bars.get_stderr_writer())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        // It would be told on standard error, where nothing can be written.
        .log_internal_errors(false)
        .compact();
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let level = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let level = level.parse_lossy(if asked.is_empty() { default } else { &asked });
    tracing_subscriber::registry().with(level).with(lines).with(bars).init();
}
