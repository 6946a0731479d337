//! A comparison: one task of ours beside its peers, run after run.

use crate::answer::Answer;
use crate::peer::{Host, Peer, PeerSpec, Reason};
use smalti_base::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Does run `k`, timed; run 0 warms up.
pub type Ours = Box<dyn FnMut(u64) -> Result<Answer>>;

/// A task that we and its peers do.
pub struct Comparison {
    /// Its name, e.g. `patchnr_grad_f32_130k`.
    pub name: &'static str,
    /// How large it is, in words without commas.
    pub size: String,
    /// How far the values of the two sides may lie apart, see [`Answer::deviation`].
    pub tolerance: f64,
    /// The file that the peers load.
    pub inputs: PathBuf,
    /// Our side.
    pub ours: Ours,
    /// The other sides.
    pub peers: Vec<PeerSpec>,
}

impl std::fmt::Debug for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// We beside one peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the comparison.
    pub name: &'static str,
    /// Its size.
    pub size: String,
    /// Our median, in seconds.
    pub ours: f64,
    /// Name of the peer.
    pub peer: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a peer's runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It computed what we did.
    Agrees {
        /// Its median, in seconds.
        seconds: f64,
        /// The largest deviation of its values from ours.
        deviation: f64,
        /// The versions of what it stands on.
        versions: String,
    },
    /// It computed something else.
    Disagrees {
        /// Its median, in seconds.
        seconds: f64,
        /// Both sides' values, in words.
        values: String,
    },
    /// It did not run.
    Missing(Reason),
}

impl Row {
    /// Our time as a share of the peer's, where both computed the same.
    pub fn ratio(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Agrees { seconds, .. } => Some(self.ours / seconds),
            _ => None,
        }
    }
}

/// A peer with what it did so far.
struct Side {
    spec: PeerSpec,
    peer: Result<Peer, Reason>,
    seconds: Vec<f64>,
    /// The largest deviation.
    deviation: f64,
    /// The values of both sides where they deviated most.
    values: String,
}

impl Side {
    /// One run of the peer, compared with ours. A peer that fails is ended and left out from then on.
    fn run(&mut self, ours: &Answer) {
        let Ok(peer) = &mut self.peer else { return };
        match peer.run() {
            Ok(theirs) => {
                let deviation = ours.deviation(&theirs);
                if deviation >= self.deviation {
                    self.deviation = deviation;
                    self.values = format!("ours {}; theirs {}", ours.summary(), theirs.summary());
                }
                self.seconds.push(theirs.seconds);
            }
            Err(reason) => self.peer = Err(reason),
        }
    }

    fn outcome(self, tolerance: f64) -> Outcome {
        let seconds = median(self.seconds);
        match self.peer {
            Err(reason) => Outcome::Missing(reason),
            Ok(peer) if self.deviation <= tolerance => {
                Outcome::Agrees { seconds, deviation: self.deviation, versions: peer.versions }
            }
            Ok(_) => Outcome::Disagrees { seconds, values: self.values },
        }
    }
}

/// A short rest, in which the threads of the side that just ran go to sleep.
const REST: Duration = Duration::from_millis(100);

/// Runs a comparison: all sides warm up, one after the other; then `rounds` times we and each peer do one run in
/// turn, while the others wait. One row for every peer.
///
/// # Errors
/// Those of our side; [`Error::Cancelled`] after [`crate::children::Children::stop`].
pub fn compare(comparison: Comparison, host: &Host, rounds: u64) -> Result<Vec<Row>> {
    let Comparison { name, size, tolerance, inputs, mut ours, peers } = comparison;
    let proceed = || match host.children.stopped() {
        true => Err(Error::Cancelled { kept: "no file was written".into() }),
        false => Ok(()),
    };
    let rest = || {
        std::thread::sleep(REST);
        proceed()
    };
    eprintln!("{name}: warming up");
    ours(0)?;
    let mut sides = Vec::new();
    for spec in peers {
        proceed()?;
        let peer = Peer::start(host, &spec, &inputs);
        proceed()?;
        if let Err(reason) = &peer {
            eprintln!("{name}: {}: {reason}", spec.name);
        }
        sides.push(Side { spec, peer, seconds: Vec::new(), deviation: 0.0, values: String::new() });
    }
    let mut seconds = Vec::new();
    for round in 1..=rounds {
        rest()?;
        let answer = ours(round)?;
        let mut said = format!("{name}: round {round} of {rounds}: ours {:.4} s", answer.seconds);
        for side in &mut sides {
            rest()?;
            side.run(&answer);
            proceed()?;
            match (&side.peer, side.seconds.last()) {
                (Ok(_), Some(s)) => said += &format!(", {} {s:.4} s", side.spec.name),
                _ => said += &format!(", {} -", side.spec.name),
            }
        }
        seconds.push(answer.seconds);
        eprintln!("{said}");
    }
    let ours = median(seconds);
    let row = |side: Side| {
        let peer = side.spec.name;
        Row { name, size: size.clone(), ours, peer, outcome: side.outcome(tolerance) }
    };
    Ok(sides.into_iter().map(row).collect())
}

/// The median; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 10.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 10.0, 2.0]), 3.0);
        assert!(median(vec![]).is_nan());
    }
}
