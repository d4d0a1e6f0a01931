//! The engine: typed field tables, and everything that is done to objects by walking them.
//! Knows no Kubernetes kind. No IO.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub use serde_json::{Map, Value};

pub mod constraint;
pub mod decode;
pub mod default;
pub mod field_error;
pub mod gnostic;
pub mod managed;
pub mod openapi;
pub mod patch;
mod path;
pub mod pattern;
pub mod proto;
pub mod structural;
pub mod table;
mod text;

pub use field_error::{FieldError, FieldErrorKind};
pub use path::Path;
pub use table::{Table, TypeId};
pub use text::QuantityForm;
