//! What is wrong with pods, and with every pod template.

mod affinity;
mod container;
mod env;
mod resources;
mod security;
mod update;
mod volume;

pub use affinity::{node_selector, node_selector_term, taints, tolerations};
pub use resources::{resource_name, resources as container_resources};
pub use update::{ephemeral_containers, main as update, resize, status};
pub use volume::{csi_driver_name, volumes};

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    validation::{
        checks::{labels, one_of, quantity, required, wrongs},
        metadata,
    },
};

/// Everything wrong with a new pod.
pub fn create(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    pod_spec(spec, object, &path, errors);
    if spec.text("serviceAccountName").is_empty() {
        for (index, volume) in spec.list("volumes").iter().enumerate() {
            for (at, source) in volume.list("projected.sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    let volumes = path.field("volumes");
                    let volume = volumes.index(index);
                    let projected = volume.field("projected");
                    let sources = projected.field("sources");
                    let wrong = "must not be specified when serviceAccountName is not set";
                    errors.push(FieldError::forbidden(
                        sources.index(at).field("serviceAccountToken"),
                        wrong,
                    ));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let list_path = path.field(list);
        for (index, container) in spec.list(list).iter().enumerate() {
            let image = container.text("image");
            if image.trim() != image && !image.is_empty() {
                let wrong = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(
                    list_path.index(index).field("image"),
                    image,
                    wrong,
                ));
            }
        }
    }
    if !spec.list("ephemeralContainers").is_empty() && !object.has("metadata.resourceVersion") {
        let wrong = "cannot be set on create";
        errors.push(FieldError::forbidden(
            path.field("ephemeralContainers"),
            wrong,
        ));
    }
    if spec.has("nodeName")
        && !spec.list("schedulingGates").is_empty()
        && !object.has("metadata.resourceVersion")
    {
        let wrong = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(path.field("nodeName"), wrong));
    }
}

/// A pod template, as workloads have one.
pub fn template(template: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    metadata::template(template, path, errors);
    let spec_path = path.field("spec");
    let spec = template.at("spec");
    pod_spec(spec, &Value::Null, &spec_path, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let wrong = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(
            spec_path.field("ephemeralContainers"),
            wrong,
        ));
    }
}

/// A pod's spec. `pod` is null in a template.
fn pod_spec(spec: &Value, pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !spec.has("terminationGracePeriodSeconds") {
        errors.push(FieldError::required(
            path.field("terminationGracePeriodSeconds"),
            "",
        ));
    }
    volume::volumes(spec.list("volumes"), pod, &path.field("volumes"), errors);
    container::containers(spec, path, errors);
    one_of(
        spec,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        path,
        errors,
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(spec, "dnsPolicy", &policies, path, errors);
    labels(spec.at("nodeSelector"), &path.field("nodeSelector"), errors);
    pod_security(spec, path, errors);
    affinity::affinity(spec.at("affinity"), &path.field("affinity"), errors);
    dns(spec, path, errors);
    for (index, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        required(
            secret,
            "name",
            &path.field("imagePullSecrets").index(index),
            errors,
        );
    }
    for (index, gate) in spec.list("readinessGates").iter().enumerate() {
        let kind = gate.text("conditionType");
        let path = path.field("readinessGates");
        wrongs(
            kind,
            names::qualified_name(kind),
            &path.index(index).field("conditionType"),
            errors,
        );
    }
    scheduling_gates(spec, path, errors);
    affinity::spread(spec, path, errors);
    names_of(spec, path, errors);
    if let Some(seconds) = spec.int("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let wrong = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            path.field("activeDeadlineSeconds"),
            seconds,
            wrong,
        ));
    }
    affinity::tolerations(spec.list("tolerations"), &path.field("tolerations"), errors);
    host_aliases(spec, path, errors);
    if spec.has("preemptionPolicy") {
        one_of(
            spec,
            "preemptionPolicy",
            &["PreemptLowerPriority", "Never"],
            path,
            errors,
        );
    }
    let overhead = path.field("overhead");
    for (name, value) in spec.pairs("overhead") {
        resources::resource_name(name, &overhead.key(name), errors);
        quantity(value, &overhead.key(name), errors);
    }
    if spec.has("os") {
        one_of(
            spec.at("os"),
            "name",
            &["linux", "windows"],
            &path.field("os"),
            errors,
        );
    }
    resources::pod_resources(spec, path, errors);
}

fn names_of(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    type Check = fn(&str) -> Vec<String>;
    let checks: [(&str, Check); 6] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ];
    for (field, check) in checks {
        let text = spec.text(field);
        if !text.is_empty() {
            wrongs(text, check(text), &path.field(field), errors);
        }
    }
}

fn scheduling_gates(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("schedulingGates");
    let gates = spec.list("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        wrongs(
            name,
            names::qualified_name(name),
            &list.index(index),
            errors,
        );
        if gates[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(list.index(index), name));
        }
    }
}

fn pod_security(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let context = spec.at("securityContext");
    let path_context = path.field("securityContext");
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let wrong = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(
            path.field("shareProcessNamespace"),
            true,
            wrong,
        ));
    }
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        security::user_or_group(context, field, &path_context, errors);
    }
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        let list = path_context.field("supplementalGroups");
        security::id(group, &list.index(index), errors);
    }
    let sysctls = path_context.field("sysctls");
    for (index, sysctl) in context.list("sysctls").iter().enumerate() {
        let name = sysctl.text("name");
        let path = sysctls.index(index);
        if name.is_empty() {
            errors.push(FieldError::required(path.field("name"), ""));
        } else if name.len() > 253 || !is_sysctl(name) {
            let wrong = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
        if context.list("sysctls")[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
    if context.has("fsGroupChangePolicy") {
        one_of(
            context,
            "fsGroupChangePolicy",
            &["OnRootMismatch", "Always"],
            &path_context,
            errors,
        );
    }
    if context.has("supplementalGroupsPolicy") {
        one_of(
            context,
            "supplementalGroupsPolicy",
            &["Merge", "Strict"],
            &path_context,
            errors,
        );
    }
    security::seccomp(
        context.at("seccompProfile"),
        &path_context.field("seccompProfile"),
        errors,
    );
}

fn is_sysctl(name: &str) -> bool {
    name.split(['.', '/']).all(|part| {
        let bytes = part.as_bytes();
        let edge =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    })
}

fn dns(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let config = spec.at("dnsConfig");
    let path = path.field("dnsConfig");
    if spec.text("dnsPolicy") == "None" && config.list("nameservers").is_empty() {
        let wrong = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(path.field("nameservers"), wrong));
    }
    let nameservers = config.list("nameservers");
    if nameservers.len() > 3 {
        let wrong = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(
            path.field("nameservers"),
            config.at("nameservers").clone(),
            wrong,
        ));
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        wrongs(
            server,
            names::ip(server),
            &path.field("nameservers").index(index),
            errors,
        );
    }
    if config.list("searches").len() > 32 {
        let wrong = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(
            path.field("searches"),
            config.at("searches").clone(),
            wrong,
        ));
    }
    for (index, search) in config.texts("searches").enumerate() {
        let bare = search.strip_suffix('.').unwrap_or(search);
        if bare.is_empty() {
            continue;
        }
        wrongs(
            search,
            names::dns1123_subdomain_with_underscore(bare),
            &path.field("searches").index(index),
            errors,
        );
    }
    for (index, option) in config.list("options").iter().enumerate() {
        required(option, "name", &path.field("options").index(index), errors);
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("hostAliases");
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = list.index(index);
        let ip = alias.text("ip");
        wrongs(ip, names::ip(ip), &path.field("ip"), errors);
        for (at, host) in alias.texts("hostnames").enumerate() {
            wrongs(
                host,
                names::dns1123_subdomain(host),
                &path.field("hostnames").index(at),
                errors,
            );
        }
    }
}
