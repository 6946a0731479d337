//! What all commands share: signals, and what is said where.

use crate::fault::Fault;
use serde_json::Value;
use smalti_base::Result;
use smalti_tables::signals::Signals;
use smalti_tables::streams::{Output, say};
use std::cell::RefCell;

/// What all commands share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) signals: Signals,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) json: bool,
    output: RefCell<Output>,
}

impl Context {
    pub(crate) fn new(signals: Signals, [quiet, verbose, json]: [bool; 3]) -> Self {
        Self { signals, quiet, verbose, json, output: RefCell::default() }
    }

    /// Tells who sits before the screen what is going on.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }

    /// The answer of a command: `text` for people, or one JSON object.
    ///
    /// # Errors
    /// None but those of JSON, which can hold all that is answered.
    pub(crate) fn answer(&self, text: &str, json: impl FnOnce() -> Value) -> Result<(), Fault> {
        if self.json {
            self.output.borrow_mut().print(&json().to_string());
        } else if !text.is_empty() {
            self.output.borrow_mut().print(text.trim_end());
        }
        Ok(())
    }

    /// Whether everything was printed.
    ///
    /// # Errors
    /// Those of [`Output::finish`].
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        Ok(self.output.take().finish()?)
    }
}

/// A value as JSON: texts, numbers and lists, which it can hold.
pub(crate) fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
