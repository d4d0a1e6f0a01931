//! What an object uses, in the names quotas have for it.

use std::collections::BTreeMap;

use crate::object::Object;
use crate::quantity::Quantity;
use crate::resource::Resource;
use schema::Map;
use serde_json::Value;

/// Amounts by name: `pods`, `requests.cpu`, `count/deployments.apps`.
pub type Usage = BTreeMap<String, Quantity>;

fn one() -> Quantity {
    number(1)
}

fn number(count: i64) -> Quantity {
    Quantity::of(&Value::from(count.to_string()))
}

/// Does the usage of these objects follow updates?
pub fn changes_with_updates(resource: &Resource) -> bool {
    resource.gvk.group.is_empty()
        && matches!(
            &*resource.plural,
            "pods" | "services" | "persistentvolumeclaims"
        )
}

/// What the object uses.
pub fn of(resource: &Resource, object: &Value) -> Usage {
    let mut usage = Usage::new();
    let core = resource.gvk.group.is_empty();
    let plural = &*resource.plural;
    if core && plural == "pods" && matches!(object.text("status.phase"), "Succeeded" | "Failed") {
        return usage;
    }
    usage.insert(format!("count/{}", resource.qualified()), one());
    match plural {
        "configmaps"
        | "secrets"
        | "replicationcontrollers"
        | "resourcequotas"
        | "pods"
        | "services"
        | "persistentvolumeclaims"
            if core =>
        {
            usage.insert(plural.to_owned(), one());
        }
        _ => {}
    }
    match plural {
        "pods" if core => pod(object, &mut usage),
        "services" if core => service(object, &mut usage),
        "persistentvolumeclaims" if core => claim(object, &mut usage),
        _ => {}
    }
    usage
}

fn service(object: &Value, usage: &mut Usage) {
    let ports = object.list("spec.ports").len() as i64;
    match object.text("spec.type") {
        "NodePort" => {
            usage.insert("services.nodeports".to_owned(), number(ports));
        }
        "LoadBalancer" => {
            usage.insert("services.loadbalancers".to_owned(), one());
            if object
                .at("spec.allocateLoadBalancerNodePorts")
                .as_bool()
                .unwrap_or(true)
            {
                usage.insert("services.nodeports".to_owned(), number(ports));
            }
        }
        _ => {}
    }
}

fn claim(object: &Value, usage: &mut Usage) {
    let class = match crate::meta::annotation(object, "volume.beta.kubernetes.io/storage-class") {
        Some(class) => class,
        None => object.text("spec.storageClassName"),
    };
    let storage = object
        .at("spec.resources.requests")
        .get("storage")
        .map(Quantity::of);
    let prefix = format!("{class}.storageclass.storage.k8s.io");
    if !class.is_empty() {
        usage.insert(format!("{prefix}/persistentvolumeclaims"), one());
    }
    if let Some(storage) = storage {
        if !class.is_empty() {
            usage.insert(format!("{prefix}/requests.storage"), storage);
        }
        usage.insert("requests.storage".to_owned(), storage);
    }
}

fn pod(object: &Value, usage: &mut Usage) {
    for (kind, amounts) in [
        ("requests", totals(object, "requests")),
        ("limits", totals(object, "limits")),
    ] {
        for (name, amount) in amounts {
            let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
            if kind == "requests" && (plain || name.starts_with("hugepages-")) {
                usage.insert(name.clone(), amount);
            }
            if kind == "requests" || plain {
                usage.insert(format!("{kind}.{name}"), amount);
            }
        }
    }
}

/// What the pod asks for as a whole: its containers (and restartable init containers) together, or
/// more where an init container needs it, and its overhead.
pub fn totals(pod: &Value, kind: &str) -> Usage {
    let mut sum = Usage::new();
    let add = |sum: &mut Usage, list: &Value| {
        for (name, amount) in list.as_object().into_iter().flatten() {
            let entry = sum.entry(name.clone()).or_default();
            *entry += Quantity::of(amount);
        }
    };
    let raise = |sum: &mut Usage, peak: &Usage| {
        for (name, amount) in peak {
            let entry = sum.entry(name.clone()).or_default();
            if *entry < *amount {
                *entry = *amount;
            }
        }
    };
    for container in pod.list("spec.containers") {
        add(&mut sum, container.at("resources").at(kind));
    }
    let (mut sidecars, mut peak) = (Usage::new(), Usage::new());
    for container in pod.list("spec.initContainers") {
        let own = container.at("resources").at(kind);
        if container.text("restartPolicy") == "Always" {
            add(&mut sum, own);
            add(&mut sidecars, own);
            raise(&mut peak, &sidecars);
        } else {
            let mut with = sidecars.clone();
            add(&mut with, own);
            raise(&mut peak, &with);
        }
    }
    raise(&mut sum, &peak);
    // A pod that says what it needs as a whole is taken at its word.
    for (name, amount) in pod.at("spec.resources").pairs(kind) {
        sum.insert(name.to_owned(), Quantity::of(amount));
    }
    let overhead = pod.at("spec.overhead");
    if kind == "requests" {
        add(&mut sum, overhead);
    } else {
        for (name, amount) in overhead.as_object().into_iter().flatten() {
            if let Some(entry) = sum.get_mut(name) {
                *entry += Quantity::of(amount);
            }
        }
    }
    sum
}

const COMPUTE: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

/// Does the quota demand that pods say what they need?
pub fn demands(hard: &Map<String, Value>, resource: &Resource) -> bool {
    resource.gvk.group.is_empty()
        && &*resource.plural == "pods"
        && COMPUTE.iter().any(|name| hard.contains_key(*name))
}

/// The demanded amounts that containers leave unset, with the containers.
pub fn unset(hard: &Map<String, Value>, pod: &Value) -> BTreeMap<&'static str, Vec<String>> {
    let mut unset: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for name in COMPUTE.into_iter().filter(|name| hard.contains_key(*name)) {
        let (kind, resource) = name.split_once('.').unwrap_or(("requests", name));
        if pod.at("spec.resources").at(kind).get(resource).is_some() {
            continue;
        }
        for path in ["spec.containers", "spec.initContainers"] {
            for container in pod.list(path) {
                if container.at("resources").at(kind).get(resource).is_none() {
                    unset
                        .entry(name)
                        .or_default()
                        .push(container.text("name").to_owned());
                }
            }
        }
    }
    unset.values_mut().for_each(|names| {
        names.sort();
        names.dedup();
    });
    unset
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_counted_as_they_run() {
        let pods = crate::catalog::builtin()
            .resource("", "v1", "pods")
            .unwrap();
        let pod = json!({"spec": {
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}},
            ],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}],
            "overhead": {"cpu": "50m"},
        }});
        let usage = of(pods, &pod);
        let text = |name: &str| usage.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(text("requests.cpu"), "1050m");
        assert_eq!(text("cpu"), "1050m");
        assert_eq!(text("limits.memory"), "1Gi");
        assert_eq!(text("pods"), "1");
        assert_eq!(text("count/pods"), "1");
        let mut over = pod;
        over["status"] = json!({"phase": "Failed"});
        assert!(of(pods, &over).is_empty());
    }

    #[test]
    fn demanded_amounts_are_named() {
        let hard = json!({"requests.cpu": "1", "limits.memory": "1Gi", "pods": "3"});
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}});
        let unset = unset(hard.as_object().unwrap(), &pod);
        assert_eq!(
            unset,
            BTreeMap::from([("limits.memory", vec!["a".to_owned()])])
        );
    }
}
