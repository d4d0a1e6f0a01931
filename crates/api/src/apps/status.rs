//! What the statuses of workloads may count.

use schema::{Path, Value, field_error::FieldError};

use crate::{object::Object, validation::checks::not_negative};

/// The counts of one kind.
pub struct Counts {
    /// None of these is negative.
    pub numbers: &'static [&'static str],
    /// None of these is more than all replicas.
    pub parts: &'static [&'static str],
    /// What is said when more are available than are ready; empty where nothing is.
    pub available: &'static str,
}

/// Everything wrong with the counts of a status.
pub fn counts(object: &Value, old: &Value, counts: &Counts, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let status = object.at("status");
    let count = |field: &str| status.int(field).unwrap_or(0);
    for field in counts.numbers {
        not_negative(status, field, &path, errors);
    }
    for field in counts.parts {
        if count(field) > count("replicas") {
            let wrong = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(path.field(field), count(field), wrong));
        }
    }
    let available = count("availableReplicas");
    if !counts.available.is_empty() && available > count("readyReplicas") {
        errors.push(FieldError::invalid(
            path.field("availableReplicas"),
            available,
            counts.available,
        ));
    }
    if let Some(before) = old.int("status.collisionCount")
        && status.int("collisionCount").is_none_or(|now| now < before)
    {
        errors.push(FieldError::invalid(
            path.field("collisionCount"),
            count("collisionCount"),
            "cannot be decremented",
        ));
    }
}
