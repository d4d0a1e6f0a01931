//! How objects get from one version of a definition to another.

use schema::{FieldError, Path, Value};

use crate::{groups::admission::client_config, names, object::Object};

/// Everything wrong with how objects get from version to version.
pub(super) fn validate(
    object: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let spec = object.at("spec");
    let conversion = spec.at("conversion");
    let path = path.field("conversion");
    let strategy = conversion.text("strategy");
    if strategy != "None" && spec.flag("preserveUnknownFields") {
        let wrong = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid(path.field("strategy"), strategy, wrong));
    }
    match strategy {
        "None" | "Webhook" => {}
        "" => errors.push(FieldError::required(path.field("strategy"), "")),
        other => {
            let known = ["None", "Webhook"];
            errors.push(FieldError::not_supported(
                path.field("strategy"),
                other,
                &known,
            ));
        }
    }
    let config = conversion.at("webhook.clientConfig");
    let versions: Vec<&str> = conversion
        .texts("webhook.conversionReviewVersions")
        .collect();
    let (config_path, versions_path) = (
        path.field("webhookClientConfig"),
        path.field("conversionReviewVersions"),
    );
    if strategy != "Webhook" {
        let wrong = "should not be set when strategy is not set to Webhook";
        if !config.is_null() {
            errors.push(FieldError::forbidden(config_path, wrong));
        }
        if !versions.is_empty() {
            errors.push(FieldError::forbidden(versions_path, wrong));
        }
        return;
    }
    if config.is_null() {
        let wrong = "required when strategy is set to Webhook";
        errors.push(FieldError::required(config_path, wrong));
    } else {
        client_config(config, &config_path, errors);
    }
    if versions.is_empty() {
        errors.push(FieldError::required(versions_path, ""));
        return;
    }
    for (at, version) in versions.iter().enumerate() {
        let path = versions_path.index(at);
        if versions[..at].contains(version) {
            errors.push(FieldError::invalid(path, *version, "duplicate version"));
            continue;
        }
        for wrong in names::dns1035_label(version) {
            errors.push(FieldError::invalid(path, *version, wrong));
        }
    }
    let list = "webhook.conversionReviewVersions";
    let known = |conversion: &Value| {
        let mut versions = conversion.texts(list);
        versions.any(|version| matches!(version, "v1" | "v1beta1"))
    };
    let before = old.map_or(&Value::Null, |old| old.at("spec.conversion"));
    let is_strict = before.list(list).is_empty() || known(before);
    if is_strict && !known(conversion) {
        let shown = conversion.at(list).clone();
        let wrong = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(versions_path, shown, wrong));
    }
}
