//! The group node.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::pod::validation::{overhead, tolerations},
    names,
    object::Object,
    validation::checks::{immutable, labels, required, wrongs},
};

/// Everything wrong with a RuntimeClass.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    let handler = required(object, "handler", &root, errors);
    if !handler.is_empty() {
        let field = root.field("handler");
        wrongs(handler, names::dns1123_label(handler), &field, errors);
    }
    let fixed = object.at("overhead.podFixed");
    overhead(fixed, &root.field("overhead"), errors);
    let path = root.field("scheduling");
    let scheduling = object.at("scheduling");
    let selector = path.field("nodeSelector");
    labels(scheduling.at("nodeSelector"), &selector, errors);
    let list = scheduling.list("tolerations");
    let path = path.field("tolerations");
    tolerations(list, &path, errors);
    let key = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|field| toleration.text(field).to_owned())
    };
    for (index, toleration) in list.iter().enumerate() {
        if list[..index]
            .iter()
            .any(|other| key(other) == key(toleration))
        {
            errors.push(FieldError::duplicate(path.index(index), toleration.clone()));
        }
    }
}

/// What of a RuntimeClass may not change.
pub fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "handler", &Path::ROOT, errors);
}
