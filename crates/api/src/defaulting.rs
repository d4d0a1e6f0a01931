//! Defaults: the table's, then the kind's own; quantities in their canonical form.

use schema::Value;

use crate::{catalog, quantity::QuantityError, resource::Resource};

/// Fills in defaults. Idempotent. A quantity that is none is left for validation to name.
pub fn apply(resource: &Resource, object: &mut Value) {
    if resource.types.is_builtin() {
        // What cannot be read is reported by validation, which knows the path.
        let _ = canonicalize(resource, object);
    }
    let table = resource.table();
    // A zero value that upstream's types cannot tell from none is none, and defaults like it.
    schema::decode::normalize(table, resource.ty, object);
    schema::default::apply(table, resource.ty, object);
    resource.strategy.default(object);
}

/// Writes every quantity in its canonical form, and says when one is none: upstream refuses the whole
/// body then.
pub fn canonicalize(resource: &Resource, object: &mut Value) -> Result<(), QuantityError> {
    catalog::builtin()
        .quantities
        .canonicalize(resource.ty, object)
}
