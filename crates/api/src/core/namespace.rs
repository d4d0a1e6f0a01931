//! Namespaces.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy, label_name},
    validation::{checks::wrongs, metadata},
};

/// What keeps a namespace until its content is gone.
const FINALIZER: &str = "kubernetes";

/// What namespaces do specially.
pub struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        super::small::namespace(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        object.set("status.phase", "Active");
        let mut finalizers: Vec<Value> = object.list("spec.finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        object.set("spec.finalizers", finalizers);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        match part {
            Part::Main => object.restore("spec.finalizers", old),
            Part::Sub("finalize") => object.restore("status", old),
            _ => {}
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let spec = Path::ROOT.field("spec");
        let path = spec.field("finalizers");
        for name in object.texts("spec.finalizers") {
            finalizer(name, &path, errors);
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Sub("finalize") {
            let spec = Path::ROOT.field("spec");
            let path = spec.field("finalizers");
            for (index, name) in object.texts("spec.finalizers").enumerate() {
                finalizer(name, &path.index(index), errors);
            }
        }
        if part == Part::Status {
            let phase = object.text("status.phase");
            let (wanted, wrong) = if meta::is_terminating(object) {
                (
                    "Terminating",
                    "may only be 'Terminating' if `deletionTimestamp` is not empty",
                )
            } else {
                (
                    "Active",
                    "may only be 'Active' if `deletionTimestamp` is empty",
                )
            };
            if phase != wanted {
                errors.push(FieldError::invalid("status.Phase", phase, wrong));
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label_name(name, prefix)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
}

fn finalizer(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    wrongs(name, names::qualified_name(name), path, errors);
    metadata::kube_finalizer(name, path, errors);
}
