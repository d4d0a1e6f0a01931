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
        "resourceclaims" if &*resource.gvk.group == "resource.k8s.io" => {
            devices(object, &mut usage);
        }
        _ => {}
    }
    usage
}

/// What follows the name of a device class in the name that quotas have for its devices.
pub const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";

/// The most devices one claim can be given, which is what a request for all of them counts as.
const MAX_DEVICES: i64 = 32;

/// How many devices of which class a request asks for.
fn asked(request: &Value) -> Option<(String, i64)> {
    let count = match request.text("allocationMode") {
        "" | "ExactCount" => request.int("count").unwrap_or(1),
        "All" => MAX_DEVICES,
        _ => return None,
    };
    let class = request.text("deviceClassName");
    (!class.is_empty()).then(|| (format!("{class}{DEVICES}"), count))
}

/// Devices by class. Of alternatives the dearest counts, for each class.
fn devices(claim: &Value, usage: &mut Usage) {
    for request in claim.list("spec.devices.requests") {
        let mut most: BTreeMap<String, i64> = BTreeMap::new();
        let alternatives = request.list("firstAvailable").iter();
        // Before the first stable version the fields stood in the request itself.
        for (class, count) in alternatives
            .chain([request.at("exactly"), request])
            .filter_map(asked)
        {
            let entry = most.entry(class).or_default();
            *entry = (*entry).max(count);
        }
        for (class, count) in most {
            *usage.entry(class).or_default() += number(count);
        }
    }
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
    fn devices_are_counted_by_class() {
        let claims = crate::catalog::builtin()
            .resource("resource.k8s.io", "v1", "resourceclaims")
            .unwrap();
        let claim = json!({"spec": {"devices": {"requests": [
            {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
            {"exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
            {"firstAvailable": [
                {"deviceClassName": "gpu", "count": 3},
                {"deviceClassName": "gpu", "count": 1},
                {"deviceClassName": "cpu"},
            ]},
            {"deviceClassName": "gpu"},
        ]}}});
        let used = of(claims, &claim);
        let amount = |name: &str| used[&format!("{name}{DEVICES}")].value();
        assert_eq!((amount("gpu"), amount("nic"), amount("cpu")), (6, 32, 1));
        assert_eq!(used["count/resourceclaims.resource.k8s.io"].value(), 1);
    }

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
