//! The group scheduling.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta,
    object::Object,
    validation::checks::{immutable, one_of_if_set},
};

/// Greatest priority that users may name.
const USER_MAX: i64 = 1_000_000_000;

/// The classes that the system itself has, with their values.
pub const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

/// Defaults of a PriorityClass.
pub fn priority_class(object: &mut Value) {
    object.set_default("preemptionPolicy", "PreemptLowerPriority");
}

/// Everything wrong with a new PriorityClass.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let (name, value) = (meta::name(object), object.int("value").unwrap_or(0));
    if name.starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name);
        let problem = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted)) if *wanted != value => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if object.flag("globalDefault") => Some(format!(
                "globalDefault of {name} PriorityClass must be false"
            )),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let wrong = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            errors.push(FieldError::forbidden("metadata.name", wrong));
        }
    } else if value > USER_MAX {
        let wrong = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden("value", wrong));
    }
    one_of_if_set(
        object,
        "preemptionPolicy",
        &["PreemptLowerPriority", "Never"],
        &Path::ROOT,
        errors,
    );
}

/// What of a PriorityClass may not change.
pub fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if object.int("value").unwrap_or(0) != old.int("value").unwrap_or(0) {
        errors.push(FieldError::forbidden(
            "value",
            "may not be changed in an update.",
        ));
    }
    immutable(object, old, "preemptionPolicy", &Path::ROOT, errors);
}
