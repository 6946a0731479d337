//! Requests to stop that come from outside: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};
use smalti_base::{Error, Result};
use smalti_solvers::Cancel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What to listen to.
#[derive(Debug, Default)]
pub struct Signals {
    asked: Arc<AtomicBool>,
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// Listens from now on: the first signal asks to stop, a second one ends the process at once.
    ///
    /// SIGHUP, which a closing terminal sends, is left alone where the process was started with it ignored (`nohup`).
    ///
    /// # Errors
    /// [`Error::Value`] where the system refuses.
    pub fn listen() -> Result<Self> {
        let signals = Self::default();
        for signal in listened() {
            // In this order: the first signal finds the flag unset.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.asked))
                .and_then(|_| register_usize(signal, Arc::clone(&signals.last), signal as usize))
                .and_then(|_| register(signal, Arc::clone(&signals.asked)))
                .map_err(|e| Error::value(format!("handler of signal {signal}"), "one that can be set", e))?;
        }
        Ok(signals)
    }

    /// What asks the computation to stop.
    pub fn cancel(&self) -> Cancel {
        Arc::clone(&self.asked).into()
    }

    /// The exit code of a process that a signal has ended: 128 and its number, as shells have it; 130 is Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        let last = self.last.load(Ordering::SeqCst);
        u8::try_from(last).ok().filter(|&n| n > 0 && n < 128).map_or(128 + SIGINT as u8, |n| 128 + n)
    }
}

#[cfg(unix)]
fn listened() -> Vec<i32> {
    use signal_hook::consts::SIGHUP;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut signals = vec![SIGINT, SIGTERM];
    signals.extend((!ignored(&status, SIGHUP)).then_some(SIGHUP));
    signals
}

#[cfg(not(unix))]
fn listened() -> Vec<i32> {
    vec![SIGINT, SIGTERM]
}

/// Whether a process ignores `signal`, by its `/proc/PID/status`.
#[cfg(unix)]
fn ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn ignored_signals_are_bits_of_a_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(ignored(status, 1) && ignored(status, 13) && !ignored(status, 2) && !ignored("", 1));
    }

    #[test]
    fn without_a_signal_the_code_is_that_of_ctrl_c() {
        let signals = Signals::default();
        assert_eq!(signals.exit_code(), 130);
        signals.last.store(15, Ordering::SeqCst);
        assert_eq!(signals.exit_code(), 143);
    }
}
