//! Security contexts.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{descending_path, one_of},
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

/// The security context of a container.
pub fn container(context: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
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
