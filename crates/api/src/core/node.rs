//! Nodes.

use schema::{Path, Value, field_error::FieldError};

use super::pod::validation::taints;
use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{quantity, wrongs},
};

/// What nodes do specially.
pub struct Node;

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        super::small::node(object);
    }

    /// Whoever registers a node says at once what it is.
    fn keeps_status_of_new(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _: jiff::Timestamp) {
        // Of configuration by reference nothing is left.
        object.remove("spec.configSource");
        object.remove("status.config");
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let metadata = Path::ROOT.field("metadata");
        taints(
            object.list("spec.taints"),
            &metadata.field("taints"),
            errors,
        );
        let spec = Path::ROOT.field("spec");
        for (index, range) in object.texts("spec.podCIDRs").enumerate() {
            wrongs(
                range,
                names::cidr(range),
                &spec.field("podCIDRs").index(index),
                errors,
            );
        }
        amounts(object, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        if part == Part::Status {
            amounts(object, errors);
            return;
        }
        if !old.list("spec.podCIDRs").is_empty()
            && old.at("spec.podCIDRs") != object.at("spec.podCIDRs")
        {
            let wrong = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(path.field("podCIDRs"), wrong));
        }
        let provider = old.text("spec.providerID");
        if !provider.is_empty() && provider != object.text("spec.providerID") {
            let wrong = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(path.field("providerID"), wrong));
        }
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.unschedulable",
            object.flag("spec.unschedulable").to_string(),
        )]
    }
}

fn amounts(object: &Value, errors: &mut Vec<FieldError>) {
    let status = Path::ROOT.field("status");
    for field in ["capacity", "allocatable"] {
        let path = status.field(field);
        for (name, value) in object.at("status").pairs(field) {
            quantity(value, &path.key(name), errors);
        }
    }
}
