//! What is wrong with pods, and with every pod template.

mod affinity;
mod annotations;
mod container;
mod env;
mod projected;
mod resources;
mod security;
mod status;
mod update;
mod volume;
mod windows;

pub use affinity::{node_selector, node_selector_term, taints, tolerations};
pub use projected::prefixed_key;
pub use resources::{
    amount, overhead, resource_name, resources as container_resources, standard_or_qualified,
    whole_amount,
};
pub use status::status;
pub use update::{ephemeral_containers, main as update, resize};
pub use volume::volumes;

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    validation::{
        addresses,
        checks::{labels, one_of, one_of_if_set, required, wrongs},
        metadata,
    },
};

/// Everything wrong with a new pod.
pub fn create(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    any(object, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let wrong = "cannot be set on create";
        errors.push(FieldError::forbidden(
            path.field("ephemeralContainers"),
            wrong,
        ));
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let wrong = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(path.field("nodeName"), wrong));
    }
    annotations::beside_fields(object, &path, errors);
}

/// Everything wrong with any pod.
fn any(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let metadata = Path::ROOT.field("metadata");
    annotations::of_pod(object, &metadata.field("annotations"), errors);
    pod_spec(spec, object, &path, errors);
    if spec.text("serviceAccountName").is_empty() {
        let volumes = path.field("volumes");
        for (index, volume) in spec.list("volumes").iter().enumerate() {
            let volume_path = volumes.index(index);
            let projected = volume_path.field("projected");
            let sources = projected.field("sources");
            for (at, source) in volume.list("projected.sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
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
            container::image_of_pod(container, &list_path.index(index), errors);
        }
    }
}

/// A pod template, as workloads have one.
pub fn template(template: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    metadata::template(template, path, errors);
    annotations::of_pod(template, &path.field("annotations"), errors);
    let spec_path = path.field("spec");
    let spec = template.at("spec");
    pod_spec(spec, &Value::Null, &spec_path, errors);
    annotations::beside_fields(template, &spec_path, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let wrong = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(
            spec_path.field("ephemeralContainers"),
            wrong,
        ));
    }
}

/// A pod template that took the place of another, which may have asked for parts of huge pages when that was
/// allowed.
pub fn template_after(
    template: &Value,
    old: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    const PART: &str = "is not positive integer multiple of hugepages-";
    let first = errors.len();
    self::template(template, path, errors);
    let is_part = |error: &FieldError| error.detail.contains(PART);
    if old.is_null() || !errors[first..].iter().any(is_part) {
        return;
    }
    let mut before = Vec::new();
    self::template(old, path, &mut before);
    if before.iter().any(is_part) {
        errors.retain(|error| !is_part(error));
    }
}

/// Every container of a spec, with its path.
fn visit(spec: &Value, path: &Path<'_>, see: &mut dyn FnMut(&Value, &Path<'_>)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list_path = path.field(list);
        for (index, item) in spec.list(list).iter().enumerate() {
            see(item, &list_path.index(index));
        }
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
    let volumes = volume::volumes(spec.list("volumes"), pod, &path.field("volumes"), errors);
    let claims: Vec<&str> = spec
        .list("resourceClaims")
        .iter()
        .map(|claim| claim.text("name"))
        .filter(|name| !name.is_empty())
        .collect();
    resource_claims(spec, pod, &path.field("resourceClaims"), errors);
    resources::pod_resources(spec, &claims, path, errors);
    let around = container::Surroundings {
        spec,
        volumes,
        claims,
    };
    container::containers(&around, path, errors);
    if spec.flag("hostNetwork") {
        host_network_ports(spec, !pod.is_null(), path, errors);
    }
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
    windows::host_process(spec, path, errors);
    host_users(spec, path, errors);
    host_name(spec, path, errors);
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
    if spec.has("overhead") {
        resources::overhead(spec.at("overhead"), &path.field("overhead"), errors);
    }
    if spec.has("os") {
        windows::system(spec, path, errors);
    }
    env::file_key_volumes(spec, path, errors);
}

/// References to claims of devices.
fn resource_claims(spec: &Value, pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let claims = spec.list("resourceClaims");
    let mirror = crate::meta::annotation(pod, MIRROR).is_some();
    for (index, claim) in claims.iter().enumerate() {
        if mirror {
            let wrong = "static pods do not support resource claims";
            errors.push(FieldError::forbidden("", wrong));
            continue;
        }
        let path = path.index(index);
        let name = required(claim, "name", &path, errors);
        let field = path.field("name");
        if claims[..index]
            .iter()
            .any(|other| !name.is_empty() && other.text("name") == name)
        {
            errors.push(FieldError::duplicate(field, name));
        } else if !name.is_empty() {
            wrongs(name, names::dns1123_label(name), &field, errors);
        }
        let wrong = match (
            claim.has("resourceClaimName"),
            claim.has("resourceClaimTemplateName"),
        ) {
            (true, true) => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            (false, false) => {
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            }
            _ => "",
        };
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(path, claim.clone(), wrong));
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.has(field) {
                let name = claim.text(field);
                wrongs(
                    name,
                    names::dns1123_subdomain(name),
                    &path.field(field),
                    errors,
                );
            }
        }
    }
}

/// The annotation of a pod that mirrors one of a node's own.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

fn host_network_ports(spec: &Value, is_pod: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let containers = path.field("containers");
    for (index, item) in spec.list("containers").iter().enumerate() {
        let container = containers.index(index);
        let ports = container.field("ports");
        for (at, port) in item.list("ports").iter().enumerate() {
            let number = |field| port.int(field).unwrap_or(0);
            let host = number("hostPort");
            if (is_pod || host != 0) && host != number("containerPort") {
                errors.push(FieldError::invalid(
                    ports.index(at).field("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
}

/// Users of its own, which do not go with the host's namespaces.
fn host_users(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const WRONG: &str = "when `hostUsers` is false";
    if spec.at("hostUsers").as_bool() != Some(false) {
        return;
    }
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.flag(field) {
            errors.push(FieldError::forbidden(path.field(shown), WRONG));
        }
    }
    visit(spec, path, &mut |item, path| {
        if !item.list("volumeDevices").is_empty() {
            errors.push(FieldError::forbidden(path.field("volumeDevices"), WRONG));
        }
    });
}

fn host_name(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !spec.has("hostnameOverride") {
        return;
    }
    let field = path.field("hostnameOverride");
    if spec.flag("setHostnameAsFQDN") {
        let wrong = "may not be specified when setHostnameAsFQDN is true";
        errors.push(FieldError::forbidden(field, wrong));
    }
    if spec.flag("hostNetwork") {
        let wrong = "may not be specified when hostNetwork is true";
        errors.push(FieldError::forbidden(field, wrong));
    }
    let name = spec.text("hostnameOverride");
    if name.len() > 64 {
        errors.push(FieldError::too_long(field, 64));
    }
    wrongs(name, names::dns1123_subdomain(name), &field, errors);
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
        // The empty class is one that was given.
        if !text.is_empty() || (field == "runtimeClassName" && spec.has(field)) {
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
            path_context.field("shareProcessNamespace"),
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
        } else if context.list("sysctls")[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        host_sysctl(name, spec, &path.field("name"), errors);
    }
    // What mounts would be labelled is not for choosing while `SELinuxMount` is off.
    let known: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["Recursive"]),
    ];
    for (field, known) in known {
        one_of_if_set(context, field, known, &path_context, errors);
    }
    windows::options(
        context.at("windowsOptions"),
        &path_context.field("windowsOptions"),
        errors,
    );
    security::apparmor(
        context.at("appArmorProfile"),
        &path_context.field("appArmorProfile"),
        errors,
    );
    security::seccomp(
        context.at("seccompProfile"),
        &path_context.field("seccompProfile"),
        errors,
    );
}

/// Settings of a namespace that is the host's are not the pod's.
fn host_sysctl(name: &str, spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let name_dots = name.replace('/', ".");
    let net = name_dots.starts_with("net.");
    let ipc = matches!(&*name_dots, "kernel.sem")
        || ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| name_dots.starts_with(prefix));
    for (field, applies) in [("hostNetwork", net), ("hostIPC", ipc)] {
        if applies && spec.flag(field) {
            let wrong = format!("may not be specified when '{field}' is true");
            errors.push(FieldError::invalid(path, name, wrong));
        }
    }
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
    let nameservers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            let wrong = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(path, wrong));
            return;
        }
        if nameservers.is_empty() {
            let wrong = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(path.field("nameservers"), wrong));
            return;
        }
    }
    let servers = path.field("nameservers");
    if nameservers.len() > 3 {
        let wrong = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(servers, nameservers.to_vec(), wrong));
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        addresses::ip(server, &servers.index(index), errors);
    }
    let list = path.field("searches");
    let searches: Vec<&str> = config.texts("searches").collect();
    let joined: usize = searches.iter().map(|search| search.len() + 1).sum();
    for (bad, wrong) in [
        (
            searches.len() > 32,
            "must not have more than 32 search paths",
        ),
        (
            joined > 2048 + 1,
            "must not have more than 2048 characters (including spaces) in the search list",
        ),
    ] {
        if bad {
            let value = config.at("searches").clone();
            errors.push(FieldError::invalid(list, value, wrong));
        }
    }
    for (index, search) in searches.into_iter().enumerate() {
        if search == "." {
            continue;
        }
        let bare = search.strip_suffix('.').unwrap_or(search);
        wrongs(
            bare,
            names::dns1123_subdomain_with_underscore(bare),
            &list.index(index),
            errors,
        );
    }
    let options = path.field("options");
    for (index, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(FieldError::required(
                options.index(index),
                "must not be empty",
            ));
        }
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("hostAliases");
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = list.index(index);
        let ip = alias.text("ip");
        addresses::ip(ip, &path.field("ip"), errors);
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
