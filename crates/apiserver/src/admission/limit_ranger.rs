//! LimitRanger: defaults and bounds of what containers, pods and claims ask for.

use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::quantity::Quantity;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("", "pods") || admission.operation != Operation::Create {
            return Ok(());
        }
        for range in ranges(admission) {
            default_pod(&range, pod);
        }
        Ok(())
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let pod = admission.is("", "pods") && admission.operation == Operation::Create;
        let claim = admission.is("", "persistentvolumeclaims")
            && matches!(admission.operation, Operation::Create | Operation::Update);
        if !pod && !claim {
            return Ok(());
        }
        let mut wrong = Vec::new();
        for range in ranges(admission) {
            for limit in range.list("spec.limits") {
                match limit.text("type") {
                    "Container" if pod => containers(object)
                        .for_each(|c| check(limit, "Container", c.at("resources"), &mut wrong)),
                    "Pod" if pod => check(limit, "Pod", &sums(object), &mut wrong),
                    "PersistentVolumeClaim" if claim => {
                        check(
                            limit,
                            "PersistentVolumeClaim",
                            object.at("spec.resources"),
                            &mut wrong,
                        );
                    }
                    _ => {}
                }
            }
        }
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(admission.forbid(object, one)),
            many => Err(admission.forbid(object, format!("[{}]", many.join(", ")))),
        }
    }
}

fn ranges(admission: &Admission<'_>) -> Vec<Arc<Value>> {
    admission
        .objects()
        .values("", "limitranges", Some(admission.call.namespace()))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.list("spec.initContainers")
        .iter()
        .chain(pod.list("spec.containers"))
}

fn default_pod(range: &Value, pod: &mut Value) {
    let mut notes = Vec::new();
    for limit in range
        .list("spec.limits")
        .iter()
        .filter(|l| l.text("type") == "Container")
    {
        for (path, what) in [
            ("spec.initContainers", "init container"),
            ("spec.containers", "container"),
        ] {
            for container in pod.list_mut(path) {
                let container_name = container.text("name").to_owned();
                for (from, to, word) in [
                    ("defaultRequest", "resources.requests", "request"),
                    ("default", "resources.limits", "limit"),
                ] {
                    let mut set = Vec::new();
                    for (resource, quantity) in limit.pairs(from) {
                        let map = meta::map_mut(container.place(to));
                        if !map.contains_key(resource) {
                            map.insert(resource.to_owned(), quantity.clone());
                            set.push(resource);
                        }
                    }
                    if !set.is_empty() {
                        notes.push(format!(
                            "{} {word} for {what} {container_name}",
                            set.join(", ")
                        ));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        meta::set_annotation(pod, "kubernetes.io/limit-ranger", &note);
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// The requests and limits of a whole pod: containers together, or the largest init container.
fn sums(pod: &Value) -> Value {
    let mut sums = serde_json::json!({"requests": {}, "limits": {}});
    for (path, add) in [("spec.containers", true), ("spec.initContainers", false)] {
        for container in pod.list(path) {
            for kind in ["requests", "limits"] {
                for (resource, value) in container.at("resources").pairs(kind) {
                    let Some(value) = quantity(value) else {
                        continue;
                    };
                    let map = meta::map_mut(sums.place(kind));
                    let held = map.get(resource).and_then(quantity);
                    let sum = match held {
                        None => value,
                        Some(held) if add => held + value,
                        Some(held) if held < value => value,
                        Some(held) => held,
                    };
                    map.insert(resource.to_owned(), sum.to_string().into());
                }
            }
        }
    }
    sums
}

fn check(limit: &Value, kind: &str, resources: &Value, wrong: &mut Vec<String>) {
    let of = |kind: &str, resource: &str| resources.at(kind).get(resource).and_then(quantity);
    for (resource, bound) in limit.pairs("min") {
        let Some(bound) = quantity(bound) else {
            continue;
        };
        let found = match (of("requests", resource), of("limits", resource)) {
            (None, _) => "  No request is specified".to_owned(),
            (Some(request), _) if request < bound => format!(", but request is {request}"),
            (_, Some(upper)) if upper < bound => format!(", but limit is {upper}"),
            _ => continue,
        };
        let dot = if found.starts_with(' ') { "." } else { "" };
        wrong.push(format!(
            "minimum {resource} usage per {kind} is {bound}{dot}{found}"
        ));
    }
    for (resource, bound) in limit.pairs("max") {
        let Some(bound) = quantity(bound) else {
            continue;
        };
        let found = match (of("limits", resource), of("requests", resource)) {
            (None, _) if kind != "PersistentVolumeClaim" => "  No limit is specified".to_owned(),
            (Some(upper), _) if upper > bound => format!(", but limit is {upper}"),
            (_, Some(request)) if request > bound => format!(", but request is {request}"),
            _ => continue,
        };
        let dot = if found.starts_with(' ') { "." } else { "" };
        wrong.push(format!(
            "maximum {resource} usage per {kind} is {bound}{dot}{found}"
        ));
    }
    for (resource, ratio) in limit.pairs("maxLimitRequestRatio") {
        let Some(ratio) = quantity(ratio) else {
            continue;
        };
        let request = quantity(
            resources
                .at("requests")
                .get(resource)
                .unwrap_or(&Value::Null),
        );
        let upper = quantity(resources.at("limits").get(resource).unwrap_or(&Value::Null));
        let (Some(request), Some(upper)) = (request, upper) else {
            wrong.push(format!("{resource} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"));
            continue;
        };
        let (request, upper, most) = (request.as_f64(), upper.as_f64(), ratio.as_f64());
        if request > 0.0 && upper / request > most {
            wrong.push(format!(
                "{resource} max limit to request ratio per {kind} is {ratio}, but provided ratio is {:.6}",
                upper / request
            ));
        }
    }
}
