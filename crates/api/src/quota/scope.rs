//! Which objects a quota is about.

use crate::object::Object;
use crate::resource::Resource;
use serde_json::Value;

/// Does the quota name scopes? Kinds that know none are in none.
pub fn has_any(quota: &Value) -> bool {
    !quota.list("spec.scopes").is_empty()
        || !quota.list("spec.scopeSelector.matchExpressions").is_empty()
}

/// Is the object within the quota's scopes?
pub fn matches(quota: &Value, resource: &Resource, object: &Value) -> bool {
    let pods = resource.gvk.group.is_empty() && &*resource.plural == "pods";
    let claims = resource.gvk.group.is_empty() && &*resource.plural == "persistentvolumeclaims";
    let fits = |scope: &str, operator: &str, values: &[Value]| {
        if claims && scope == "VolumeAttributesClass" {
            return listed(
                object.text("spec.volumeAttributesClassName"),
                operator,
                values,
            );
        }
        pods && pod_fits(object, scope, operator, values)
    };
    quota
        .texts("spec.scopes")
        .all(|scope| fits(scope, "Exists", &[]))
        && quota
            .list("spec.scopeSelector.matchExpressions")
            .iter()
            .all(|expression| {
                fits(
                    expression.text("scopeName"),
                    expression.text("operator"),
                    expression.list("values"),
                )
            })
}

fn listed(name: &str, operator: &str, values: &[Value]) -> bool {
    let among = values.iter().any(|v| v.as_str() == Some(name));
    match operator {
        "In" => among,
        "NotIn" => !among,
        "DoesNotExist" => name.is_empty(),
        _ => !name.is_empty(),
    }
}

fn pod_fits(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let terminating = pod
        .int("spec.activeDeadlineSeconds")
        .is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(pod),
        "NotBestEffort" => !best_effort(pod),
        "PriorityClass" => listed(pod.text("spec.priorityClassName"), operator, values),
        "CrossNamespacePodAffinity" => crosses(pod),
        _ => false,
    }
}

fn best_effort(pod: &Value) -> bool {
    !["spec.containers", "spec.initContainers"]
        .into_iter()
        .flat_map(|path| pod.list(path))
        .any(|c| {
            ["requests", "limits"].iter().any(|kind| {
                c.at("resources")
                    .pairs(kind)
                    .any(|(name, _)| matches!(name, "cpu" | "memory"))
            })
        })
}

fn crosses(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let affinity = pod.at("spec.affinity").at(kind);
        let required = affinity
            .list("requiredDuringSchedulingIgnoredDuringExecution")
            .iter();
        let preferred = affinity
            .list("preferredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .map(|term| term.at("podAffinityTerm"));
        required
            .chain(preferred)
            .any(|term| !term.list("namespaces").is_empty() || term.has("namespaceSelector"))
    })
}
