//! What a pod is warned of.

use schema::Value;

use crate::{meta, names, object::Object};

/// Warnings for a new pod.
pub fn pod(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let bad = names::dns1123_label(meta::name(object));
    if !meta::name(object).is_empty() && !bad.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            bad.join(" ")
        ));
    }
    spec(object.at("spec"), "spec", &mut warnings);
    warnings
}

/// Warnings for a pod's spec, in a pod or in a template.
pub fn spec(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (key, replacement) in [
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        (
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ),
        (
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
        ),
        (
            "beta.kubernetes.io/instance-type",
            "node.kubernetes.io/instance-type",
        ),
    ] {
        if spec.at("nodeSelector").get(key).is_some() {
            warnings.push(format!(
                "{path}.nodeSelector[{key}]: deprecated since v1.14; use \"{replacement}\" instead"
            ));
        }
    }
    for (index, volume) in spec.list("volumes").iter().enumerate() {
        if volume.has("gitRepo") {
            warnings.push(format!(
                "{path}.volumes[{index}].gitRepo: deprecated in v1.11"
            ));
        }
    }
    if spec
        .int("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
    {
        warnings.push(format!("{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in spec.list(list).iter().enumerate() {
            let env = container.list("env");
            for (at, variable) in env.iter().enumerate() {
                let name = variable.text("name");
                if env[..at].iter().any(|other| other.text("name") == name) {
                    warnings.push(format!("{path}.{list}[{index}].env[{at}]: hides previous definition of \"{name}\", which may be dropped when using apply"));
                }
            }
            let ports = container.list("ports");
            for (at, port) in ports.iter().enumerate() {
                let same = |other: &Value| {
                    other.int("containerPort") == port.int("containerPort")
                        && other.text("protocol") == port.text("protocol")
                        && other.int("hostPort") == port.int("hostPort")
                        && other.text("hostIP") == port.text("hostIP")
                };
                if let Some(first) = ports[..at].iter().position(same) {
                    warnings.push(format!("{path}.{list}[{index}].ports[{at}]: duplicate port definition with {path}.{list}[{index}].ports[{first}]"));
                }
            }
        }
    }
}
