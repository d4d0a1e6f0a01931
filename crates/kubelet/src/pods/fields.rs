//! What fieldRef and resourceFieldRef stand for, in environments and in downwardAPI files.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{resources, view::PodView};

/// A reference that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not a field that can be referred to.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// Not a resource that can be referred to.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// A container that is not there.
    #[error("container {0} not found")]
    Container(String),
}

/// What of the node the fields show.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// What the node offers: the limit of a container that has none.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// The text of a field.
pub fn field(pod: &PodView, around: &Surroundings, path: &str) -> Result<String, FieldError> {
    let metadata = &pod.pod().metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(FieldError::Path(path.to_owned())),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => around.node_name.clone(),
        "spec.serviceAccountName" => pod.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => around.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => around.host_ips.join(","),
        "status.podIP" => around.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => around.pod_ips.join(","),
        _ => return Err(FieldError::Path(path.to_owned())),
    })
}

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    lines.join("\n")
}

/// A string in double quotes as Go writes it.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of a resource of a container; `own` is the container that asks.
pub fn resource(
    pod: &PodView,
    around: &Surroundings,
    selector: &ResourceFieldSelector,
    own: Option<&Container>,
) -> Result<String, FieldError> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => {
            pod.container(name)
                .ok_or_else(|| FieldError::Container(name.to_owned()))?
                .0
        }
        None => own.ok_or_else(|| FieldError::Container(String::new()))?,
    };
    let unsupported = || FieldError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let own_requirements = container.resources.as_ref();
    let quantity = match list {
        "limits" => own_requirements
            .and_then(|r| r.limits.as_ref())
            .and_then(|l| l.get(name))
            .or_else(|| around.allocatable.get(name)),
        "requests" => own_requirements
            .and_then(|r| r.requests.as_ref())
            .and_then(|l| l.get(name)),
        _ => return Err(unsupported()),
    };
    let divisor = selector
        .divisor
        .as_ref()
        .map(resources::nano)
        .filter(|d| *d > 0)
        .unwrap_or(1_000_000_000);
    let amount = quantity.map_or(0, resources::nano);
    Ok((amount.div_euclid(divisor) + i128::from(amount.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod() -> PodView {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u",
                "labels": {"b": "2", "a": "say \"hi\"\n"}},
            "spec": {"containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}}
            ]}
        });
        PodView::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    #[test]
    fn fields() {
        let around = Surroundings {
            pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()],
            ..Default::default()
        };
        let cases = [
            ("metadata.name", "p"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a=\"say \\\"hi\\\"\\n\"\nb=\"2\""),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
        ];
        for (path, want) in cases {
            assert_eq!(field(&pod(), &around, path).as_deref(), Ok(want), "{path}");
        }
        assert!(field(&pod(), &around, "spec.containers").is_err());
    }

    #[test]
    fn resources() {
        let around = Surroundings {
            allocatable: [("memory".to_owned(), Quantity("2Gi".into()))].into(),
            ..Default::default()
        };
        let get = |resource_name: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                container_name: Some("c".into()),
                divisor: divisor.map(|d| Quantity(d.into())),
                resource: resource_name.into(),
            };
            resource(&pod(), &around, &selector, None).expect("supported")
        };
        assert_eq!(get("limits.cpu", None), "2");
        assert_eq!(get("limits.cpu", Some("1m")), "1500");
        assert_eq!(get("limits.memory", Some("1Mi")), "2048");
        assert_eq!(get("requests.memory", None), (100 << 20).to_string());
    }
}
