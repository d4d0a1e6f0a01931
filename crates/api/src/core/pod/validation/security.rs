//! Security contexts.

use schema::{Path, Value, field_error::FieldError};

use super::windows;
use crate::{
    object::Object,
    validation::checks::{descending_path, one_of_if_set},
};

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

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// A seccomp profile.
pub fn seccomp(profile: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    let file = path.field("localhostProfile");
    match kind {
        "" => errors.push(FieldError::required(
            path.field("type"),
            "type is required when seccompProfile is set",
        )),
        other if !PROFILES.contains(&other) => {
            errors.push(FieldError::not_supported(
                path.field("type"),
                other,
                &PROFILES,
            ));
        }
        _ => {}
    }
    if kind == "Localhost" {
        if profile.has("localhostProfile") {
            descending_path(profile.text("localhostProfile"), &file, errors);
        } else {
            let wrong = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(file, wrong));
        }
    } else if profile.has("localhostProfile") {
        let wrong = "can only be set when seccomp type is Localhost";
        errors.push(FieldError::invalid(file, profile.clone(), wrong));
    }
}

/// Longest path of a file that AppArmor's profile is in.
const PROFILE_MAX: usize = 4095;

/// An AppArmor profile.
pub fn apparmor(profile: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if profile.is_null() {
        return;
    }
    let file = path.field("localhostProfile");
    match profile.text("type") {
        "Localhost" => {
            let text = profile.text("localhostProfile");
            if text.trim() != text {
                let wrong = "must not be padded with whitespace";
                errors.push(FieldError::invalid(file, text, wrong));
            } else if text.is_empty() {
                let wrong = "must be set when AppArmor type is Localhost";
                errors.push(FieldError::required(file, wrong));
            }
            if text.len() > PROFILE_MAX {
                errors.push(FieldError::too_long(file, PROFILE_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has("localhostProfile") {
                let wrong = "can only be set when AppArmor type is Localhost";
                let value = profile.text("localhostProfile");
                errors.push(FieldError::invalid(file, value, wrong));
            }
        }
        "" => errors.push(FieldError::required(
            path.field("type"),
            "type is required when appArmorProfile is set",
        )),
        other => {
            let field = path.field("type");
            errors.push(FieldError::not_supported(field, other, &PROFILES));
        }
    }
}

/// The security context of a container; `host_users` says that its users are the host's.
pub fn container(context: &Value, host_users: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if context.is_null() {
        return;
    }
    user_or_group(context, "runAsUser", path, errors);
    user_or_group(context, "runAsGroup", path, errors);
    let known = ["Default", "Unmasked"];
    one_of_if_set(context, "procMount", &known, path, errors);
    if host_users && context.text("procMount") == "Unmasked" {
        let wrong = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(
            path.field("procMount"),
            "Unmasked",
            wrong,
        ));
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
    windows::options(
        context.at("windowsOptions"),
        &path.field("windowsOptions"),
        errors,
    );
    apparmor(
        context.at("appArmorProfile"),
        &path.field("appArmorProfile"),
        errors,
    );
}
