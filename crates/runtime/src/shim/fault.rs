//! The one error of container set-up: which step failed, and why. It crosses a pipe as text.

use std::fmt::Display;

/// A step of container set-up failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    /// A failure that speaks for itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Names the step an error happened in.
pub trait Step<T> {
    /// Turns the error into a [`Fault`] that begins with the step's name.
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault(format!("{}: {error}", what())))
    }
}
