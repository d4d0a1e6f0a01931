//! Events, of both groups.

use schema::{Value, field_error::FieldError};

use crate::{
    meta,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::IMMUTABLE,
};

/// What events do specially.
pub struct Event;

/// The field of whichever group's form the event has.
fn either<'a>(object: &'a Value, core: &str, new: &str) -> &'a Value {
    if object.has(core) {
        object.at(core)
    } else {
        object.at(new)
    }
}

const FIELDS: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl Strategy for Event {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let about = either(object, "involvedObject", "regarding");
        let (own, other) = (meta::namespace(object), about.text("namespace"));
        let matches = if other.is_empty() {
            matches!(own, "default" | "kube-system" | "")
        } else {
            own == other
        };
        if !matches {
            let wrong = "does not match event.namespace";
            errors.push(FieldError::invalid(
                "involvedObject.namespace",
                other,
                wrong,
            ));
        }
        // Events with a time of their own are of the newer form, which asks for more.
        if !object.has("eventTime") {
            return;
        }
        let component = either(object, "reportingComponent", "reportingController")
            .as_str()
            .unwrap_or("");
        if component.is_empty() {
            errors.push(FieldError::required("reportingController", ""));
        }
        for (field, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let text = object.text(field);
            if text.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if text.len() > max {
                let wrong = format!("can have at most {max} characters");
                errors.push(FieldError::invalid(field, "", wrong));
            }
        }
        let note = either(object, "message", "note").as_str().unwrap_or("");
        if note.len() > 1024 {
            errors.push(FieldError::invalid(
                "message",
                "",
                "can have at most 1024 characters",
            ));
        }
        let kind = object.text("type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid("type", kind, "has invalid value: "));
        }
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if !old.has("eventTime") {
            return;
        }
        for field in [
            "reason",
            "action",
            "type",
            "eventTime",
            "reportingInstance",
            "related",
        ] {
            if object.at(field) != old.at(field) {
                errors.push(FieldError::invalid(
                    field,
                    object.at(field).clone(),
                    IMMUTABLE,
                ));
            }
        }
    }

    fn field_names(&self) -> &'static [&'static str] {
        &FIELDS
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let about = either(object, "involvedObject", "regarding");
        let component = either(object, "reportingComponent", "reportingController")
            .as_str()
            .unwrap_or("");
        let source = either(object, "source", "deprecatedSource").text("component");
        let text = |text: &str| text.to_owned();
        let mut fields: Vec<(&'static str, String)> = FIELDS[..7]
            .iter()
            .map(|name| {
                (
                    *name,
                    text(about.text(name.trim_start_matches("involvedObject."))),
                )
            })
            .collect();
        fields.push(("reason", text(object.text("reason"))));
        fields.push(("reportingComponent", text(component)));
        fields.push((
            "source",
            text(if source.is_empty() { component } else { source }),
        ));
        fields.push(("type", text(object.text("type"))));
        fields
    }

    fn create_on_update(&self) -> bool {
        true
    }
}
