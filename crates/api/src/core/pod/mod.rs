//! Pods.

mod app_armor;
pub mod defaults;
pub mod gated;
pub mod qos;
pub mod validation;
mod warnings;

pub use warnings::{
    deprecated_label, host_name as host_name_warnings, label_selector as node_labels_warnings,
    node_selector_term as node_selector_term_warnings,
};

use jiff::Timestamp;
use schema::{Value, field_error::FieldError};
use serde_json::json;

use crate::{
    meta,
    object::Object,
    strategy::{Deletion, Part, Strategy},
};

/// What pods do specially.
pub struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        let mut status = json!({"phase": "Pending", "qosClass": qos::class(object)});
        if !object.list("spec.schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": null
            }]);
        }
        object.set("status", status);
        match_label_keys(object);
        app_armor::from_annotations(object);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        match part {
            Part::Status => {
                gated::drop_from_status(object, old);
                for field in ["metadata.ownerReferences", "metadata.deletionTimestamp"] {
                    object.restore(field, old);
                }
                if object.text("status.qosClass").is_empty() {
                    object.restore("status.qosClass", old);
                }
                if object.int("status.observedGeneration").unwrap_or(0) == 0 {
                    object.restore("status.observedGeneration", old);
                }
            }
            Part::Sub("ephemeralcontainers") => {
                let wanted = object
                    .remove("spec")
                    .and_then(|mut spec| spec.remove("ephemeralContainers"));
                object.restore("spec", old);
                object.restore("status", old);
                restore_metadata(object, old);
                match wanted {
                    Some(wanted) => object.set("spec.ephemeralContainers", wanted),
                    None => {
                        object.remove("spec.ephemeralContainers");
                    }
                }
                defaults::pod(object);
            }
            Part::Sub("resize") => keep_all_but_resources(object, old),
            _ => {}
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        validation::create(object, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => validation::update(object, old, errors),
            Part::Status => validation::status(object, old, errors),
            Part::Sub("ephemeralcontainers") => {
                validation::ephemeral_containers(object, old, errors)
            }
            Part::Sub("resize") => validation::resize(object, old, errors),
            Part::Sub(_) => {}
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings::pod(object)
    }

    // People seldom change pods themselves, so changes are not looked through.
    fn warnings_on_update(&self, _part: Part<'_>, _object: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.host",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let ip = match status.list("podIPs").first() {
            Some(first) => first.text("ip"),
            None => status.text("podIP"),
        };
        vec![
            ("spec.nodeName", spec.text("nodeName").to_owned()),
            ("spec.host", spec.text("nodeName").to_owned()),
            ("spec.restartPolicy", spec.text("restartPolicy").to_owned()),
            ("spec.schedulerName", spec.text("schedulerName").to_owned()),
            (
                "spec.serviceAccountName",
                spec.text("serviceAccountName").to_owned(),
            ),
            ("spec.hostNetwork", spec.flag("hostNetwork").to_string()),
            ("status.phase", status.text("phase").to_owned()),
            ("status.podIP", ip.to_owned()),
            ("status.podIPs", ip.to_owned()),
            (
                "status.nominatedNodeName",
                status.text("nominatedNodeName").to_owned(),
            ),
        ]
    }

    fn deletion(&self, object: &Value, grace_seconds: Option<i64>) -> Deletion {
        let spec = object.at("spec");
        let mut seconds = grace_seconds
            .or(spec.int("terminationGracePeriodSeconds"))
            .unwrap_or(0);
        if spec.text("nodeName").is_empty()
            || matches!(object.text("status.phase"), "Failed" | "Succeeded")
        {
            seconds = 0;
        }
        if seconds < 0 {
            seconds = 1;
        }
        Deletion::Graceful { seconds }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

/// Labels and annotations may change with any part; the rest of the metadata may not.
fn restore_metadata(object: &mut Value, old: &Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        object.restore(&format!("metadata.{field}"), old);
    }
}

/// A resize changes the resources of containers and nothing else.
fn keep_all_but_resources(object: &mut Value, old: &Value) {
    let Some(mut wanted) = object.remove("spec") else {
        return;
    };
    object.restore("spec", old);
    object.restore("status", old);
    restore_metadata(object, old);
    for list in ["containers", "initContainers"] {
        for container in object
            .at_mut("spec")
            .map_or(&mut [][..], |spec| spec.list_mut(list))
        {
            let name = container.text("name").to_owned();
            let from = wanted
                .list_mut(list)
                .iter_mut()
                .find(|other| other.text("name") == name);
            if let Some(from) = from {
                for field in ["resources", "resizePolicy"] {
                    if let Some(value) = from.remove(field) {
                        container.set(field, value);
                    }
                }
            }
        }
    }
    if let Some(resources) = wanted.remove("resources") {
        object.set("spec.resources", resources);
    }
    defaults::pod(object);
}

/// `matchLabelKeys` of affinity and spread constraints become expressions on the pod's own labels.
fn match_label_keys(object: &mut Value) {
    let labels = object.at("metadata.labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = object
            .at_mut("spec.affinity")
            .and_then(|affinity| affinity.at_mut(kind))
        else {
            continue;
        };
        for term in terms.list_mut("requiredDuringSchedulingIgnoredDuringExecution") {
            add_expressions(term, &labels);
        }
        for term in terms.list_mut("preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.at_mut("podAffinityTerm") {
                add_expressions(term, &labels);
            }
        }
    }
    let spec = object.at_mut("spec");
    for constraint in spec.map_or(&mut [][..], |spec| {
        spec.list_mut("topologySpreadConstraints")
    }) {
        add_expressions(constraint, &labels);
    }
}

fn add_expressions(term: &mut Value, labels: &Value) {
    if !term.has("labelSelector") {
        return;
    }
    let mut expressions = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.texts(list) {
            if let Some(value) = labels.get(key) {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if expressions.is_empty() {
        return;
    }
    match term.place("labelSelector.matchExpressions") {
        Value::Array(list) => list.extend(expressions),
        place => *place = Value::Array(expressions),
    }
}

/// Is the pod ready?
pub fn is_ready(object: &Value) -> bool {
    meta::condition(object, "Ready").is_some_and(|condition| condition.text("status") == "True")
}

/// The warnings that a workload's pod template, which is at `path`, earns.
pub fn template_warnings(object: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings::spec(object.at(path), &format!("{path}."), &mut warnings);
    warnings
}
