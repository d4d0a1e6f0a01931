//! Field management: who owns what, on every write.

use schema::managed::{Manager, Operation};
use serde_json::Value;

use super::call::{Call, WriteOptions};

/// The manager a write is made by.
pub fn manager(
    call: &Call,
    options: &WriteOptions,
    operation: Operation,
    subresource: &str,
) -> Manager {
    Manager {
        name: options.field_manager.clone(),
        operation,
        api_version: call.endpoint.api_version.clone(),
        subresource: subresource.to_owned(),
        time: api::clock::rfc3339(call.now),
    }
}

/// Records who owns what after a create or update.
pub fn record(
    call: &Call,
    options: &WriteOptions,
    subresource: &str,
    live: Option<&Value>,
    object: &mut Value,
) {
    let manager = manager(call, options, Operation::Update, subresource);
    schema::managed::update(
        call.endpoint.resource.table(),
        call.endpoint.resource.ty,
        live,
        object,
        &manager,
    );
}
