//! An instance of everything that the laws hold for, in sizes that keep the laws quick.
//!
//! One file for each kind of thing, each with functions that give a `Vec<Named<dyn Trait>>`. Whoever adds a
//! type adds a line there; the tests walk over all.

pub mod flows;
pub mod images;
pub mod likelihoods;
pub mod operators;
pub mod priors;
pub mod stochastic;
pub mod wasserstein;

/// An instance and the name that violations call it by.
pub struct Named<T: ?Sized> {
    /// The type and its settings.
    pub name: String,
    /// The instance.
    pub subject: Box<T>,
}

impl<T: ?Sized> std::fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Named<T> {
    /// `subject` by the name of `name`.
    pub fn new(name: impl Into<String>, subject: Box<T>) -> Self {
        Self { name: name.into(), subject }
    }
}
