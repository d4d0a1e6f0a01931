//! Defaults of pods and of every pod template.

use schema::{Map, Value};
use serde_json::json;

use crate::{object::Object, quantity::Quantity};

/// Puts `value` in where nothing, or nothing that counts, is set.
fn fill(map: &mut Map<String, Value>, key: &str, value: impl FnOnce() -> Value) {
    match map.get_mut(key) {
        None => {
            map.insert(key.to_owned(), value());
        }
        Some(old) if is_zero(old) => *old = value(),
        Some(_) => {}
    }
}

/// As `fill`, but a zero value that was set stays.
fn fill_absent(map: &mut Map<String, Value>, key: &str, value: impl FnOnce() -> Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value());
    }
}

fn is_zero(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("") || value.as_i64() == Some(0)
}

/// The first address is the one that stands alone; where they differ, that one is right.
fn addresses(pod: &mut Value) {
    let alone = pod.text("status.podIP").to_owned();
    let list = pod.list("status.podIPs").first();
    let first = list.map_or("", |first| first.text("ip")).to_owned();
    if !alone.is_empty() && alone != first {
        pod.set("status.podIPs", json!([{"ip": alone}]));
    } else if !first.is_empty() && alone.is_empty() {
        pod.set("status.podIP", first);
    }
}

/// Defaults of a pod alone, beyond those of its spec.
pub fn pod(object: &mut Value) {
    addresses(object);
    pod_spec(object.place("spec"));
    let spec = object.place("spec");
    for list in ["containers", "initContainers"] {
        for container in spec.list_mut(list) {
            requests_from_limits(container.place("resources"));
        }
    }
    pod_level_requests(spec);
    let host_network = spec.flag("hostNetwork");
    if let Value::Object(spec) = spec {
        fill_absent(spec, "enableServiceLinks", || true.into());
    }
    if host_network {
        for list in ["containers", "initContainers"] {
            for container in spec.list_mut(list) {
                for port in container.list_mut("ports") {
                    if port.int("hostPort").unwrap_or(0) == 0 {
                        let number = port.at("containerPort").clone();
                        port.set("hostPort", number);
                    }
                }
            }
        }
    }
}

fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.map("limits").filter(|limits| !limits.is_empty()) else {
        return;
    };
    let missing: Vec<(String, Value)> = limits
        .iter()
        .filter(|(name, _)| resources.at("requests").get(name).is_none())
        .map(|(name, limit)| (name.clone(), limit.clone()))
        .collect();
    if missing.is_empty() {
        return;
    }
    crate::meta::map_mut(resources.place("requests")).extend(missing);
}

/// Requests of the whole pod: what the containers ask for together, else its limits.
fn pod_level_requests(spec: &mut Value) {
    let Some(limits) = spec
        .map("resources.limits")
        .filter(|limits| !limits.is_empty())
    else {
        return;
    };
    let mut requests = spec.map("resources.requests").cloned().unwrap_or_default();
    for name in ["cpu", "memory"] {
        let sum: Quantity = spec
            .list("containers")
            .iter()
            .map(|c| Quantity::of(c.at("resources.requests").get(name).unwrap_or(&Value::Null)))
            .sum();
        if !sum.is_zero() && !requests.contains_key(name) {
            requests.insert(name.to_owned(), sum.into());
        }
    }
    for (name, limit) in limits {
        if !requests.contains_key(name) {
            requests.insert(name.clone(), limit.clone());
        }
    }
    spec.set("resources.requests", requests);
}

/// Defaults of a pod template.
pub fn template(template: &mut Value) {
    template.place("metadata");
    crate::meta::metadata_mut(template);
    pod_spec(template.place("spec"));
}

/// Defaults of a pod's spec, in a pod or in a template.
pub fn pod_spec(spec: &mut Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for item in spec.list_mut(list) {
            container(item);
        }
    }
    for item in spec.list_mut("volumes") {
        volume(item);
    }
    for constraint in spec.list_mut("topologySpreadConstraints") {
        constraint.set_default("nodeAffinityPolicy", "Honor");
        constraint.set_default("nodeTaintsPolicy", "Ignore");
    }
    let spec = crate::meta::map_mut(spec);
    // The two names of one field follow one another.
    let account = match (spec.get("serviceAccountName"), spec.get("serviceAccount")) {
        (Some(name), None) => Some(("serviceAccount", name.clone())),
        (None, Some(name)) => Some(("serviceAccountName", name.clone())),
        (Some(name), Some(old)) if name != old => Some(("serviceAccount", name.clone())),
        _ => None,
    };
    if let Some((key, name)) = account {
        spec.insert(key.to_owned(), name);
    }
    fill(spec, "dnsPolicy", || "ClusterFirst".into());
    fill(spec, "restartPolicy", || "Always".into());
    fill_absent(spec, "securityContext", || json!({}));
    fill_absent(spec, "terminationGracePeriodSeconds", || 30.into());
    fill(spec, "schedulerName", || "default-scheduler".into());
}

fn container(container: &mut Value) {
    let Value::Object(map) = container else {
        return;
    };
    if map.get("imagePullPolicy").is_none_or(is_zero) {
        let image = map.get("image").and_then(Value::as_str).unwrap_or("");
        map.insert("imagePullPolicy".to_owned(), pull_policy(image).into());
    }
    fill(map, "terminationMessagePath", || {
        "/dev/termination-log".into()
    });
    fill(map, "terminationMessagePolicy", || "File".into());
    fill_absent(map, "resources", || json!({}));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(probe)) = map.get_mut(name) {
            fill(probe, "timeoutSeconds", || 1.into());
            fill(probe, "periodSeconds", || 10.into());
            fill(probe, "successThreshold", || 1.into());
            fill(probe, "failureThreshold", || 3.into());
            http_get(probe.get_mut("httpGet"));
            if let Some(Value::Object(grpc)) = probe.get_mut("grpc") {
                fill_absent(grpc, "service", || "".into());
            }
        }
    }
    if let Some(lifecycle) = map.get_mut("lifecycle") {
        http_get(lifecycle.at_mut("postStart.httpGet"));
        http_get(lifecycle.at_mut("preStop.httpGet"));
    }
    for port in map
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Value::Object(port) = port {
            fill(port, "protocol", || "TCP".into());
        }
    }
    for variable in map
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(Value::Object(field)) = variable.at_mut("valueFrom.fieldRef") {
            fill(field, "apiVersion", || "v1".into());
        }
        if let Some(Value::Object(field)) = variable.at_mut("valueFrom.resourceFieldRef") {
            fill_absent(field, "divisor", || "0".into());
        }
        if let Some(Value::Object(key)) = variable.at_mut("valueFrom.fileKeyRef") {
            fill_absent(key, "optional", || false.into());
        }
    }
}

fn http_get(action: Option<&mut Value>) {
    if let Some(Value::Object(action)) = action {
        fill(action, "path", || "/".into());
        fill(action, "scheme", || "HTTP".into());
    }
}

/// `Always` for `:latest` or no tag at all, else `IfNotPresent`.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, last) = name.rsplit_once('/').unwrap_or(("", name));
    let (base, tag) = last
        .split_once(':')
        .map_or((last, None), |(base, tag)| (base, Some(tag)));
    // A name that is no name has no tag either.
    let upper = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    if base.is_empty() || upper(base) || path.split('/').skip(1).any(upper) {
        return "IfNotPresent";
    }
    if tag == Some("latest") || (tag.is_none() && digest.is_none()) {
        "Always"
    } else {
        "IfNotPresent"
    }
}

const MODE: i64 = 0o644;

fn volume(volume: &mut Value) {
    let Value::Object(map) = volume else { return };
    if map.keys().all(|key| key == "name") {
        map.insert("emptyDir".to_owned(), json!({}));
        return;
    }
    for (kind, source) in map {
        let Value::Object(source) = source else {
            continue;
        };
        match kind.as_str() {
            "secret" | "configMap" => fill_absent(source, "defaultMode", || MODE.into()),
            "downwardAPI" => {
                fill_absent(source, "defaultMode", || MODE.into());
                downward_items(source.get_mut("items"));
            }
            "projected" => {
                fill_absent(source, "defaultMode", || MODE.into());
                for part in source
                    .get_mut("sources")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    if let Some(Value::Object(token)) = part.get_mut("serviceAccountToken") {
                        fill_absent(token, "expirationSeconds", || 3600.into());
                    }
                    downward_items(part.at_mut("downwardAPI.items"));
                }
            }
            "hostPath" => fill_absent(source, "type", || "".into()),
            "image" if source.get("pullPolicy").is_none_or(is_zero) => {
                let reference = source
                    .get("reference")
                    .and_then(Value::as_str)
                    .unwrap_or("");
                let policy = pull_policy(reference);
                source.insert("pullPolicy".to_owned(), policy.into());
            }
            "iscsi" => fill(source, "iscsiInterface", || "default".into()),
            "rbd" => {
                fill(source, "pool", || "rbd".into());
                fill(source, "user", || "admin".into());
                fill(source, "keyring", || "/etc/ceph/keyring".into());
            }
            "azureDisk" => {
                fill_absent(source, "cachingMode", || "ReadWrite".into());
                fill_absent(source, "kind", || "Shared".into());
                fill_absent(source, "fsType", || "ext4".into());
                fill_absent(source, "readOnly", || false.into());
            }
            "scaleIO" => {
                fill(source, "storageMode", || "ThinProvisioned".into());
                fill(source, "fsType", || "xfs".into());
            }
            "ephemeral" => {
                if let Some(spec) = source
                    .get_mut("volumeClaimTemplate")
                    .map(|template| template.place("spec"))
                {
                    spec.set_default("volumeMode", "Filesystem");
                }
            }
            _ => {}
        }
    }
}

fn downward_items(items: Option<&mut Value>) {
    for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::Object(field)) = item.get_mut("fieldRef") {
            fill(field, "apiVersion", || "v1".into());
        }
        if let Some(Value::Object(field)) = item.get_mut("resourceFieldRef") {
            fill_absent(field, "divisor", || "0".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pod() {
        let mut object = json!({"spec": {"serviceAccountName": "a", "containers": [{
            "name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            "readinessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
        }], "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}});
        pod(&mut object);
        let expected = json!({"spec": {
            "serviceAccountName": "a", "serviceAccount": "a", "enableServiceLinks": true,
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}}]
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}]
        }});
        assert_eq!(object, expected);
        pod(&mut object);
        assert_eq!(object, expected, "defaulting is idempotent");
    }

    #[test]
    fn pull_policies() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0000", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
