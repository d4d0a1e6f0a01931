//! The group flowcontrol.apiserver.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{not_negative, one_of, required},
};

/// Defaults of a FlowSchema.
pub fn flow_schema(object: &mut Value) {
    if object.int("spec.matchingPrecedence").unwrap_or(0) == 0 {
        object.set("spec.matchingPrecedence", 1000);
    }
}

/// Defaults of a PriorityLevelConfiguration.
pub fn priority_level(object: &mut Value) {
    if let Some(exempt) = object.at_mut("spec.exempt") {
        exempt.set_default("nominalConcurrencyShares", 0);
        exempt.set_default("lendablePercent", 0);
    }
    if let Some(limited) = object.at_mut("spec.limited") {
        limited.set_default("nominalConcurrencyShares", 30);
        limited.set_default("lendablePercent", 0);
        if let Some(queuing) = limited.at_mut("limitResponse.queuing") {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                if queuing.int(field).unwrap_or(0) == 0 {
                    queuing.set(field, value);
                }
            }
        }
    }
}

/// Everything wrong with a FlowSchema.
pub fn validate_schema(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let precedence = spec.int("matchingPrecedence").unwrap_or(0);
    if precedence <= 0 {
        errors.push(FieldError::invalid(
            path.field("matchingPrecedence"),
            precedence,
            "must be a positive value",
        ));
    } else if precedence > 10_000 {
        let wrong = "must not be greater than 10000";
        errors.push(FieldError::invalid(
            path.field("matchingPrecedence"),
            precedence,
            wrong,
        ));
    }
    if spec.has("distinguisherMethod") {
        let known = ["ByNamespace", "ByUser"];
        one_of(
            spec.at("distinguisherMethod"),
            "type",
            &known,
            &path.field("distinguisherMethod"),
            errors,
        );
    }
    let level = path.field("priorityLevelConfiguration");
    required(
        spec.at("priorityLevelConfiguration"),
        "name",
        &level,
        errors,
    );
    let list = path.field("rules");
    for (index, rule) in spec.list("rules").iter().enumerate() {
        let path = list.index(index);
        if rule.list("subjects").is_empty() {
            errors.push(FieldError::required(
                path.field("subjects"),
                "subjects must contain at least one value",
            ));
        }
        if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
            let wrong = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(FieldError::required(path, wrong));
        }
    }
}

/// Everything wrong with a PriorityLevelConfiguration.
pub fn validate_level(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    one_of(spec, "type", &["Exempt", "Limited"], &path, errors);
    match spec.text("type") {
        "Exempt" if spec.has("limited") => {
            let wrong = "must be nil if the type is not Limited";
            errors.push(FieldError::forbidden(path.field("limited"), wrong));
        }
        "Limited" => {
            if spec.has("exempt") {
                let wrong = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(path.field("exempt"), wrong));
            }
            if !spec.has("limited") {
                let wrong = "must not be empty when type is Limited";
                errors.push(FieldError::required(path.field("limited"), wrong));
                return;
            }
            let limited = spec.at("limited");
            let path = path.field("limited");
            not_negative(limited, "nominalConcurrencyShares", &path, errors);
            let response = path.field("limitResponse");
            one_of(
                limited.at("limitResponse"),
                "type",
                &["Queue", "Reject"],
                &response,
                errors,
            );
        }
        _ => {}
    }
}
