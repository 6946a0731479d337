//! What a file holds.

/// A dataset of a file, as [`list`](super::list) names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its full name, such as `/entry/data`.
    pub name: String,
    /// Its axes.
    pub shape: Vec<u64>,
    /// The type of its values, for readers.
    pub kind: String,
}
