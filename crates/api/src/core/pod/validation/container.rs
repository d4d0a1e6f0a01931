//! Containers of every sort.

use schema::{Path, Value, field_error::FieldError};

use super::{env, resources, security};
use crate::{
    names,
    object::Object,
    validation::checks::{
        descending_path, not_negative, one_of, one_of_if_set, port_or_name, required, supported,
        wrongs,
    },
};

/// What containers are checked against.
pub struct Surroundings<'a> {
    /// The pod's spec.
    pub spec: &'a Value,
    /// The volumes that can be mounted.
    pub volumes: Vec<&'a Value>,
    /// The names of the pod's resource claims.
    pub claims: Vec<&'a str>,
}

use Surroundings as Pod;

/// All containers of a pod.
pub fn containers(pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = pod.spec;
    let main = spec.list("containers");
    let main_path = path.field("containers");
    if main.is_empty() {
        errors.push(FieldError::required(main_path, ""));
    }
    for (index, item) in main.iter().enumerate() {
        let path = main_path.index(index);
        container(item, pod, &path, errors);
        let name = item.text("name");
        if main[..index].iter().any(|other| other.text("name") == name) {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        running(item, pod, &path, errors);
        restart_policy(item, &path, errors);
    }
    host_ports(main, &main_path, errors);
    let init = spec.list("initContainers");
    let init_path = path.field("initContainers");
    for (index, item) in init.iter().enumerate() {
        let path = init_path.index(index);
        container(item, pod, &path, errors);
        if item.has("restartPolicy") {
            restart_policy(item, &path, errors);
        } else if !item.list("restartPolicyRules").is_empty() {
            errors.push(FieldError::required(
                path.field("restartPolicy"),
                POLICY_NEEDED,
            ));
        }
        unique_name(item, &init[..index], main, &path, errors);
        host_ports(std::slice::from_ref(item), &init_path, errors);
        if item.text("restartPolicy") == "Always" {
            running(item, pod, &path, errors);
        } else {
            only_for_sidecars(item, &path, errors);
        }
    }
    ephemeral(pod, path, errors);
}

/// What containers that end have not.
fn only_for_sidecars(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if item.has(field) {
            let wrong = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(path.field(field), wrong));
        }
    }
    let list = path.field("resizePolicy");
    for (index, policy) in item.list("resizePolicy").iter().enumerate() {
        if policy.text("restartPolicy") == "RestartContainer" {
            errors.push(FieldError::invalid(
                list.index(index).field("restartPolicy"),
                "RestartContainer",
                "must not be set to 'RestartContainer' for non-sidecar initContainers",
            ));
        }
    }
}

/// An image's name in a pod; templates may hold what will be replaced.
pub fn image_of_pod(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let image = item.text("image");
    if image.trim() != image {
        let wrong = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path.field("image"), image, wrong));
    }
}

fn ephemeral(pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = pod.spec.list("ephemeralContainers");
    let list_path = path.field("ephemeralContainers");
    for (index, item) in list.iter().enumerate() {
        let path = list_path.index(index);
        container(item, pod, &path, errors);
        image_of_pod(item, &path, errors);
        let name = item.text("name");
        let others = || {
            pod.spec
                .list("containers")
                .iter()
                .chain(pod.spec.list("initContainers"))
        };
        if others()
            .chain(&list[..index])
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        let target = item.text("targetContainerName");
        if !target.is_empty() && !others().any(|other| other.text("name") == target) {
            errors.push(FieldError::not_found(
                path.field("targetContainerName"),
                target,
            ));
        }
        for field in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
        ] {
            // Resources are always there, empty where none were given.
            let empty = match item.at(field) {
                Value::Null => true,
                Value::Object(map) => field == "resources" && map.is_empty(),
                Value::Array(_) => !item.has(field),
                _ => false,
            };
            if !empty {
                errors.push(FieldError::forbidden(
                    path.field(field),
                    "cannot be set for an Ephemeral Container",
                ));
            }
        }
        for (at, mount) in item.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    let mounts = path.field("volumeMounts");
                    let wrong = "cannot be set for an Ephemeral Container";
                    errors.push(FieldError::forbidden(mounts.index(at).field(field), wrong));
                }
            }
        }
    }
}

fn unique_name(
    item: &Value,
    before: &[Value],
    others: &[Value],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let name = item.text("name");
    if !name.is_empty()
        && before
            .iter()
            .chain(others)
            .any(|other| other.text("name") == name)
    {
        errors.push(FieldError::duplicate(path.field("name"), name));
    }
}

const POLICY_NEEDED: &str = "must specify restartPolicy when restart rules are used";

fn restart_policy(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let rules = item.list("restartPolicyRules");
    let policy = path.field("restartPolicy");
    if item.has("restartPolicy") {
        let known = ["Always", "Never", "OnFailure"];
        one_of_if_set(item, "restartPolicy", &known, path, errors);
    } else if rules.is_empty() {
        return;
    } else {
        errors.push(FieldError::required(policy, POLICY_NEEDED));
    }
    let list = path.field("restartPolicyRules");
    if rules.len() > 20 {
        errors.push(FieldError::too_many(list, rules.len(), 20));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let known = ["Restart", "RestartAllContainers"];
        supported(rule, "action", &known, &path, errors);
        let codes = path.field("exitCodes");
        let value = rule.at("exitCodes");
        if value.is_null() {
            errors.push(FieldError::required(codes, "must be specified"));
            continue;
        }
        supported(value, "operator", &["In", "NotIn"], &codes, errors);
        let count = value.list("values").len();
        if count > 255 {
            errors.push(FieldError::too_many(codes.field("values"), count, 255));
        }
    }
}

/// How an image is pulled.
pub fn pull_policy(item: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let known = ["Always", "IfNotPresent", "Never"];
    one_of(item, field, &known, path, errors);
}

/// What containers of every sort have.
fn container(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let name = required(item, "name", path, errors);
    if !name.is_empty() {
        wrongs(
            name,
            names::dns1123_label(name),
            &path.field("name"),
            errors,
        );
    }
    required(item, "image", path, errors);
    one_of(
        item,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
        path,
        errors,
    );
    pull_policy(item, "imagePullPolicy", path, errors);
    ports(item, path, errors);
    env::env(item, path, errors);
    mounts(item, pod, path, errors);
    devices(item, pod, path, errors);
    let own = path.field("resources");
    resources::resources(item.at("resources"), &own, errors);
    let claims = item.list("resources.claims");
    resources::claims(claims, &pod.claims, &own.field("claims"), errors);
    resize(item, pod, path, errors);
    security::container(
        item.at("securityContext"),
        pod.spec.at("hostUsers").as_bool() != Some(false),
        &path.field("securityContext"),
        errors,
    );
}

const GRACE: &str = "terminationGracePeriodSeconds";

/// Hooks and probes.
fn running(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let lifecycle = path.field("lifecycle");
    for hook in ["postStart", "preStop"] {
        let handler_value = item.at("lifecycle").at(hook);
        if !handler_value.is_null() {
            handler(
                handler_value,
                pod.spec.int(GRACE),
                &lifecycle.field(hook),
                errors,
            );
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = item.at(name);
        if probe.is_null() {
            continue;
        }
        let path = path.field(name);
        handler(probe, pod.spec.int(GRACE), &path, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            not_negative(probe, field, &path, errors);
        }
        if let Some(grace) = probe.int("terminationGracePeriodSeconds") {
            let field = path.field("terminationGracePeriodSeconds");
            if grace <= 0 {
                errors.push(FieldError::invalid(field, grace, "must be greater than 0"));
            }
            if name == "readinessProbe" {
                errors.push(FieldError::invalid(
                    field,
                    grace,
                    "must not be set for readinessProbes",
                ));
            }
        }
        let success = probe.int("successThreshold").unwrap_or(0);
        if name != "readinessProbe" && success != 1 {
            errors.push(FieldError::invalid(
                path.field("successThreshold"),
                success,
                "must be 1",
            ));
        }
    }
}

fn handler(value: &Value, grace: Option<i64>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = false;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = value.at(kind);
        if action.is_null() {
            continue;
        }
        let path = path.field(kind);
        if std::mem::replace(&mut seen, true) {
            errors.push(FieldError::forbidden(
                path,
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        match kind {
            "exec" => {
                if action.list("command").is_empty() {
                    errors.push(FieldError::required(path.field("command"), ""));
                }
            }
            "httpGet" => {
                required(action, "path", &path, errors);
                port_or_name(action.at("port"), &path.field("port"), errors);
                let scheme = action.text("scheme");
                if !matches!(scheme, "HTTP" | "HTTPS") {
                    errors.push(FieldError::not_supported(
                        path.field("scheme"),
                        scheme,
                        &["HTTP", "HTTPS"],
                    ));
                }
                for header in action.list("httpHeaders") {
                    let name = header.text("name");
                    if name.is_empty()
                        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    {
                        let wrong = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                        errors.push(FieldError::invalid(path.field("httpHeaders"), name, wrong));
                    }
                }
            }
            "tcpSocket" | "grpc" => port_or_name(action.at("port"), &path.field("port"), errors),
            _ => {
                let seconds = action.int("seconds").unwrap_or(0);
                if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                    let wrong = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    errors.push(FieldError::invalid(path, seconds, wrong));
                }
            }
        }
    }
    if !seen {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn ports(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let ports = item.list("ports");
    let list = path.field("ports");
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let bad = names::port_name(name);
            if bad.is_empty()
                && ports[..index]
                    .iter()
                    .any(|other| other.text("name") == name)
            {
                errors.push(FieldError::duplicate(path.field("name"), name));
            }
            wrongs(name, bad, &path.field("name"), errors);
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.push(FieldError::required(path.field("containerPort"), "")),
            number => {
                for wrong in names::port_number(number) {
                    errors.push(FieldError::invalid(
                        path.field("containerPort"),
                        number,
                        wrong,
                    ));
                }
            }
        }
        if let Some(number) = port.int("hostPort").filter(|number| *number != 0) {
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(path.field("hostPort"), number, wrong));
            }
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
    }
}

fn host_ports(containers: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<(&str, &str, i64)> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let this = (port.text("protocol"), port.text("hostIP"), number);
            if seen.contains(&this) {
                let container = path.index(index);
                let ports = container.field("ports");
                let text = format!("{}/{}/{}", this.0, this.1, this.2);
                errors.push(FieldError::duplicate(
                    ports.index(at).field("hostPort"),
                    text,
                ));
            } else {
                seen.push(this);
            }
        }
    }
}

fn mounts(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mounts = item.list("volumeMounts");
    let list = path.field("volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let path = list.index(index);
        let name = required(mount, "name", &path, errors);
        if !pod.volumes.iter().any(|volume| volume.text("name") == name) {
            errors.push(FieldError::not_found(path.field("name"), name));
        }
        let target = required(mount, "mountPath", &path, errors);
        if mounts[..index]
            .iter()
            .any(|other| other.text("mountPath") == target)
        {
            errors.push(FieldError::invalid(
                path.field("mountPath"),
                target,
                "must be unique",
            ));
        }
        for device in item.list("volumeDevices") {
            if device.text("name") == name {
                let wrong = "must not already exist in volumeDevices";
                errors.push(FieldError::invalid(path.field("name"), name, wrong));
            }
            if device.text("devicePath") == target {
                let wrong = "must not already exist as a path in volumeDevices";
                errors.push(FieldError::invalid(path.field("mountPath"), target, wrong));
            }
        }
        let (sub, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        if !sub.is_empty() {
            descending_path(sub, &list.field("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                let wrong = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(
                    path.field("subPathExpr"),
                    expression,
                    wrong,
                ));
            }
            descending_path(expression, &list.field("subPathExpr"), errors);
        }
        let propagation = mount.text("mountPropagation");
        if mount.has("mountPropagation") {
            let known = ["Bidirectional", "HostToContainer", "None"];
            if !known.contains(&propagation) {
                errors.push(FieldError::not_supported(
                    list.field("mountPropagation"),
                    propagation,
                    &known,
                ));
            }
            if propagation == "Bidirectional" && !item.flag("securityContext.privileged") {
                let wrong =
                    "Bidirectional mount propagation is available only to privileged containers";
                errors.push(FieldError::forbidden(list.field("mountPropagation"), wrong));
            }
        }
        recursive_read_only(mount, &list.field("recursiveReadOnly"), errors);
    }
}

fn recursive_read_only(mount: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !mount.has("recursiveReadOnly") {
        return;
    }
    match mount.text("recursiveReadOnly") {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                let wrong = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(path, wrong));
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let wrong = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, wrong));
            }
        }
        other => errors.push(FieldError::not_supported(
            path,
            other,
            &["Disabled", "Enabled", "IfPossible"],
        )),
    }
}

fn devices(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let devices = item.list("volumeDevices");
    let list = path.field("volumeDevices");
    for (index, device) in devices.iter().enumerate() {
        let path = list.index(index);
        let name = required(device, "name", &path, errors);
        if !name.is_empty()
            && devices[..index]
                .iter()
                .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::invalid(
                path.field("name"),
                name,
                "must be unique",
            ));
        }
        let volume = pod
            .volumes
            .iter()
            .find(|volume| volume.text("name") == name);
        match volume {
            None => errors.push(FieldError::not_found(path.field("name"), name)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let wrong = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(path.field("name"), name, wrong));
            }
            Some(_) => {}
        }
        let target = required(device, "devicePath", &path, errors);
        if devices[..index]
            .iter()
            .any(|other| other.text("devicePath") == target)
        {
            errors.push(FieldError::invalid(
                path.field("devicePath"),
                target,
                "must be unique",
            ));
        }
        if target.split('/').any(|part| part == "..") {
            let wrong = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(path.field("devicePath"), target, wrong));
        }
        for mount in item.list("volumeMounts") {
            if mount.text("name") == name {
                let wrong = "must not already exist in volumeMounts";
                errors.push(FieldError::invalid(path.field("name"), name, wrong));
            }
            if mount.text("mountPath") == target {
                let wrong = "must not already exist as a path in volumeMounts";
                errors.push(FieldError::invalid(path.field("devicePath"), target, wrong));
            }
        }
    }
}

fn resize(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let policies = item.list("resizePolicy");
    let list = path.field("resizePolicy");
    for (index, policy) in policies.iter().enumerate() {
        let name = policy.text("resourceName");
        if policies[..index]
            .iter()
            .any(|other| other.text("resourceName") == name)
        {
            errors.push(FieldError::duplicate(list.index(index), name));
        }
        match name {
            "cpu" | "memory" => {}
            "" => errors.push(FieldError::required(list, "")),
            other => errors.push(FieldError::not_supported(list, other, &["cpu", "memory"])),
        }
        match policy.text("restartPolicy") {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.push(FieldError::required(list, "")),
            other => errors.push(FieldError::not_supported(
                list,
                other,
                &["NotRequired", "RestartContainer"],
            )),
        }
        let restart = policy.text("restartPolicy");
        if pod.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let wrong = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(list, restart, wrong));
        }
    }
}
