//! The group batch.

pub mod defaults;
