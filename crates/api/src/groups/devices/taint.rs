//! Taints of devices, what tolerates them, and rules that set them.

use schema::{Path, Value, field_error::FieldError};

use super::values::{label, pool_name};
use crate::{
    clock,
    core::source::csi_driver_name,
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{conditions, required, supported, wrongs},
};

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const CONDITIONS_MAX: usize = 8;

/// A taint; an effect that was there before may stay.
pub fn taint(taint: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (key, value) = (taint.text("key"), taint.text("value"));
    wrongs(key, names::qualified_name(key), &path.field("key"), errors);
    wrongs(
        value,
        names::label_value(value),
        &path.field("value"),
        errors,
    );
    let effect = taint.text("effect");
    if !old.is_null() && effect == old.text("effect") {
        return;
    }
    if required(taint, "effect", path, errors).is_empty() {
        return;
    }
    supported(taint, "effect", &EFFECTS, path, errors);
}

/// A toleration.
pub fn toleration(toleration: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    if !key.is_empty() {
        wrongs(key, names::qualified_name(key), &path.field("key"), errors);
    }
    match toleration.text("operator") {
        "" => errors.push(FieldError::required(path.field("operator"), "")),
        "Exists" => {
            if !value.is_empty() {
                let wrong = "must be empty for operator `Exists`";
                errors.push(FieldError::invalid(path.field("value"), value, wrong));
            }
        }
        "Equal" => wrongs(
            value,
            names::label_value(value),
            &path.field("value"),
            errors,
        ),
        _ => supported(toleration, "operator", &["Equal", "Exists"], path, errors),
    }
    if !toleration.text("effect").is_empty() {
        supported(toleration, "effect", &EFFECTS, path, errors);
    }
}

/// What DeviceTaintRules do specially.
pub struct TaintRule;

impl Strategy for TaintRule {
    fn prepare_create(&self, object: &mut Value, now: jiff::Timestamp) {
        object.set_default("spec.taint.timeAdded", clock::rfc3339(now));
    }

    fn prepare_update(
        &self,
        part: Part<'_>,
        object: &mut Value,
        old: &Value,
        now: jiff::Timestamp,
    ) {
        let changed = object.text("spec.taint.effect") != old.text("spec.taint.effect");
        let same_time = object.at("spec.taint.timeAdded") == old.at("spec.taint.timeAdded");
        if part == Part::Main && changed && same_time {
            object.set("spec.taint.timeAdded", clock::rfc3339(now));
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let selector = spec.at("deviceSelector");
        let field = path.field("deviceSelector");
        type Check = fn(&str, &Path<'_>, &mut Vec<FieldError>);
        let checks: [(&str, Check); 3] = [
            ("driver", csi_driver_name),
            ("pool", pool_name),
            ("device", label),
        ];
        for (name, check) in checks {
            if selector.has(name) {
                check(selector.text(name), &field.field(name), errors);
            }
        }
        let before = old.at("spec.taint");
        taint(spec.at("taint"), before, &path.field("taint"), errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        _: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Status {
            let status = Path::ROOT.field("status");
            let list = object.list("status.conditions");
            let path = status.field("conditions");
            conditions(list, &path, errors);
            if list.len() > CONDITIONS_MAX {
                errors.push(FieldError::too_many(path, list.len(), CONDITIONS_MAX));
            }
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
