//! Expressions of webhooks and policies: match conditions.

use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::Admission;
use crate::endpoint::Endpoint;

/// What expressions see of a request.
pub struct Seen;

impl Seen {
    /// With the object in `endpoint`'s version.
    pub async fn new(
        _: &Admission<'_>,
        _: &Endpoint,
        _: Option<&Value>,
        _: Option<&Value>,
    ) -> Result<Seen, Status> {
        Ok(Seen)
    }
}

/// The match conditions of one webhook or policy.
#[derive(Clone)]
pub struct Conditions {
    names: Vec<String>,
}

impl Conditions {
    /// Compiles conditions.
    pub fn compile(conditions: &[Value], _: bool) -> Conditions {
        let names = conditions.iter().map(|c| c.text("name").to_owned());
        Conditions {
            names: names.collect(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Do all hold?
    pub fn decide(&self, _: &Seen) -> Result<bool, String> {
        Err(format!(
            "match conditions cannot be evaluated yet: {}",
            self.names.join(", ")
        ))
    }
}
