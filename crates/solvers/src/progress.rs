//! The span of a run, which `tracing-indicatif` shows as a progress bar where the feature `progress` is on.

use tracing::Span;
use tracing::span::Entered;
#[cfg(feature = "progress")]
use tracing_indicatif::span_ext::IndicatifSpanExt;

/// The progress of a run.
pub(crate) struct Progress(Span);

#[cfg_attr(not(feature = "progress"), expect(clippy::unused_self))]
impl Progress {
    /// The progress of what is called `name`, after `done` of `steps` steps.
    #[cfg_attr(not(feature = "progress"), expect(unused_variables))]
    pub(crate) fn new(name: &str, done: u64, steps: u64) -> Self {
        let span = tracing::info_span!("run");
        #[cfg(feature = "progress")]
        {
            span.pb_set_length(steps);
            span.pb_set_position(done);
            span.pb_set_message(name);
        }
        Self(span)
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.enter()
    }

    /// One step further.
    pub(crate) fn advance(&self) {
        #[cfg(feature = "progress")]
        self.0.pb_inc(1);
    }
}
