//! What is wrong with an object: the metadata that all kinds share, then the kind's own part.

pub mod addresses;
pub mod checks;
pub mod metadata;
pub mod signer;

use schema::{Value, field_error::FieldError};

use crate::{resource::Resource, strategy::Part};

/// Everything wrong with a new object.
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::create(resource, object, &mut errors);
    resource.strategy.validate_create(object, &mut errors);
    errors
}

/// Everything wrong with a change. The result is checked as a new object is, where the whole object
/// is written.
pub fn update(resource: &Resource, part: Part<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::update(resource, object, old, &mut errors);
    if part == Part::Main {
        resource.strategy.validate_result(object, old, &mut errors);
    }
    resource
        .strategy
        .validate_update(part, object, old, &mut errors);
    errors
}
