//! What pods, and every pod template, are warned of.

mod containers;
mod labels;
mod paths;

pub use labels::{deprecated_label, label_selector, node_selector_term};

use schema::Value;

use crate::{
    core::storage::claim_spec_warnings, meta, names, object::Object, quantity::Quantity,
    validation::addresses,
};

const FUNCTIONLESS_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Volumes of plugins that are no more, and what is said of them.
const OLD_VOLUMES: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    (
        "scaleIO",
        "scaleIO",
        "deprecated in v1.16, non-functional in v1.22+",
    ),
    (
        "flocker",
        "flocker",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "quobyte",
        "quobyte",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
    (
        "cephfs",
        "cephfs",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
    (
        "rbd",
        "rbd",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
];

/// Warnings for a new pod.
pub fn pod(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    host_name(
        object,
        "this is used in the Pod's hostname, which can result in surprising behavior",
        &mut warnings,
    );
    spec(object, "", &mut warnings);
    warnings
}

/// Warns of a name that cannot be what pods' host names are made of.
pub fn host_name(object: &Value, why: &str, warnings: &mut Vec<String>) {
    let bad = names::dns1123_label(meta::name(object));
    if !meta::name(object).is_empty() && !bad.is_empty() {
        warnings.push(format!(
            "metadata.name: {why}; a DNS label is recommended: [{}]",
            bad.join(" ")
        ));
    }
}

/// Warnings for a pod or a template (`pod`), which is at `at`: empty, or with a dot at its end.
pub fn spec(pod: &Value, at: &str, warnings: &mut Vec<String>) {
    let spec = pod.at("spec");
    let path = format!("{at}spec");
    places(spec, &path, warnings);
    for (key, why) in FUNCTIONLESS_ANNOTATIONS {
        if meta::annotation(pod, key).is_some() {
            warnings.push(format!("{at}metadata.annotations[{key}]: {why}"));
        }
    }
    for (index, volume) in spec.list("volumes").iter().enumerate() {
        for (kind, shown, why) in OLD_VOLUMES {
            if volume.has(kind) {
                warnings.push(format!("{path}.volumes[{index}].{shown}: {why}"));
            }
        }
        let template = volume.at("ephemeral.volumeClaimTemplate");
        if !template.is_null() {
            let path = format!("{path}.volumes[{index}].ephemeral.volumeClaimTemplate.spec");
            claim_spec_warnings(template.at("spec"), &path, warnings);
        }
    }
    paths::overlaps(spec.list("volumes"), warnings);
    twice(spec, "hostAliases", "ip", &path, warnings);
    twice(spec, "imagePullSecrets", "name", &path, warnings);
    for (index, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            warnings.push(format!(
                "{path}.imagePullSecrets[{index}].name: invalid empty name \"\""
            ));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(
            spec.at("overhead"),
            name,
            &format!("{path}.overhead"),
            warnings,
        );
    }
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    if !spec.has("securityContext.seccompProfile") && meta::annotation(pod, SECCOMP).is_some() {
        warnings.push(format!(
            "{at}metadata.annotations[{SECCOMP}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
        ));
    }
    containers::warnings(pod, at, warnings);
    if spec
        .int("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
    {
        warnings.push(format!("{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity(spec, &path, warnings);
    for (index, server) in spec.texts("dnsConfig.nameservers").enumerate() {
        addresses::ip_warnings(
            server,
            &format!("{path}.dnsConfig.nameservers[{index}]"),
            warnings,
        );
    }
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}].ip");
        addresses::ip_warnings(alias.text("ip"), &path, warnings);
    }
}

/// Labels of nodes that have other names by now.
fn places(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (key, _) in spec.pairs("nodeSelector") {
        if let Some(why) = deprecated_label(key) {
            warnings.push(format!("{path}.nodeSelector[{key}]: {why}"));
        }
    }
    let own = format!("{path}.affinity.nodeAffinity");
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = spec.at("affinity.nodeAffinity");
    let terms = node.at(REQUIRED).list("nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        let path = format!("{own}.{REQUIRED}.nodeSelectorTerms[{index}]");
        node_selector_term(term, false, &path, warnings);
    }
    for (index, term) in node.list(PREFERRED).iter().enumerate() {
        let path = format!("{own}.{PREFERRED}[{index}].preference");
        node_selector_term(term.at("preference"), true, &path, warnings);
    }
    let constraints = spec.list("topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let key = constraint.text("topologyKey");
        if let Some(why) = deprecated_label(key) {
            warnings.push(format!("{path}.topologyKey: {key} is {why}"));
        }
        null_selector(constraint, &path, warnings);
    }
}

fn null_selector(term: &Value, path: &str, warnings: &mut Vec<String>) {
    if !term.has("labelSelector") {
        warnings.push(format!(
            "{path}.labelSelector: a null labelSelector results in matching no pod"
        ));
    }
}

fn affinity(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = spec.at("affinity").at(kind);
        let list = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in pods.list(list).iter().enumerate() {
            let path = format!("{path}.affinity.{kind}.{list}[{index}]");
            null_selector(term, &path, warnings);
        }
        let list = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in pods.list(list).iter().enumerate() {
            let path = format!("{path}.affinity.{kind}.{list}[{index}].podAffinityTerm");
            null_selector(term.at("podAffinityTerm"), &path, warnings);
        }
    }
}

/// Warns where the same value comes again.
fn twice(spec: &Value, list: &str, field: &str, path: &str, warnings: &mut Vec<String>) {
    let items = spec.list(list);
    for (index, item) in items.iter().enumerate() {
        let value = item.text(field);
        if items[..index]
            .iter()
            .any(|other| other.text(field) == value)
        {
            warnings.push(format!(
                "{path}.{list}[{index}].{field}: duplicate {field} {value:?}"
            ));
        }
    }
}

/// Warns of a part of a byte.
fn fraction(amounts: &Value, name: &str, path: &str, warnings: &mut Vec<String>) {
    let amount = amounts.get(name).unwrap_or(&Value::Null);
    let quantity = Quantity::of(amount);
    if !amount.is_null() && !quantity.is_whole() {
        warnings.push(format!(
            "{path}[{name}]: fractional byte value \"{quantity}\" is invalid, must be an integer"
        ));
    }
}
