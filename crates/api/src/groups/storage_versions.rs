//! The versions that objects are stored in, and the migrations between them.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta, names,
    object::Object,
    validation::checks::{conditions, immutable, wrongs},
};

/// Everything wrong with what is to be migrated.
pub fn validate_migration(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let path = path.field("resource");
    let (resource, group) = (
        object.text("spec.resource.resource"),
        object.text("spec.resource.group"),
    );
    let field = path.field("resource");
    if resource.is_empty() {
        errors.push(FieldError::required(
            field,
            "resource is required to be set",
        ));
    } else {
        joined(resource, &names::dns1035_label(resource), &field, errors);
    }
    if !group.is_empty() {
        joined(
            group,
            &names::dns1123_subdomain(group),
            &path.field("group"),
            errors,
        );
    }
}

/// What is wrong as one error.
fn joined(text: &str, wrong: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, text, wrong.join(",")));
    }
}

/// What of a migration may not change.
pub fn update_migration(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "spec", &Path::ROOT, errors);
}

/// Everything wrong with how far a migration is.
pub fn migration_status(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let version = object.text("status.resourceVersion");
    let field = path.field("resourceVersion");
    let before = old.text("status.resourceVersion");
    if !version.is_empty()
        && (version.starts_with('0') || !version.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let wrong = format!("resource version is not well formed: {version}");
        errors.push(FieldError::invalid(field, version, wrong));
    }
    let list = path.field("conditions");
    conditions(object.list("status.conditions"), &list, errors);
    if !before.is_empty() && version != before {
        errors.push(FieldError::invalid(field, version, "field is immutable"));
    }
    let is = |object: &Value, kind: &str| {
        meta::condition(object, kind).is_some_and(|condition| condition.text("status") == "True")
    };
    let mut wrong = |wrong: String| {
        let shown = object.at("status.conditions").clone();
        errors.push(FieldError::invalid(list, shown, wrong));
    };
    if is(object, "Succeeded") && is(object, "Failed") {
        wrong("Both success and failed conditions cannot be true at the same time".to_owned());
    }
    for (kind, shown) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is(old, kind) && !is(object, kind) {
            wrong(format!(
                "{shown} condition cannot be set to false once it is true"
            ));
        }
    }
}

/// The name of a StorageVersion: a group, a dot and a resource.
pub fn version_name(name: &str, _: bool) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let group = names::dns1123_subdomain(group).into_iter();
    let resource = names::dns1035_label(resource).into_iter();
    group
        .map(|wrong| format!("the group segment {wrong}"))
        .chain(resource.map(|wrong| format!("the resource segment {wrong}")))
        .collect()
}

/// Everything wrong with what servers say of the versions they store.
pub fn version_status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let list = path.field("storageVersions");
    let servers = object.list("status.storageVersions");
    for (index, server) in servers.iter().enumerate() {
        let path = list.index(index);
        let id = server.text("apiServerID");
        if servers[..index]
            .iter()
            .any(|known| known.text("apiServerID") == id)
        {
            errors.push(FieldError::duplicate(path.field("apiServerID"), id));
        }
        wrongs(
            id,
            names::dns1123_subdomain(id),
            &path.field("apiServerID"),
            errors,
        );
        of_server(server, &path, errors);
    }
    common(object.at("status"), &path, errors);
    let list = object.list("status.conditions");
    for (index, condition) in list.iter().enumerate() {
        let path = path.index(index);
        let kind = condition.text("type");
        let mut known = list[..index].iter();
        if let Some(at) = known.rposition(|known| known.text("type") == kind) {
            let wrong = format!(
                "the type of the condition is not unique, it also appears in conditions[{at}]"
            );
            errors.push(FieldError::invalid(path.field("type"), kind, wrong));
        }
        for field in ["type", "status"] {
            let text = condition.text(field);
            wrongs(
                text,
                names::qualified_name(text),
                &path.field(field),
                errors,
            );
        }
        for field in ["reason", "message"] {
            if condition.text(field).is_empty() {
                errors.push(FieldError::required(path.field(field), ""));
            }
        }
    }
}

fn of_server(server: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let encoding = server.text("encodingVersion");
    joined(
        encoding,
        &api_version(encoding),
        &path.field("encodingVersion"),
        errors,
    );
    let decodable: Vec<&str> = server.texts("decodableVersions").collect();
    let list = path.field("decodableVersions");
    for (index, version) in decodable.iter().enumerate() {
        joined(version, &api_version(version), &list.index(index), errors);
    }
    if !decodable.contains(&encoding) {
        let wrong = format!("decodableVersions must include encodingVersion {encoding}");
        errors.push(FieldError::invalid(
            list,
            server.at("decodableVersions").clone(),
            wrong,
        ));
    }
    let list = path.field("servedVersions");
    for (index, version) in server.texts("servedVersions").enumerate() {
        let path = list.index(index);
        joined(version, &api_version(version), &path, errors);
        if !decodable.contains(&version) {
            let wrong = format!(
                "individual served version : {version} must be included in decodableVersions : [{}]",
                decodable.join(" ")
            );
            errors.push(FieldError::invalid(path, version, wrong));
        }
    }
}

/// The version that all servers encode to, said where there is one.
fn common(status: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut versions = status
        .list("storageVersions")
        .iter()
        .map(|server| server.text("encodingVersion"));
    let first = versions.next();
    let actual = first.filter(|first| versions.all(|version| version == *first));
    let said = status.at("commonEncodingVersion");
    let wrong = match (actual, said.as_str()) {
        (Some(actual), None) => format!("the common encoding version is {actual}"),
        (Some(actual), Some(said)) if actual != said => {
            format!("the actual common encoding version is {actual}")
        }
        (None, Some(_)) => "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet".to_owned(),
        _ => return,
    };
    let field = path.field("commonEncodingVersion");
    errors.push(FieldError::invalid(field, said.clone(), wrong));
}

/// What is wrong with the version of an API.
fn api_version(text: &str) -> Vec<String> {
    const EMPTY: &str = "must be non-empty";
    let (group, version) = match text.split_once('/') {
        None => (None, text),
        Some((_, version)) if version.contains('/') => {
            let label = names::dns1035_label("-").join("");
            return vec![format!(
                "an apiVersion is {label} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
            )];
        }
        Some((group, version)) => (Some(group), version),
    };
    let part = |name: &str, text: &str, wrong: Vec<String>| {
        let wrong = if text.is_empty() {
            vec![EMPTY.to_owned()]
        } else {
            wrong
        };
        wrong
            .into_iter()
            .map(|wrong| format!("{name} part: {wrong}"))
            .collect::<Vec<String>>()
    };
    let mut wrong = group.map_or_else(Vec::new, |group| {
        part("group", group, names::dns1123_subdomain(group))
    });
    wrong.extend(part("version", version, names::dns1035_label(version)));
    wrong
}
