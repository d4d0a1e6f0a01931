//! Whether the node takes a pod: the scheduler's own checks again, on the node's own knowledge,
//! because a pod can be bound past the scheduler or after the node changed. Pure.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Toleration};

use super::{
    resources,
    status::Verdict,
    view::{PodView, restartable},
};

/// Checks the pod against the node and the pods it has already.
pub fn check(pod: &PodView, others: &[PodView], node: &Node) -> Result<(), Verdict> {
    let reject = |reason: &str, message: String| {
        Err(Verdict {
            reason: reason.to_owned(),
            message: format!("Pod was rejected: {message}"),
        })
    };
    let predicate = |name: &str, why: &str| reject(name, format!("Predicate {name} failed: {why}"));
    if let Some(os) = &pod.spec().os
        && os.name != "linux"
    {
        return reject(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS".to_owned(),
        );
    }
    let active = active(pod, others);
    if let Err(short) = fits(pod, &active, node) {
        return reject(&format!("OutOf{}", short.resource), short.to_string());
    }
    if !selected(pod, node) {
        return predicate(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
        );
    }
    if ports_taken(pod, &active) {
        return predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        );
    }
    if !tolerates(pod, node) {
        return predicate(
            "TaintToleration",
            "node(s) had taints that the pod didn't tolerate",
        );
    }
    Ok(())
}

/// What the node lacks for the pod to have what it asks for, if anything.
pub fn shortage(pod: &PodView, others: &[PodView], node: &Node) -> Option<String> {
    let short = fits(pod, &active(pod, others), node).err()?;
    Some(short.to_string())
}

/// The pods beside this one that use something.
fn active<'a>(pod: &PodView, others: &'a [PodView]) -> Vec<&'a PodView> {
    others
        .iter()
        .filter(|other| other.uid() != pod.uid() && !other.is_terminal())
        .collect()
}

/// A resource that is short.
struct Short {
    resource: String,
    requested: i128,
    used: i128,
    capacity: i128,
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            resource,
            requested,
            used,
            capacity,
        } = self;
        write!(
            f,
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }
}

/// The first resource that is short.
fn fits(pod: &PodView, others: &[&PodView], node: &Node) -> Result<(), Short> {
    let short = |resource: &str, requested, used, capacity| Short {
        resource: resource.to_owned(),
        requested,
        used,
        capacity,
    };
    let none = resources::List::new();
    let allocatable = node
        .status
        .as_ref()
        .and_then(|s| s.allocatable.as_ref())
        .unwrap_or(&none);
    if let Some(most) = allocatable.get("pods").map(resources::value) {
        let used = others.len() as i128;
        if used + 1 > i128::from(most) {
            return Err(short("pods", 1, used, i128::from(most)));
        }
    }
    let wanted = resources::pod_requests(pod.spec());
    let mut names: Vec<_> = wanted.iter().filter(|(_, n)| **n > 0).collect();
    names.sort();
    for (name, requested) in names {
        // What the node does not know, the scheduler has answered for.
        let Some(capacity) = allocatable.get(name).map(resources::nano) else {
            continue;
        };
        let used: i128 = others
            .iter()
            .filter_map(|other| resources::pod_requests(other.spec()).get(name).copied())
            .sum();
        if used + requested > capacity {
            let unit = if name == "cpu" {
                1_000_000
            } else {
                1_000_000_000
            };
            return Err(short(name, requested / unit, used / unit, capacity / unit));
        }
    }
    Ok(())
}

fn ports_taken(pod: &PodView, others: &[&PodView]) -> bool {
    let ports = |pod: &PodView| -> Vec<(String, i32, String)> {
        pod.containers()
            .iter()
            .chain(
                pod.init_containers()
                    .iter()
                    .filter(|c| resources::is_sidecar(c)),
            )
            .flat_map(|c| c.ports.iter().flatten())
            .filter_map(|port| {
                let number = port.host_port.filter(|n| *n > 0)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                let ip = port
                    .host_ip
                    .clone()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or_else(|| "0.0.0.0".to_owned());
                Some((protocol, number, ip))
            })
            .collect()
    };
    let any = |ip: &str| ip == "0.0.0.0" || ip == "::";
    let taken: Vec<_> = others.iter().flat_map(|other| ports(other)).collect();
    ports(pod).iter().any(|(protocol, number, ip)| {
        taken
            .iter()
            .any(|(p, n, i)| p == protocol && n == number && (i == ip || any(i) || any(ip)))
    })
}

fn selected(pod: &PodView, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key));
    let spec = pod.spec();
    let simple = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    simple
        && required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| term_matches(term, node))
        })
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels: Vec<_> = term.match_expressions.iter().flatten().collect();
    let fields: Vec<_> = term.match_fields.iter().flatten().collect();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    labels.iter().all(|requirement| {
        let value = node
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(&requirement.key));
        requirement_met(requirement, value.map(String::as_str))
    }) && fields.iter().all(|requirement| {
        requirement.key == "metadata.name"
            && requirement_met(requirement, node.metadata.name.as_deref())
    })
}

fn requirement_met(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let mut values = requirement.values.iter().flatten();
    let number = |text: &str| text.parse::<i64>().ok();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.any(|other| other == v)),
        "NotIn" => value.is_none_or(|v| values.all(|other| other != v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" | "Lt" => {
            let (Some(have), Some(bound)) = (
                value.and_then(number),
                values.next().and_then(|v| number(v)),
            ) else {
                return false;
            };
            if requirement.operator == "Gt" {
                have > bound
            } else {
                have < bound
            }
        }
        _ => false,
    }
}

/// Whether the pod tolerates every taint that would throw it off again.
fn tolerates(pod: &PodView, node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let tolerations: Vec<&Toleration> = pod.spec().tolerations.iter().flatten().collect();
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .all(|taint| {
            tolerations.iter().any(|t| {
                let effect = t.effect.as_deref().unwrap_or_default();
                let key = t.key.as_deref().unwrap_or_default();
                let operator = t.operator.as_deref().unwrap_or("Equal");
                (effect.is_empty() || effect == taint.effect)
                    && (key == taint.key || (key.is_empty() && operator == "Exists"))
                    && (operator == "Exists"
                        || t.value.as_deref().unwrap_or_default()
                            == taint.value.as_deref().unwrap_or_default())
            })
        })
}

/// Whether a pod has begun before (then it is not asked again).
pub fn has_begun(pod: &PodView) -> bool {
    let status = pod.status();
    let phase = status.phase.as_deref().unwrap_or("Pending");
    phase != "Pending"
        || status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
            .any(|s| s.container_id.is_some())
        // A pod that only failed so far has begun too.
        || pod.containers().iter().any(|c| {
            status
                .container_statuses
                .iter()
                .flatten()
                .any(|s| s.name == c.name && s.restart_count > 0 && restartable(c, pod.spec(), 1))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(uid: &str, spec: serde_json::Value) -> PodView {
        let pod = serde_json::json!({
            "metadata": {"name": uid, "namespace": "ns", "uid": uid}, "spec": spec
        });
        PodView::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn node() -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n", "labels": {"zone": "a", "size": "5"}},
            "spec": {"taints": [
                {"key": "hard", "effect": "NoExecute"}, {"key": "soft", "effect": "NoSchedule"}
            ]},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}
        }))
        .expect("a node")
    }

    fn tolerant(mut spec: serde_json::Value) -> serde_json::Value {
        spec["tolerations"] = serde_json::json!([{"key": "hard", "operator": "Exists"}]);
        spec
    }

    fn cpu(amount: &str) -> serde_json::Value {
        tolerant(serde_json::json!({
            "containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]
        }))
    }

    #[test]
    fn reasons() {
        let plain = serde_json::json!({"containers": [{"name": "c"}]});
        let port = tolerant(serde_json::json!({
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]
        }));
        let mut elsewhere = tolerant(plain.clone());
        elsewhere["nodeSelector"] = serde_json::json!({"zone": "b"});
        let mut affine = tolerant(plain.clone());
        affine["affinity"] = serde_json::json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4"]}]}
            ]}
        }});
        let cases = [
            (cpu("1"), vec![cpu("1")], None),
            (cpu("1500m"), vec![cpu("1")], Some("OutOfcpu")),
            (
                cpu("1m"),
                vec![cpu("1m"), cpu("1m"), cpu("1m")],
                Some("OutOfpods"),
            ),
            (plain, vec![], Some("TaintToleration")),
            (port.clone(), vec![port], Some("NodePorts")),
            (elsewhere, vec![], Some("NodeAffinity")),
            (affine, vec![], None),
        ];
        for (spec, others, want) in cases {
            let others: Vec<_> = others
                .into_iter()
                .enumerate()
                .map(|(i, spec)| pod(&format!("o{i}"), spec))
                .collect();
            let got = check(&pod("p", spec.clone()), &others, &node()).err();
            assert_eq!(got.as_ref().map(|v| v.reason.as_str()), want, "{spec}");
        }
    }

    #[test]
    fn the_message_has_the_numbers() {
        let verdict =
            check(&pod("p", cpu("1500m")), &[pod("o", cpu("1"))], &node()).expect_err("too much");
        assert_eq!(
            verdict.message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
        );
    }
}
