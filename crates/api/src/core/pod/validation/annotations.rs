//! Annotations of pods that mean something.

use schema::{Path, Value, field_error::FieldError};

use super::{MIRROR, tolerations, visit};
use crate::{meta, object::Object, validation::checks::descending_path};

const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The annotations of a pod or a template.
pub fn of_pod(pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = pod.at("spec");
    if let Some(value) = meta::annotation(pod, MIRROR)
        && spec.text("nodeName").is_empty()
    {
        let wrong = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(path.key(MIRROR), value, wrong));
    }
    if let Some(text) = meta::annotation(pod, TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Value>>(text) {
            Ok(list) => tolerations(&list, &path.field(TOLERATIONS), errors),
            Err(error) => {
                errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string()));
            }
        }
    }
    if let Some(cost) = meta::annotation(pod, DELETION_COST)
        && !is_cost(cost)
    {
        let wrong = "must be a 32bit integer";
        errors.push(FieldError::invalid(path.key(DELETION_COST), cost, wrong));
    }
    for (key, profile) in meta::annotations(pod) {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(profile, &path.field(key), errors);
        }
        if let Some(name) = key.strip_prefix(APPARMOR) {
            let path = path.key(key);
            let mut found = false;
            visit(spec, &path, &mut |item, _| {
                found |= item.text("name") == name
            });
            if !found {
                errors.push(FieldError::invalid(path, name, "container not found"));
            }
            let known = matches!(profile, "" | "runtime/default" | "unconfined");
            if !known && !profile.starts_with("localhost/") {
                let wrong = format!("invalid AppArmor profile name: {profile:?}");
                errors.push(FieldError::invalid(path, profile, wrong));
            }
        }
    }
}

/// A whole number without a sign of plus or zeros before it.
fn is_cost(cost: &str) -> bool {
    let digits = cost.strip_prefix('-').unwrap_or(cost);
    cost.parse::<i32>().is_ok()
        && !cost.starts_with('+')
        && (digits == "0" || !digits.starts_with('0'))
}

fn seccomp(profile: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => descending_path(file, path, errors),
        None => {
            let wrong = "must be a valid seccomp profile";
            errors.push(FieldError::invalid(path, profile, wrong));
        }
    }
}

/// Annotations that may not come, go or change.
pub fn changes(pod: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, before) in meta::annotations(old) {
        if meta::annotation(pod, key) == Some(before) {
            continue;
        }
        if key.starts_with(APPARMOR) {
            let wrong = "may not remove or update AppArmor annotations";
            errors.push(FieldError::forbidden(path.key(key), wrong));
        }
        if key == MIRROR {
            let wrong = "may not remove or update mirror pod annotation";
            errors.push(FieldError::forbidden(path.key(key), wrong));
        }
    }
    for (key, _) in meta::annotations(pod) {
        if meta::annotation(old, key).is_some() {
            continue;
        }
        if key.starts_with(APPARMOR) {
            let wrong = "may not add AppArmor annotations";
            errors.push(FieldError::forbidden(path.key(key), wrong));
        }
        if key == MIRROR {
            let wrong = "may not add mirror pod annotation";
            errors.push(FieldError::forbidden(path.key(key), wrong));
        }
    }
}

/// Annotations from before there were fields say what the fields say.
pub fn beside_fields(pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = pod.at("spec");
    let windows = spec.text("os.name") == "windows";
    let own = spec.at("securityContext.seccompProfile");
    if let Some(annotation) = meta::annotation(pod, SECCOMP_POD) {
        let context = path.field("securityContext");
        same_seccomp(annotation, own, &context.field("seccompProfile"), errors);
    }
    let whole = spec.at("securityContext.appArmorProfile");
    visit(spec, path, &mut |item, path| {
        let name = item.text("name");
        let context = path.field("securityContext");
        let profile = item.at("securityContext.seccompProfile");
        if let Some(annotation) = meta::annotation(pod, &format!("{SECCOMP_CONTAINER}{name}")) {
            same_seccomp(
                annotation,
                profile,
                &context.field("seccompProfile"),
                errors,
            );
        }
        let profile = match item.at("securityContext.appArmorProfile") {
            Value::Null => whole,
            own => own,
        };
        if let Some(annotation) = meta::annotation(pod, &format!("{APPARMOR}{name}"))
            && !windows
        {
            same_apparmor(
                annotation,
                profile,
                &context.field("appArmorProfile"),
                errors,
            );
        }
    });
}

fn same_seccomp(annotation: &str, profile: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if profile.is_null() {
        return;
    }
    let kind = "seccomp type in annotation and field must match";
    let field = match profile.text("type") {
        "Unconfined" if annotation != "unconfined" => "type",
        "RuntimeDefault" if !matches!(annotation, "runtime/default" | "docker/default") => "type",
        "Localhost" => match annotation.strip_prefix("localhost/") {
            None => "type",
            Some(file) if profile.text("localhostProfile") != file => {
                let wrong = "seccomp profile in annotation and field must match";
                errors.push(FieldError::forbidden(path.field("localhostProfile"), wrong));
                return;
            }
            Some(_) => return,
        },
        _ => return,
    };
    errors.push(FieldError::forbidden(path.field(field), kind));
}

fn same_apparmor(annotation: &str, profile: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let differs = match profile.text("type") {
        "Unconfined" => annotation != "unconfined",
        "RuntimeDefault" => annotation != "runtime/default",
        "Localhost" => match annotation.strip_prefix("localhost/") {
            None => true,
            Some(file) => {
                if profile.text("localhostProfile") != file {
                    let wrong = "apparmor profile in annotation and field must match";
                    let field = path.field("localhostProfile");
                    errors.push(FieldError::forbidden(field, wrong));
                }
                false
            }
        },
        _ => false,
    };
    if differs {
        let wrong = "apparmor type in annotation and field must match";
        errors.push(FieldError::forbidden(path.field("type"), wrong));
    }
}
