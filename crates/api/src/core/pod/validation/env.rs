//! Environment variables, and references to fields of the pod.

use schema::{Path, Value, field_error::FieldError};

use super::visit;
use crate::{
    names,
    object::Object,
    quantity::Quantity,
    validation::checks::{no_backsteps, required, wrongs},
};

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

/// The variables of a container.
pub fn env(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
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
                "fileKeyRef" => file_key(value, &path, errors),
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
    divisor(resource, value.at("divisor"), path, errors);
}

/// The unit in which an amount is told.
fn divisor(resource: &str, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const SIZES: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let divisor = Quantity::of(value);
    let Some((_, name)) = resource.split_once('.') else {
        return;
    };
    if divisor.is_zero() {
        return;
    }
    let (allowed, shown): (&[&str], &str) = match name {
        "cpu" => (&["1m", "1"], ""),
        "memory" => (&SIZES, "memory"),
        "ephemeral-storage" => (&SIZES, "local ephemeral storage"),
        huge if huge.starts_with("hugepages-") => (&SIZES, "hugepages"),
        _ => return,
    };
    if allowed.contains(&&*divisor.to_string()) {
        return;
    }
    let wrong = if shown.is_empty() {
        "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
    } else {
        format!(
            "only divisor's values {} are supported with the {shown} resource",
            SIZES.join(", ")
        )
    };
    errors.push(FieldError::invalid(path.field("divisor"), resource, wrong));
}

/// A variable that a file holds.
fn file_key(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let key = required(value, "key", path, errors);
    if !key.is_empty() {
        wrongs(key, names::env_var_name(key), &path.field("key"), errors);
    }
    let volume = required(value, "volumeName", path, errors);
    if !volume.is_empty() {
        let field = path.field("volumeName");
        wrongs(volume, names::dns1123_label(volume), &field, errors);
    }
    let file = required(value, "path", path, errors);
    no_backsteps(file, &path.field("path"), errors);
}

/// The volumes that variables are read from.
pub fn file_key_volumes(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    visit(spec, path, &mut |item, path| {
        let list = path.field("env");
        for (index, variable) in item.list("env").iter().enumerate() {
            if !variable.has("valueFrom.fileKeyRef") {
                continue;
            }
            let name = variable.text("valueFrom.fileKeyRef.volumeName");
            let variable = list.index(index);
            let from = variable.field("valueFrom");
            let reference = from.field("fileKeyRef");
            let field = reference.field("volumeName");
            let mut volumes = spec.list("volumes").iter();
            match volumes.rfind(|volume| volume.text("name") == name) {
                None => errors.push(FieldError::not_found(field, name)),
                Some(volume) if !volume.has("emptyDir") => {
                    let wrong = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(field, name, wrong));
                }
                Some(_) => {}
            }
        }
    });
}
