//! What of a pod may change, by which part of it.

use schema::{Path, Value, field_error::FieldError};

use super::create;
use crate::{
    names,
    object::Object,
    validation::checks::{IMMUTABLE, wrongs},
};

const SPEC: Path<'static> = Path::ROOT;

/// A write of the pod itself.
pub fn main(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = SPEC.field("spec");
    let (new, before) = (object.at("spec"), old.at("spec"));
    if new == before {
        return;
    }
    for list in ["containers", "initContainers"] {
        if new.list(list).len() != before.list(list).len() {
            errors.push(FieldError::forbidden(
                path.field(list),
                "pod updates may not add or remove containers",
            ));
            return;
        }
    }
    if !deadline(new, before, &path, errors) {
        return;
    }
    tolerations(new, before, &path, errors);
    let gates = |spec: &Value| {
        spec.list("schedulingGates")
            .iter()
            .map(|gate| gate.text("name").to_owned())
            .collect::<Vec<_>>()
    };
    let (gates, gates_before) = (gates(new), gates(before));
    for (index, gate) in gates.iter().enumerate() {
        if !gates_before.contains(gate) {
            let list = path.field("schedulingGates");
            let wrong = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
            errors.push(FieldError::forbidden(list.index(index), wrong));
        }
    }
    let gated = !gates_before.is_empty();
    let mut munged = new.clone();
    for list in ["containers", "initContainers"] {
        for (container, before) in munged.list_mut(list).iter_mut().zip(before.list(list)) {
            container.restore("image", before);
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        munged.restore(field, before);
    }
    if before
        .int("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
        && new.int("terminationGracePeriodSeconds") == Some(1)
    {
        munged.restore("terminationGracePeriodSeconds", before);
    }
    if gated {
        node_selector_additions(new, before, &path, errors);
        munged.restore("nodeSelector", before);
        munged.restore("affinity.nodeAffinity", before);
        if !before.has("affinity")
            && munged
                .map("affinity")
                .is_some_and(|affinity| affinity.is_empty())
        {
            munged.remove("affinity");
        }
    }
    if munged != *before {
        let changed = differences(&munged, before);
        let wrong = format!(
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n{changed}"
        );
        errors.push(FieldError::forbidden(path, wrong));
    }
}

/// The top-level fields of the spec that differ, with both values.
fn differences(new: &Value, old: &Value) -> String {
    let keys = |value: &Value| {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
    };
    let mut names = keys(new);
    names.extend(keys(old));
    names.sort_unstable();
    names.dedup();
    let mut text = String::new();
    for name in names {
        let (a, b) = (old.at(&name), new.at(&name));
        if a != b {
            text.push_str(&format!("- {name}: {a}\n+ {name}: {b}\n"));
        }
    }
    text
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) -> bool {
    let field = path.field("activeDeadlineSeconds");
    match (
        new.int("activeDeadlineSeconds"),
        old.int("activeDeadlineSeconds"),
    ) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "must be between 0 and 2147483647, inclusive",
            ));
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "must be less than or equal to previous value",
            ));
            false
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(
                field,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
            true
        }
        _ => true,
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let same = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"]
            .iter()
            .all(|field| a.text(field) == b.text(field))
    };
    let kept = |before: &Value| new.list("tolerations").iter().any(|now| same(before, now));
    if !old.list("tolerations").iter().all(kept) {
        let wrong = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path.field("tolerations"), wrong));
    }
}

fn node_selector_additions(
    new: &Value,
    old: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    for (key, value) in old.pairs("nodeSelector") {
        if new.at("nodeSelector").get(key) != Some(value) {
            let wrong =
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(
                path.field("nodeSelector"),
                new.at("nodeSelector").clone(),
                wrong,
            ));
            return;
        }
    }
}

/// A write of the status.
pub fn status(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = SPEC.field("status");
    let (new, before) = (object.at("status"), old.at("status"));
    if new.text("qosClass") != before.text("qosClass") && before.has("qosClass") {
        errors.push(FieldError::invalid(
            path.field("qosClass"),
            new.text("qosClass"),
            IMMUTABLE,
        ));
    }
    let nominated = new.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        wrongs(
            nominated,
            names::dns1123_subdomain(nominated),
            &path.field("nominatedNodeName"),
            errors,
        );
    }
    for list in ["podIPs", "hostIPs"] {
        let list_path = path.field(list);
        for (index, address) in new.list(list).iter().enumerate() {
            let ip = address.text("ip");
            wrongs(
                ip,
                names::ip(ip),
                &list_path.index(index).field("ip"),
                errors,
            );
        }
    }
    let conditions = path.field("conditions");
    for (index, condition) in new.list("conditions").iter().enumerate() {
        let kind = condition.text("type");
        wrongs(
            kind,
            names::qualified_name(kind),
            &conditions.index(index).field("type"),
            errors,
        );
    }
    transitions(new, before, old.at("spec"), &path, errors);
}

/// Containers that ended stay ended where the pod's policy says so.
fn transitions(
    new: &Value,
    old: &Value,
    spec: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let policy = spec.text("restartPolicy");
    if policy == "Always" {
        return;
    }
    let list = path.field("containerStatuses");
    for (index, before) in old.list("containerStatuses").iter().enumerate() {
        let name = before.text("name");
        let own = spec
            .list("containers")
            .iter()
            .find(|container| container.text("name") == name);
        if own.is_some_and(|container| container.has("restartPolicy")) {
            continue;
        }
        let Some(ended) = before.map("state.terminated") else {
            continue;
        };
        let success = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0) == 0;
        if policy == "OnFailure" && !success {
            continue;
        }
        let now = new
            .list("containerStatuses")
            .iter()
            .find(|status| status.text("name") == name);
        if now.is_some_and(|status| !status.has("state.terminated")) {
            let wrong = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(
                list.index(index).field("state"),
                wrong,
            ));
        }
    }
}

/// A write of `ephemeralcontainers`.
pub fn ephemeral_containers(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    create(object, errors);
    if crate::meta::annotation(old, "kubernetes.io/config.mirror").is_some() {
        errors.push(FieldError::forbidden(
            "",
            "static pods do not support ephemeral containers",
        ));
        return;
    }
    let spec = SPEC.field("spec");
    let path = spec.field("ephemeralContainers");
    for before in old.list("spec.ephemeralContainers") {
        let name = before.text("name");
        match object
            .list("spec.ephemeralContainers")
            .iter()
            .find(|now| now.text("name") == name)
        {
            None => {
                let wrong = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(path, wrong));
            }
            Some(now) if now != before => {
                let wrong = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(FieldError::forbidden(path, wrong));
            }
            Some(_) => {}
        }
    }
}

/// A write of `resize`: only CPU and memory of containers.
pub fn resize(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    create(object, errors);
    let path = SPEC.field("spec");
    let mut munged = object.at("spec").clone();
    let before = old.at("spec");
    for list in ["containers", "initContainers"] {
        if munged.list(list).len() != before.list(list).len() {
            errors.push(FieldError::forbidden(
                path.field(list),
                "containers may not be added or removed on resize",
            ));
            return;
        }
        for (container, before) in munged.list_mut(list).iter_mut().zip(before.list(list)) {
            for kind in ["limits", "requests"] {
                for name in ["cpu", "memory"] {
                    container.restore(&format!("resources.{kind}.{name}"), before);
                }
                if !before.at("resources").has(kind)
                    && container
                        .at("resources")
                        .map(kind)
                        .is_some_and(|map| map.is_empty())
                {
                    container.remove(&format!("resources.{kind}"));
                }
            }
        }
    }
    munged.restore("resources", before);
    if munged != *before {
        let wrong = "only cpu and memory resources are mutable";
        errors.push(FieldError::forbidden(path, wrong));
    }
    if super::super::qos::class(object) != old.text("status.qosClass") && old.has("status.qosClass")
    {
        let wrong = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(
            path,
            super::super::qos::class(object),
            wrong,
        ));
    }
}
