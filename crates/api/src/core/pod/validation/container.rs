//! Containers of every sort.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    quantity::Quantity,
    validation::checks::{
        descending_path, no_backsteps, not_negative, one_of, port_or_name, quantity, required,
        wrongs,
    },
};

/// What containers are checked against.
struct Pod<'a> {
    spec: &'a Value,
    grace: Option<i64>,
}

/// All containers of a pod.
pub fn containers(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let pod = Pod {
        spec,
        grace: spec.int("terminationGracePeriodSeconds"),
    };
    let main = spec.list("containers");
    let main_path = path.field("containers");
    if main.is_empty() {
        errors.push(FieldError::required(main_path, ""));
    }
    for (index, item) in main.iter().enumerate() {
        let path = main_path.index(index);
        container(item, &pod, &path, errors);
        unique_name(item, &main[..index], &[], &path, errors);
        running(item, &pod, &path, errors);
        restart_policy(item, &["Always", "OnFailure", "Never"], &path, errors);
    }
    host_ports(main, &main_path, errors);
    let init = spec.list("initContainers");
    let init_path = path.field("initContainers");
    for (index, item) in init.iter().enumerate() {
        let path = init_path.index(index);
        container(item, &pod, &path, errors);
        restart_policy(item, &["Always", "OnFailure", "Never"], &path, errors);
        unique_name(item, &init[..index], main, &path, errors);
        host_ports(std::slice::from_ref(item), &init_path, errors);
        if item.text("restartPolicy") == "Always" {
            running(item, &pod, &path, errors);
        } else {
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
        }
    }
    ephemeral(&pod, path, errors);
}

fn ephemeral(pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = pod.spec.list("ephemeralContainers");
    let list_path = path.field("ephemeralContainers");
    for (index, item) in list.iter().enumerate() {
        let path = list_path.index(index);
        container(item, pod, &path, errors);
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
            "resizePolicy",
            "restartPolicy",
        ] {
            if item.has(field) && !item.at(field).as_array().is_some_and(Vec::is_empty) {
                errors.push(FieldError::forbidden(
                    path.field(field),
                    "cannot be set for an Ephemeral Container",
                ));
            }
        }
        if item
            .map("resources")
            .is_some_and(|resources| !resources.is_empty())
        {
            errors.push(FieldError::forbidden(
                path.field("resources"),
                "cannot be set for an Ephemeral Container",
            ));
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

fn restart_policy(item: &Value, known: &[&str], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if item.has("restartPolicy") {
        let policy = item.text("restartPolicy");
        if !known.contains(&policy) {
            errors.push(FieldError::not_supported(
                path.field("restartPolicy"),
                policy,
                known,
            ));
        }
    } else if !item.list("restartPolicyRules").is_empty() {
        let wrong = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(path.field("restartPolicy"), wrong));
    }
    let rules = item.list("restartPolicyRules");
    let list = path.field("restartPolicyRules");
    if rules.len() > 20 {
        errors.push(FieldError::too_many(list, rules.len(), 20));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        one_of(
            rule,
            "action",
            &["Restart", "RestartAllContainers"],
            &path,
            errors,
        );
        if rule.has("exitCodes") {
            one_of(
                rule.at("exitCodes"),
                "operator",
                &["In", "NotIn"],
                &path.field("exitCodes"),
                errors,
            );
        } else {
            errors.push(FieldError::required(
                path.field("exitCodes"),
                "must be specified",
            ));
        }
    }
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
    one_of(
        item,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        path,
        errors,
    );
    ports(item, path, errors);
    env(item, path, errors);
    mounts(item, pod, path, errors);
    devices(item, pod, path, errors);
    resources(item.at("resources"), &path.field("resources"), errors);
    claims(item, pod, path, errors);
    resize(item, pod, path, errors);
    security(
        item.at("securityContext"),
        &path.field("securityContext"),
        errors,
    );
}

/// Hooks and probes.
fn running(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let lifecycle = path.field("lifecycle");
    for hook in ["postStart", "preStop"] {
        let handler_value = item.at("lifecycle").at(hook);
        if !handler_value.is_null() {
            handler(handler_value, pod.grace, &lifecycle.field(hook), errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = item.at(name);
        if probe.is_null() {
            continue;
        }
        let path = path.field(name);
        handler(probe, pod.grace, &path, errors);
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
        one_of(port, "protocol", &["TCP", "UDP", "SCTP"], &path, errors);
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

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn env(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("env");
    for (index, variable) in item.list("env").iter().enumerate() {
        let path = list.index(index);
        let name = required(variable, "name", &path, errors);
        if !name.is_empty() {
            wrongs(name, names::env_var_name(name), &path.field("name"), errors);
        }
        let source = variable.at("valueFrom");
        if source.is_null() {
            continue;
        }
        let path = path.field("valueFrom");
        let mut sources = 0;
        for (kind, value) in source.as_object().into_iter().flatten() {
            sources += 1;
            let path = path.field(kind);
            match kind.as_str() {
                "fieldRef" => field_ref(value, &ENV_FIELDS, &path, errors),
                "resourceFieldRef" => resource_ref(value, false, &path, errors),
                "configMapKeyRef" | "secretKeyRef" => {
                    let name = value.text("name");
                    wrongs(
                        name,
                        names::dns1123_subdomain(name),
                        &path.field("name"),
                        errors,
                    );
                    let key = required(value, "key", &path, errors);
                    if !key.is_empty() {
                        wrongs(key, names::config_map_key(key), &path.field("key"), errors);
                    }
                }
                _ => {}
            }
        }
        if sources == 0 {
            let wrong = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(path, "", wrong));
        } else if !variable.text("value").is_empty() {
            errors.push(FieldError::invalid(
                path,
                "",
                "may not be specified when `value` is not empty",
            ));
        } else if sources > 1 {
            errors.push(FieldError::invalid(
                path,
                "",
                "may not have more than one field specified at a time",
            ));
        }
    }
    let list = path.field("envFrom");
    for (index, source) in item.list("envFrom").iter().enumerate() {
        let path = list.index(index);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            wrongs(
                prefix,
                names::env_var_name(prefix),
                &path.field("prefix"),
                errors,
            );
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            if source.has(kind) {
                sources += 1;
                let name = source.at(kind).text("name");
                if name.is_empty() {
                    errors.push(FieldError::required(path.field(kind).field("name"), ""));
                } else {
                    wrongs(
                        name,
                        names::dns1123_subdomain(name),
                        &path.field(kind).field("name"),
                        errors,
                    );
                }
            }
        }
        match sources {
            0 => errors.push(FieldError::invalid(
                list,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            1 => {}
            _ => errors.push(FieldError::invalid(
                list,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
}

/// A reference to a field of the pod.
pub fn field_ref(value: &Value, known: &[&str], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    required(value, "apiVersion", path, errors);
    let field = required(value, "fieldPath", path, errors);
    if field.is_empty() {
        return;
    }
    let subscript = field
        .split_once("['")
        .and_then(|(base, rest)| Some((base, rest.strip_suffix("']")?)));
    match subscript {
        Some(("metadata.annotations", key)) => {
            wrongs(
                key,
                names::qualified_name(&key.to_lowercase()),
                path,
                errors,
            );
        }
        Some(("metadata.labels", key)) => wrongs(key, names::qualified_name(key), path, errors),
        Some((base, _)) => errors.push(FieldError::invalid(
            path,
            base,
            "does not support subscript",
        )),
        None if known.contains(&field) => {}
        None => {
            let every = [
                "spec.restartPolicy",
                "status.phase",
                "metadata.annotations",
                "metadata.labels",
                "spec.hostname",
            ];
            if ENV_FIELDS.contains(&field) || every.contains(&field) {
                errors.push(FieldError::not_supported(
                    path.field("fieldPath"),
                    field,
                    known,
                ));
            } else {
                let wrong =
                    format!("error converting fieldPath: field label not supported: {field}");
                errors.push(FieldError::invalid(path.field("fieldPath"), field, wrong));
            }
        }
    }
}

/// A reference to a container's resources.
pub fn resource_ref(value: &Value, volume: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let resource = value.text("resource");
    if volume && value.text("containerName").is_empty() {
        errors.push(FieldError::required(path.field("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(path.field("resource"), ""));
    } else if !KNOWN.contains(&resource)
        && !resource.starts_with("limits.hugepages-")
        && !resource.starts_with("requests.hugepages-")
    {
        errors.push(FieldError::not_supported(
            path.field("resource"),
            resource,
            &KNOWN,
        ));
    }
    let divisor = value.text("divisor");
    let allowed: &[&str] = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => &["1m", "1"],
        "" => return,
        _ => &[
            "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
        ],
    };
    if !divisor.is_empty() && divisor != "0" && !allowed.contains(&divisor) {
        let wrong = if allowed.len() == 2 {
            "only divisor's values 1m and 1 are supported with the cpu resource"
        } else {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
        };
        errors.push(FieldError::invalid(path.field("divisor"), divisor, wrong));
    }
}

fn mounts(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mounts = item.list("volumeMounts");
    let list = path.field("volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let path = list.index(index);
        let name = required(mount, "name", &path, errors);
        if !pod
            .spec
            .list("volumes")
            .iter()
            .any(|volume| volume.text("name") == name)
        {
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
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
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
        match pod
            .spec
            .list("volumes")
            .iter()
            .find(|volume| volume.text("name") == name)
        {
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
        no_backsteps(target, &path.field("devicePath"), errors);
    }
}

fn claims(item: &Value, pod: &Pod<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let claims = item.list("resources.claims");
    let resources = path.field("resources");
    let list = resources.field("claims");
    for (index, claim) in claims.iter().enumerate() {
        let path = list.index(index);
        let name = required(claim, "name", &path, errors);
        if !name.is_empty()
            && !pod
                .spec
                .list("resourceClaims")
                .iter()
                .any(|known| known.text("name") == name)
        {
            errors.push(FieldError::not_found(path, name));
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
            "NotRequired" => {}
            "RestartContainer" => {
                if pod.spec.text("restartPolicy") == "Never" {
                    let wrong = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
                    errors.push(FieldError::invalid(list, "RestartContainer", wrong));
                }
            }
            "" => errors.push(FieldError::required(list, "")),
            other => errors.push(FieldError::not_supported(
                list,
                other,
                &["NotRequired", "RestartContainer"],
            )),
        }
    }
}

/// Is this a resource that the API itself names?
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A container's resource name.
pub fn resource_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let bad = names::qualified_name(name);
    if !bad.is_empty() {
        wrongs(name, bad, path, errors);
        return;
    }
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage")
            && !name.starts_with("hugepages-")
        {
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource type or fully qualified",
            ));
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !is_native(name)
        && (name.starts_with("requests.")
            || !names::qualified_name(&format!("requests.{name}")).is_empty())
    {
        errors.push(FieldError::invalid(
            path,
            name,
            "doesn't follow extended resource name standard",
        ));
    }
}

/// Requests and limits of a container.
pub fn resources(resources: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let limits_path = path.field("limits");
    for (name, value) in resources.pairs("limits") {
        let path = limits_path.key(name);
        resource_name(name, &path, errors);
        amount(name, value, &path, errors);
    }
    let requests_path = path.field("requests");
    for (name, value) in resources.pairs("requests") {
        let path = requests_path.key(name);
        resource_name(name, &path, errors);
        let Some(request) = amount(name, value, &path, errors) else {
            continue;
        };
        let overcommit = is_native(name) && !name.starts_with("hugepages-");
        match resources.at("limits").get(name) {
            Some(limit) => {
                let limit = Quantity::of(limit);
                if request > limit {
                    let wrong = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(
                        requests_path,
                        request.to_string(),
                        wrong,
                    ));
                } else if request != limit && !overcommit {
                    let wrong = format!("must be equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(
                        requests_path,
                        request.to_string(),
                        wrong,
                    ));
                }
            }
            None if !overcommit => {
                let wrong = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(limits_path, wrong));
            }
            None => {}
        }
    }
}

fn amount(
    name: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Quantity> {
    let quantity = quantity(value, path, errors)?;
    if !is_native(name) && !quantity.is_whole() {
        errors.push(FieldError::invalid(
            path,
            quantity.to_string(),
            "must be an integer",
        ));
    }
    Some(quantity)
}

/// Requests and limits of the pod as a whole.
pub fn pod_resources(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let own = spec.at("resources");
    if own.is_null() {
        return;
    }
    let path = path.field("resources");
    resources(own, &path, errors);
    for kind in ["limits", "requests"] {
        for (name, _) in own.pairs(kind) {
            if !matches!(name, "cpu" | "memory") && !name.starts_with("hugepages-") {
                let known = ["cpu", "hugepages-", "memory"];
                errors.push(FieldError::not_supported(
                    path.field(kind).key(name),
                    name,
                    &known,
                ));
            }
        }
    }
    for name in ["cpu", "memory"] {
        let Some(request) = own.at("requests").get(name) else {
            continue;
        };
        let containers = spec.list("containers").iter();
        let sum: Quantity = containers
            .filter_map(|item| item.at("resources.requests").get(name))
            .map(Quantity::of)
            .sum();
        if sum > Quantity::of(request) {
            let wrong =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(
                path.field("requests").key(name),
                request.clone(),
                wrong,
            ));
        }
    }
}

/// A user's or group's number.
pub fn id(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number) = value
        .as_i64()
        .filter(|number| !(0..=i64::from(i32::MAX)).contains(number))
    {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be between 0 and 2147483647, inclusive",
        ));
    }
}

/// A field that is a user's or group's number.
pub fn user_or_group(context: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    id(context.at(field), &path.field(field), errors);
}

/// A seccomp profile.
pub fn seccomp(profile: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    let file = profile.text("localhostProfile");
    match kind {
        "Localhost" => {
            if !profile.has("localhostProfile") {
                let wrong = "must be set when seccomp type is Localhost";
                errors.push(FieldError::required(path.field("localhostProfile"), wrong));
            } else {
                descending_path(file, &path.field("localhostProfile"), errors);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has("localhostProfile") {
                let wrong = "can only be set when seccomp type is Localhost";
                errors.push(FieldError::invalid(
                    path.field("localhostProfile"),
                    file,
                    wrong,
                ));
            }
        }
        "" => errors.push(FieldError::required(
            path.field("type"),
            "type is required when seccompProfile is set",
        )),
        other => {
            let known = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(FieldError::not_supported(path.field("type"), other, &known));
        }
    }
}

fn security(context: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if context.is_null() {
        return;
    }
    user_or_group(context, "runAsUser", path, errors);
    user_or_group(context, "runAsGroup", path, errors);
    if context.has("procMount") {
        one_of(context, "procMount", &["Default", "Unmasked"], path, errors);
    }
    seccomp(
        context.at("seccompProfile"),
        &path.field("seccompProfile"),
        errors,
    );
    if context.has("allowPrivilegeEscalation") && !context.flag("allowPrivilegeEscalation") {
        let wrong = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        if context.flag("privileged") {
            errors.push(FieldError::invalid(path, context.clone(), wrong));
        }
        if context
            .texts("capabilities.add")
            .any(|name| name == "CAP_SYS_ADMIN")
        {
            let wrong = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context.clone(), wrong));
        }
    }
}
