//! Events, of both groups. Rules name the fields of the core group's form, as upstream's do whichever
//! form is sent.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy, path_segment_name, subdomain_name},
    validation::checks::{IMMUTABLE, wrongs},
};

/// What events do specially.
pub struct Event {
    /// Is it the core group's form, which asks for less?
    pub core: bool,
}

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

/// What may not change once an event of the newer form is made: the core group's name of each field,
/// and the newer one.
const FIXED: [(&str, &str); 12] = [
    ("involvedObject", "regarding"),
    ("reason", "reason"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingInstance", "reportingInstance"),
];

impl Event {
    /// What holds for both forms.
    fn common(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let about = either(object, "involvedObject", "regarding");
        let (own, other) = (meta::namespace(object), about.text("namespace"));
        let timed = object.has("eventTime");
        let matches = match other {
            "" => own == "default" || own.is_empty() || timed && own == "kube-system",
            _ => timed || own == other,
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
        if !timed {
            return;
        }
        let component = either(object, "reportingComponent", "reportingController")
            .as_str()
            .unwrap_or("");
        let field = Path::ROOT.field(if self.core {
            "reportingComponent"
        } else {
            "reportingController"
        });
        if component.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        wrongs(component, names::qualified_name(component), &field, errors);
        for field in ["reportingInstance", "action", "reason"] {
            let text = object.text(field);
            if text.is_empty() {
                errors.push(FieldError::required(field, ""));
            }
            at_most(text, 128, field, errors);
        }
        let note = either(object, "message", "note").as_str().unwrap_or("");
        at_most(note, 1024, "message", errors);
    }

    /// A series that tells how often and when last.
    fn series(object: &Value, errors: &mut Vec<FieldError>) {
        if !object.has("series") {
            return;
        }
        if object.int("series.count").unwrap_or(0) < 2 {
            let wrong = "should be at least 2";
            errors.push(FieldError::invalid("series.count", "", wrong));
        }
        if !object.has("series.lastObservedTime") {
            errors.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
}

fn at_most(text: &str, max: usize, field: &str, errors: &mut Vec<FieldError>) {
    if text.len() > max {
        let wrong = format!("can have at most {max} characters");
        errors.push(FieldError::invalid(field, "", wrong));
    }
}

impl Strategy for Event {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.common(object, errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.common(object, errors);
        if self.core {
            return;
        }
        Self::series(object, errors);
        if !object.has("eventTime") {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = object.text("type");
        if !matches!(kind, "Normal" | "Warning") {
            let wrong = format!("has invalid value: {kind}");
            errors.push(FieldError::invalid("type", "", wrong));
        }
        for (field, value) in [
            ("firstTimestamp", object.at("deprecatedFirstTimestamp")),
            ("lastTimestamp", object.at("deprecatedLastTimestamp")),
            ("count", object.at("deprecatedCount")),
            ("source", object.at("deprecatedSource")),
        ] {
            let unset = match value {
                Value::Null => true,
                Value::Number(number) => number.as_i64() == Some(0),
                source => {
                    source.is_object()
                        && source.text("component").is_empty()
                        && source.text("host").is_empty()
                }
            };
            if !unset {
                errors.push(FieldError::invalid(field, "", "needs to be unset"));
            }
        }
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if self.core {
            return;
        }
        if object.at("series") != old.at("series") {
            Self::series(object, errors);
        }
        let component = ("reportingController", "reportingController");
        for (core, new) in FIXED.into_iter().chain([component]) {
            if object.at(new) != old.at(new) {
                errors.push(FieldError::invalid(core, object.at(new).clone(), IMMUTABLE));
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if self.core {
            path_segment_name(name, prefix)
        } else {
            subdomain_name(name, prefix)
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
