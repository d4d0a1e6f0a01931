//! The group batch.

pub mod defaults;
pub mod job;
mod rules;
