//! The group apps.

pub mod defaults;
