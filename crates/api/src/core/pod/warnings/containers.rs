//! What containers are warned of, each alone and together.

use schema::Value;

use super::fraction;
use crate::{core::pod::app_armor, meta, object::Object};

const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Warnings for the containers of a pod or template, which is at `at`.
pub fn warnings(pod: &Value, at: &str, warnings: &mut Vec<String>) {
    let spec = pod.at("spec");
    let mut all = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in spec.list(list).iter().enumerate() {
            all.push((format!("{at}spec.{list}[{index}]"), container));
        }
    }
    for (path, container) in &all {
        profiles(pod, container, at, warnings);
        for name in ["memory", "ephemeral-storage"] {
            for kind in ["limits", "requests"] {
                let amounts = container.at("resources").at(kind);
                fraction(amounts, name, &format!("{path}.resources.{kind}"), warnings);
            }
        }
        hidden(container, path, warnings);
    }
    let ports: Vec<(String, &Value)> = all
        .iter()
        .flat_map(|(path, container)| {
            let ports = container.list("ports").iter().enumerate();
            ports.map(move |(index, port)| (format!("{path}.ports[{index}]"), port))
        })
        .collect();
    same_ports(&ports, warnings);
    for (index, (path, port)) in ports.iter().enumerate() {
        let name = port.text("name");
        let first = ports[..index]
            .iter()
            .find(|(_, other)| !name.is_empty() && other.text("name") == name);
        if let Some((first, _)) = first {
            warnings.push(format!("{path}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}"));
        }
    }
}

/// Annotations that fields took the place of.
fn profiles(pod: &Value, container: &Value, at: &str, warnings: &mut Vec<String>) {
    let name = container.text("name");
    let key = format!("{SECCOMP}{name}");
    if !container.has("securityContext.seccompProfile") && meta::annotation(pod, &key).is_some() {
        warnings.push(format!("{at}metadata.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
    }
    let key = format!("{}{name}", app_armor::PREFIX);
    let Some(annotation) = meta::annotation(pod, &key) else {
        return;
    };
    let said = app_armor::profile(annotation).unwrap_or_default();
    let (own, whole) = (
        container.at(app_armor::FIELD),
        pod.at("spec").at(app_armor::FIELD),
    );
    // A pod's own field may be what the annotation was read as.
    let is_read = at.is_empty() && !said.is_null() && *own == said;
    if (own.is_null() || is_read) && (said.is_null() || *whole != said) {
        warnings.push(format!("{at}metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
    }
}

/// Variables given again without use of what they were.
fn hidden(container: &Value, path: &str, warnings: &mut Vec<String>) {
    let env = container.list("env");
    for (at, variable) in env.iter().enumerate() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if !env[..at].iter().any(|other| other.text("name") == name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            warnings.push(format!("{path}.env[{at}]: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

fn same_ports(ports: &[(String, &Value)], warnings: &mut Vec<String>) {
    let host = |port: &Value| port.int("hostPort").unwrap_or(0);
    for (index, (path, port)) in ports.iter().enumerate() {
        let ip = port.text("hostIP");
        if !ip.is_empty() && host(port) == 0 {
            warnings.push(format!(
                "{path}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                port.text("name"),
                port.int("containerPort").unwrap_or(0),
                port.text("protocol"),
            ));
        }
        for (other_path, other) in &ports[..index] {
            if other.int("containerPort") != port.int("containerPort")
                || other.text("protocol") != port.text("protocol")
            {
                continue;
            }
            let (own, theirs, other_ip) = (host(port), host(other), other.text("hostIP"));
            let what = if own == theirs && ip == other_ip {
                "duplicate"
            } else if own == 0 || theirs == 0 {
                "overlapping"
            } else if own == theirs && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{path}: {what} port definition with {other_path}"));
        }
    }
}
