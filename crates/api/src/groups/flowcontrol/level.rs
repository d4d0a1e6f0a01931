//! PriorityLevelConfigurations.

use ::schema::{Path, Value, field_error::FieldError};

use super::{conditions, fixed};
use crate::{meta, object::Object, validation::checks::supported};

const QUEUES_MAX: i64 = 10_000_000;
/// As many bits of a hash are dealt to hands.
const HASH_BITS: f64 = 60.0;
const KEPT_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

/// Everything wrong with a PriorityLevelConfiguration.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    if meta::annotation(object, KEPT_ZERO).is_some() {
        let wrong = format!("annotation '{KEPT_ZERO}' is forbidden");
        errors.push(FieldError::forbidden("metadata.annotations", wrong));
    }
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let (name, kind) = (meta::name(object), spec.text("type"));
    if (name == "exempt") != (kind == "Exempt") {
        let wrong = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid(path.field("type"), kind, wrong));
    }
    match kind {
        "Exempt" => {
            if spec.has("limited") {
                let wrong = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(path.field("limited"), wrong));
            }
            shares(spec.at("exempt"), &path.field("exempt"), errors);
        }
        "Limited" => {
            if spec.has("exempt") {
                let wrong = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(path.field("exempt"), wrong));
            }
            if spec.has("limited") {
                limited(spec.at("limited"), &path.field("limited"), errors);
            } else {
                let wrong = "must not be empty when type is Limited";
                errors.push(FieldError::required(path.field("limited"), wrong));
            }
        }
        _ => supported(spec, "type", &["Exempt", "Limited"], &path, errors),
    }
    if let Some(fixed) = fixed(object, true) {
        let mut own = spec.clone();
        let but = if name == "exempt" {
            own.remove("exempt");
            " except the 'spec.exempt' field"
        } else {
            ""
        };
        if own != fixed {
            let wrong = format!("spec of '{name}'{but} must equal the fixed value");
            errors.push(FieldError::invalid(path, spec.clone(), wrong));
        }
    }
    conditions(object, errors);
}

/// What both types of levels tell of their share.
fn shares(level: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut judge = |field: &str, fits: fn(i64) -> bool, wrong: &str| {
        if let Some(number) = level.int(field).filter(|number| !fits(*number)) {
            errors.push(FieldError::invalid(path.field(field), number, wrong));
        }
    };
    judge(
        "nominalConcurrencyShares",
        |number| number >= 0,
        "must be a non-negative integer",
    );
    judge(
        "lendablePercent",
        |number| (0..=100).contains(&number),
        "must be between 0 and 100, inclusive",
    );
    judge(
        "borrowingLimitPercent",
        |number| number >= 0,
        "if specified, must be a non-negative integer",
    );
}

fn limited(level: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    shares(level, path, errors);
    let path = path.field("limitResponse");
    let response = level.at("limitResponse");
    let field = path.field("queuing");
    match (response.text("type"), response.has("queuing")) {
        ("Reject", true) => {
            let wrong = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(field, wrong));
        }
        ("Queue", false) => {
            let wrong = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(field, wrong));
        }
        ("Queue", true) => queuing(response.at("queuing"), &field, errors),
        _ => supported(response, "type", &["Queue", "Reject"], &path, errors),
    }
}

fn queuing(queuing: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let number = |field: &str| queuing.int(field).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut wrong = |field: &str, wrong: String| {
        errors.push(FieldError::invalid(path.field(field), number(field), wrong));
    };
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(field) <= 0 {
            wrong(field, "must be positive".to_owned());
        }
    }
    if queues > QUEUES_MAX {
        wrong("queues", format!("must not be greater than {QUEUES_MAX}"));
    }
    #[allow(clippy::cast_precision_loss)]
    let bits = ((queues as f64).log2() * hand as f64).ceil();
    if hand > 0 && hand > queues {
        wrong(
            "handSize",
            format!("should not be greater than queues ({queues})"),
        );
    } else if hand > 0 && bits > HASH_BITS {
        let said = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        wrong("handSize", said);
    }
}
