//! The engine: typed field tables, and everything that is done to objects by walking them.
//! Knows no Kubernetes kind. No IO.

pub use serde_json::{Map, Value};

pub mod field_error;
pub mod table;
