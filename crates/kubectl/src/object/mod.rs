//! From the words of a command to the objects they mean.

pub mod patch;
pub mod pods;
pub mod select;

pub use select::{Found, Target, objects, targets};
