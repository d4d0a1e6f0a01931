//! PodSecurity: the Pod Security Standards, per namespace by its labels. Pods that break the
//! enforced level are refused; the warn level also tells writers of workloads.

mod checks;

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};
use checks::{Level, violations};

/// See the module.
pub struct PodSecurity;

/// Where workloads keep their pods' template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("apps", "deployments", "spec.template"),
    ("apps", "replicasets", "spec.template"),
    ("apps", "daemonsets", "spec.template"),
    ("apps", "statefulsets", "spec.template"),
    ("batch", "jobs", "spec.template"),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template"),
    ("", "replicationcontrollers", "spec.template"),
    ("", "podtemplates", "template"),
];

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let asked = matches!(admission.operation, Operation::Create | Operation::Update);
        if !asked || !matches!(admission.subresource, "" | "ephemeralcontainers") {
            return Ok(());
        }
        let pod = admission.of("", "pods");
        let template = TEMPLATES
            .iter()
            .find(|(group, plural, _)| admission.is(group, plural));
        if !pod && template.is_none() {
            return Ok(());
        }
        if pod && old.is_some_and(|old| unchanged(old, object)) {
            return Ok(());
        }
        let Some(namespace) =
            admission
                .objects()
                .value("", "namespaces", "", admission.call.namespace())
        else {
            return Ok(());
        };
        if let Some((_, _, path)) = template {
            if object.has(&format!("{path}.spec")) {
                audit(admission, &namespace, object.at(path));
                warn(admission, &namespace, object.at(path));
            }
            return Ok(());
        }
        let (level, version) = level(&namespace, "enforce");
        let found = violations(level, object);
        let policy = format!("{}:{version}", level.name());
        let notes = &admission.call.annotations;
        notes.add("pod-security.kubernetes.io/enforce-policy", policy);
        audit(admission, &namespace, object);
        if found.is_empty() {
            warn(admission, &namespace, object);
            return Ok(());
        }
        let why = format!(
            "violates PodSecurity \"{}:{version}\": {}",
            level.name(),
            found.join(", ")
        );
        Err(admission.forbid(object, why))
    }
}

/// Does the update leave alone what the standards look at?
fn unchanged(old: &Value, new: &Value) -> bool {
    let plain = |pod: &Value| {
        let mut spec = pod.at("spec").clone();
        for path in ["tolerations", "activeDeadlineSeconds", "nodeName"] {
            spec.remove(path);
        }
        spec
    };
    plain(old) == plain(new)
}

fn level(namespace: &Value, mode: &str) -> (Level, String) {
    let label = |suffix: &str| {
        meta::label(
            namespace,
            &format!("pod-security.kubernetes.io/{mode}{suffix}"),
        )
    };
    let level = match label("") {
        Some("baseline") => Level::Baseline,
        Some("privileged") | None => Level::Privileged,
        // A level that is none is taken as the strictest, as upstream does.
        Some(_) => Level::Restricted,
    };
    (level, label("-version").unwrap_or("latest").to_owned())
}

fn warn(admission: &Admission<'_>, namespace: &Value, pod: &Value) {
    if let Some(why) = breaks(namespace, "warn", pod) {
        admission.call.warn(why);
    }
}

fn audit(admission: &Admission<'_>, namespace: &Value, pod: &Value) {
    if let Some(why) = breaks(namespace, "audit", pod) {
        let notes = &admission.call.annotations;
        notes.add("pod-security.kubernetes.io/audit-violations", why);
    }
}

/// What the pod breaks of the level of a mode that refuses nothing.
fn breaks(namespace: &Value, mode: &str, pod: &Value) -> Option<String> {
    let (level, version) = level(namespace, mode);
    let found = violations(level, pod);
    (!found.is_empty()).then(|| {
        format!(
            "would violate PodSecurity \"{}:{version}\": {}",
            level.name(),
            found.join(", ")
        )
    })
}
