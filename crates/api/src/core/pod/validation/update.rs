//! What of a pod may change, by which part of it.

use schema::{Path, Value, field_error::FieldError};

use super::{MIRROR, annotations, any};
use crate::{core::pod::qos, meta, object::Object};

const SPEC: Path<'static> = Path::ROOT;

/// A write of the pod itself.
pub fn main(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    any(object, errors);
    let metadata = SPEC.field("metadata");
    annotations::changes(object, old, &metadata.field("annotations"), errors);
    let path = SPEC.field("spec");
    let (new, before) = (object.at("spec"), old.at("spec"));
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
            errors.push(FieldError::forbidden(
                list.index(index).field("name"),
                wrong,
            ));
        }
    }
    if new == before {
        return;
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
        let (own, had) = (
            new.at("affinity.nodeAffinity"),
            before.at("affinity.nodeAffinity"),
        );
        if own != had {
            node_affinity_additions(own, had, &path, errors);
        }
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

/// What a gated pod asks of nodes may become narrower.
fn node_affinity_additions(
    new: &Value,
    old: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    const TERMS: &str = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let affinity = path.field("affinity");
    let node = affinity.field("nodeAffinity");
    let required = node.field("requiredDuringSchedulingIgnoredDuringExecution");
    let list = required.field("nodeSelectorTerms");
    let (terms, before) = (new.list(TERMS), old.list(TERMS));
    if before.is_empty() {
        return;
    }
    if terms.len() != before.len() {
        let wrong = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(list, new.at(TERMS).clone(), wrong));
        return;
    }
    for (index, (term, before)) in terms.iter().zip(before).enumerate() {
        let kinds = ["matchExpressions", "matchFields"];
        let was_empty = kinds.iter().all(|kind| before.list(kind).is_empty());
        let is_empty = kinds.iter().all(|kind| term.list(kind).is_empty());
        let kept = kinds
            .iter()
            .all(|kind| term.list(kind).starts_with(before.list(kind)));
        if !kept || (was_empty && !is_empty) {
            let wrong = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(list.index(index), term.clone(), wrong));
        }
    }
}

/// A write of `ephemeralcontainers`.
pub fn ephemeral_containers(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if meta::annotation(old, MIRROR).is_some() {
        errors.push(FieldError::forbidden(
            "",
            "static pods do not support ephemeral containers",
        ));
        return;
    }
    any(object, errors);
    let metadata = SPEC.field("metadata");
    annotations::changes(object, old, &metadata.field("annotations"), errors);
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

const ONLY_BASIC: &str = "only cpu and memory resources are mutable";

/// A write of `resize`: only CPU and memory, of containers and of the pod.
pub fn resize(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for (refused, wrong) in [
        (
            meta::annotation(old, MIRROR).is_some(),
            "static pods cannot be resized",
        ),
        (
            old.text("spec.os.name") == "windows",
            "windows pods cannot be resized",
        ),
    ] {
        if refused {
            errors.push(FieldError::forbidden("", wrong));
            return;
        }
    }
    any(object, errors);
    let path = SPEC.field("spec");
    let (new, before) = (object.at("spec"), old.at("spec"));
    let had = match old.text("status.qosClass") {
        "" => qos::class(old),
        class => class,
    };
    if qos::class(object) != had {
        let wrong = "Pod QOS Class may not change as a result of resizing";
        let class = object.text("status.qosClass");
        errors.push(FieldError::invalid(path, class, wrong));
    }
    let mut statuses = old.list("status.containerStatuses").iter();
    let running = statuses.find(|status| status.has("state.running"));
    if running.is_some_and(|status| !status.has("resources")) {
        let wrong = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(path, wrong));
    }
    let mut munged = new.clone();
    pod_level(&mut munged, before, &path, errors);
    if !old
        .list("status.nodeAllocatableResourceClaimStatuses")
        .is_empty()
    {
        let wrong = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(path, wrong));
    }
    if !same_containers(new, before, &path, errors) {
        return;
    }
    let count = errors.len();
    init_containers(&mut munged, before, &path, errors);
    let containers = path.field("containers");
    for (index, (item, before)) in munged
        .list_mut("containers")
        .iter_mut()
        .zip(before.list("containers"))
        .enumerate()
    {
        let own = containers.index(index);
        removed(item, before, "resource", &own.field("resources"), errors);
        keep_basic(item, before);
        if item != before {
            errors.push(FieldError::forbidden(path, ONLY_BASIC));
        }
    }
    if errors.len() == count && munged != *before {
        errors.push(FieldError::forbidden(path, ONLY_BASIC));
    }
}

/// The amounts of the pod as a whole.
fn pod_level(munged: &mut Value, before: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let set = |spec: &Value| {
        ["requests", "limits"].iter().any(|kind| {
            spec.at("resources")
                .map(kind)
                .is_some_and(|map| !map.is_empty())
        })
    };
    if !set(munged) && !set(before) {
        munged.restore("resources", before);
        return;
    }
    let own = path.field("resources");
    if before.has("resources") && !munged.has("resources") {
        let wrong = "pod-level resources cannot be removed";
        errors.push(FieldError::forbidden(own, wrong));
        return;
    }
    if before.has("resources") {
        removed(munged, before, "pod-level resource", &own, errors);
    }
    keep_basic(munged, before);
    if munged.at("resources") != before.at("resources") {
        let wrong = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(path, wrong));
    }
}

/// Amounts may change but not vanish.
fn removed(
    holder: &Value,
    before: &Value,
    what: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    for kind in ["requests", "limits"] {
        let now = holder.at("resources").at(kind);
        let mut old = before.at("resources").pairs(kind);
        if old.any(|(name, _)| now.get(name).is_none()) {
            let wrong = format!("{what} {kind} cannot be removed");
            errors.push(FieldError::forbidden(path.field(kind), wrong));
        }
    }
}

/// Puts CPU and memory back, so that what differs then is what may not.
fn keep_basic(holder: &mut Value, before: &Value) {
    for kind in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            holder.restore(&format!("resources.{kind}.{name}"), before);
        }
        let empty = holder
            .at("resources")
            .map(kind)
            .is_some_and(|map| map.is_empty());
        if empty && !before.at("resources").has(kind) {
            holder.remove(&format!("resources.{kind}"));
        }
    }
    if !before.has("resources") && holder.map("resources").is_some_and(|map| map.is_empty()) {
        holder.remove("resources");
    }
}

fn same_containers(
    new: &Value,
    before: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> bool {
    let count = errors.len();
    for list in ["containers", "initContainers"] {
        let own = path.field(list);
        if new.list(list).len() != before.list(list).len() {
            let wrong = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(own, wrong));
            continue;
        }
        for (index, (item, before)) in new.list(list).iter().zip(before.list(list)).enumerate() {
            if item.text("name") != before.text("name") {
                let wrong = format!("{list} may not be renamed or reordered on resize");
                let own = own.index(index);
                errors.push(FieldError::forbidden(own.field("name"), wrong));
            }
        }
    }
    errors.len() == count
}

fn init_containers(
    munged: &mut Value,
    before: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let list = path.field("initContainers");
    for (index, (item, before)) in munged
        .list_mut("initContainers")
        .iter_mut()
        .zip(before.list("initContainers"))
        .enumerate()
    {
        let own = list.index(index);
        removed(item, before, "resource", &own.field("resources"), errors);
        if item == before {
            continue;
        }
        keep_basic(item, before);
        if item != before {
            let wrong = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(own, wrong));
        }
        let restarts = |policy: &&Value| policy.text("restartPolicy") == "RestartContainer";
        let policies = item.list("resizePolicy").iter();
        if item.text("restartPolicy") != "Always" {
            for _ in policies.filter(restarts) {
                let wrong = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(FieldError::forbidden(own, wrong));
            }
        }
    }
}
