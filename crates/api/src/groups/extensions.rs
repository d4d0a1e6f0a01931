//! The groups apiextensions.k8s.io and apiregistration.k8s.io.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    meta, names,
    object::Object,
    validation::checks::{immutable, one_of, required, wrongs},
};

/// Defaults of a CustomResourceDefinition.
pub fn custom_resource_definition(object: &mut Value) {
    let kind = object.text("spec.names.kind").to_owned();
    object.set_default_text("spec.names.singular", &kind.to_lowercase());
    if !kind.is_empty() {
        object.set_default_text("spec.names.listKind", &format!("{kind}List"));
    }
    object.set_default("spec.conversion", json!({"strategy": "None"}));
    if let Some(service) = object.at_mut("spec.conversion.webhook.clientConfig.service") {
        service.set_default("port", 443);
    }
    if object.list("status.storedVersions").is_empty() {
        let stored = object
            .list("spec.versions")
            .iter()
            .find(|version| version.flag("storage"));
        if let Some(name) = stored.map(|version| version.at("name").clone()) {
            object.set("status.storedVersions", json!([name]));
        }
    }
}

/// Defaults of an APIService.
pub fn api_service(object: &mut Value) {
    if let Some(service) = object.at_mut("spec.service") {
        service.set_default("port", 443);
    }
}

/// Everything wrong with a CustomResourceDefinition, but for its schemas.
pub fn validate_definition(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let group = required(spec, "group", &path, errors);
    if !group.is_empty() {
        wrongs(
            group,
            names::dns1123_subdomain(group),
            &path.field("group"),
            errors,
        );
        if !group.contains('.') {
            errors.push(FieldError::invalid(
                path.field("group"),
                group,
                "should be a domain with at least one dot",
            ));
        }
    }
    let expected = format!("{}.{group}", spec.text("names.plural"));
    if meta::name(object) != expected {
        let wrong = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(
            "metadata.name",
            meta::name(object),
            wrong,
        ));
    }
    one_of(spec, "scope", &["Cluster", "Namespaced"], &path, errors);
    let own = spec.at("names");
    let names_path = path.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        let text = required(own, field, &names_path, errors);
        if !text.is_empty() {
            wrongs(
                text,
                names::dns1035_label(&text.to_lowercase()),
                &names_path.field(field),
                errors,
            );
        }
    }
    if !own.text("kind").is_empty() && own.text("kind") == own.text("listKind") {
        let wrong = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(
            names_path.field("listKind"),
            own.text("listKind"),
            wrong,
        ));
    }
    versions(spec, &path, errors);
    let conversion = spec.at("conversion");
    let path = path.field("conversion");
    one_of(conversion, "strategy", &["None", "Webhook"], &path, errors);
    if conversion.text("strategy") == "Webhook" && !conversion.has("webhook.clientConfig") {
        let wrong = "required when strategy is set to \"Webhook\"";
        errors.push(FieldError::required(
            path.field("webhook").field("clientConfig"),
            wrong,
        ));
    }
}

fn versions(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("versions");
    let versions = spec.list("versions");
    if versions.is_empty() {
        errors.push(FieldError::required(
            list,
            "must have exactly one version marked as storage version",
        ));
    }
    let stored = versions
        .iter()
        .filter(|version| version.flag("storage"))
        .count();
    if !versions.is_empty() && stored != 1 {
        let wrong = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(
            list,
            spec.at("versions").clone(),
            wrong,
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = list.index(index);
        let name = version.text("name");
        wrongs(
            name,
            names::dns1035_label(name),
            &path.field("name"),
            errors,
        );
        if versions[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            let wrong = "must contain unique version names";
            errors.push(FieldError::invalid(
                list,
                spec.at("versions").clone(),
                wrong,
            ));
        }
        if !version.has("schema.openAPIV3Schema") {
            let wrong = "schemas are required";
            errors.push(FieldError::required(
                path.field("schema").field("openAPIV3Schema"),
                wrong,
            ));
        } else if version.text("schema.openAPIV3Schema.type") != "object" {
            let schema = path.field("schema");
            let root = schema.field("openAPIV3Schema");
            let kind = version.text("schema.openAPIV3Schema.type");
            if kind.is_empty() {
                errors.push(FieldError::required(
                    root.field("type"),
                    "must not be empty at the root",
                ));
            } else {
                errors.push(FieldError::invalid(
                    root.field("type"),
                    kind,
                    "must be object at the root",
                ));
            }
        }
    }
}

/// What of a CustomResourceDefinition may not change.
pub fn update_definition(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let (spec, before) = (object.at("spec"), old.at("spec"));
    immutable(spec, before, "group", &path, errors);
    let established = old.list("status.conditions").iter().any(|condition| {
        condition.text("type") == "Established" && condition.text("status") == "True"
    });
    if established {
        immutable(spec, before, "scope", &path, errors);
        let names = path.field("names");
        for field in ["kind", "plural"] {
            immutable(spec.at("names"), before.at("names"), field, &names, errors);
        }
    }
    let status = Path::ROOT.field("status");
    for (index, stored) in old.texts("status.storedVersions").enumerate() {
        if !spec
            .list("versions")
            .iter()
            .any(|version| version.text("name") == stored)
        {
            let list = status.field("storedVersions");
            let wrong = "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in it and removes it from status.storedVersions";
            let wrong = wrong.replacen("v1", stored, 1);
            errors.push(FieldError::invalid(list.index(index), stored, wrong));
        }
    }
}

/// Everything wrong with an APIService.
pub fn validate_service(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let expected = format!("{}.{}", spec.text("version"), spec.text("group"));
    if meta::name(object) != expected {
        let wrong = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
        errors.push(FieldError::invalid(
            "metadata.name",
            meta::name(object),
            wrong,
        ));
    }
    required(spec, "version", &path, errors);
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.int(field).unwrap_or(0);
        if number <= 0 || number > max {
            let wrong = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(path.field(field), number, wrong));
        }
    }
    let service = spec.at("service");
    if service.is_null() {
        if spec.flag("insecureSkipTLSVerify") {
            let wrong = "local APIServices may not specify insecureSkipTLSVerify";
            errors.push(FieldError::invalid(
                path.field("insecureSkipTLSVerify"),
                true,
                wrong,
            ));
        }
        return;
    }
    let own = path.field("service");
    required(service, "name", &own, errors);
    required(service, "namespace", &own, errors);
    if spec.flag("insecureSkipTLSVerify") && !spec.text("caBundle").is_empty() {
        let wrong = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(
            path.field("insecureSkipTLSVerify"),
            true,
            wrong,
        ));
    }
}
