//! How CustomResourceDefinitions themselves behave.

use jiff::Timestamp;
use schema::{FieldError, Path, Value, structural};
use serde_json::json;

use super::{CLEANUP, conditions, conversion, storage_version, versions};
use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{immutable, one_of},
};

/// CustomResourceDefinitions.
pub struct Definition;

impl Strategy for Definition {
    fn default(&self, object: &mut Value) {
        if object.list("status.storedVersions").is_empty() {
            let versions = object.list("spec.versions").iter();
            let first = versions
                .filter(|version| version.flag("storage"))
                .map(|version| version.text("name"))
                .find(|name| !name.is_empty());
            if let Some(first) = first.map(str::to_owned) {
                object.set("status.storedVersions", json!([first]));
            }
        }
        let kind = object.text("spec.names.kind").to_owned();
        if !kind.is_empty() {
            object.set_default_text("spec.names.singular", &kind.to_lowercase());
            object.set_default_text("spec.names.listKind", &format!("{kind}List"));
        }
        object.set_default("spec.conversion", json!({"strategy": "None"}));
        if let Some(service) = object.at_mut("spec.conversion.webhook.clientConfig.service") {
            service.set_default("port", 443);
        }
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        let stored = storage_version(object).to_owned();
        if !stored.is_empty() {
            object.set("status.storedVersions", json!([stored]));
        }
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, _old: &Value, _now: Timestamp) {
        if part != Part::Main {
            return;
        }
        let stored = storage_version(object).to_owned();
        if stored.is_empty() || object.texts("status.storedVersions").any(|v| v == stored) {
            return;
        }
        let list = object.place("status.storedVersions");
        match list {
            Value::Array(list) => list.push(stored.into()),
            other => *other = json!([stored]),
        }
    }

    fn prepare_delete(&self, object: &mut Value, now: Timestamp) {
        if !meta::finalizers(object).any(|name| name == CLEANUP) {
            let list = object.place("metadata.finalizers");
            match list {
                Value::Array(list) => list.push(CLEANUP.into()),
                other => *other = json!([CLEANUP]),
            }
        }
        conditions::set(
            object,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            now,
        );
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        whole(object, None, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        whole(object, Some(old), errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let name = meta::name(object);
        let group = object.text("spec.group");
        if name != format!("{}.{group}", object.text("spec.names.plural")) {
            let wrong = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid("metadata.name", name, wrong));
        }
        whole(object, None, errors);
        versions::schemas(object, None, errors);
        approve(object, None, errors);
        if object.flag("spec.preserveUnknownFields") {
            preserve(errors);
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Main {
            let status = Path::ROOT.field("status");
            let accepted = object.at("status.acceptedNames");
            names_errors(accepted, &status.field("acceptedNames"), errors);
            return;
        }
        versions::schemas(object, Some(old), errors);
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        let names = path.field("names");
        if conditions::is_true(old, "Established") {
            immutable(spec, before, "scope", &path, errors);
            immutable(spec.at("names"), before.at("names"), "kind", &names, errors);
        }
        immutable(spec, before, "group", &path, errors);
        immutable(
            spec.at("names"),
            before.at("names"),
            "plural",
            &names,
            errors,
        );
        approve(object, Some(old), errors);
        if spec.flag("preserveUnknownFields") && !before.flag("preserveUnknownFields") {
            preserve(errors);
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        formats(object)
            .into_iter()
            .map(|format| format!("unrecognized format {format:?}"))
            .collect()
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        if part != Part::Main || object.at("spec.versions") == old.at("spec.versions") {
            return Vec::new();
        }
        let known = formats(old);
        formats(object)
            .into_iter()
            .filter(|format| !known.contains(format))
            .map(|format| format!("unrecognized format {format:?}"))
            .collect()
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// Everything wrong with a definition that was another before, but for its schemas.
fn whole(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    group(object, &path, errors);
    one_of(spec, "scope", &["Cluster", "Namespaced"], &path, errors);
    versions::defaults(spec, &path, errors);
    versions::validate(object, old, &path, errors);
    let own = spec.at("names");
    let names_path = path.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if own.text(field).is_empty() {
            errors.push(FieldError::required(names_path.field(field), ""));
        }
    }
    names_errors(own, &names_path, errors);
    conversion::validate(object, old, &path, errors);
    let status = Path::ROOT.field("status");
    let accepted = object.at("status.acceptedNames");
    names_errors(accepted, &status.field("acceptedNames"), errors);
    stored_versions(object, errors);
}

fn formats(definition: &Value) -> Vec<String> {
    let versions = definition.list("spec.versions").iter();
    versions
        .flat_map(|version| structural::unknown_formats(version.at("schema.openAPIV3Schema")))
        .collect()
}

fn preserve(errors: &mut Vec<FieldError>) {
    let wrong = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    errors.push(FieldError::invalid(
        "spec.preserveUnknownFields",
        true,
        wrong,
    ));
}

fn group(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let group = object.text("spec.group");
    let own = path.field("group");
    if group.is_empty() {
        errors.push(FieldError::required(own, ""));
    } else {
        let wrongs = names::dns1123_subdomain(group);
        if !wrongs.is_empty() {
            errors.push(FieldError::invalid(own, group, wrongs.join(",")));
        } else if !group.contains('.') {
            let wrong = "should be a domain with at least one dot";
            errors.push(FieldError::invalid(own, group, wrong));
        }
    }
}

fn names_errors(own: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut check = |path: String, name: &str, mixed: bool| {
        if name.is_empty() {
            return;
        }
        let wrongs = if mixed {
            names::dns1035_label(&name.to_lowercase())
        } else {
            names::dns1035_label(name)
        };
        if !wrongs.is_empty() {
            let lead = if mixed {
                "may have mixed case, but should otherwise match: "
            } else {
                ""
            };
            let wrong = format!("{lead}{}", wrongs.join(","));
            errors.push(FieldError::invalid(path, name, wrong));
        }
    };
    for field in ["plural", "singular", "kind", "listKind"] {
        let mixed = matches!(field, "kind" | "listKind");
        check(path.field(field).to_string(), own.text(field), mixed);
    }
    for field in ["shortNames", "categories"] {
        for (at, name) in own.texts(field).enumerate() {
            check(path.field(field).index(at).to_string(), name, false);
        }
    }
    let kind = own.text("kind");
    if !kind.is_empty() && kind == own.text("listKind") {
        let wrong = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(path.field("listKind"), kind, wrong));
    }
}

fn stored_versions(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let path = path.field("storedVersions");
    let stored: Vec<&str> = object.texts("status.storedVersions").collect();
    let shown = || object.at("status.storedVersions").clone();
    if stored.is_empty() {
        let wrong = "must have at least one stored version";
        errors.push(FieldError::invalid(path, shown(), wrong));
        return;
    }
    let versions = object.list("spec.versions").iter();
    for storage in versions
        .filter(|version| version.flag("storage"))
        .map(|version| version.text("name"))
        .filter(|storage| !stored.contains(storage))
    {
        let wrong = format!("must have the storage version {storage}");
        errors.push(FieldError::invalid(path, shown(), wrong));
    }
    for (at, name) in stored.into_iter().enumerate() {
        if super::version(object, name).is_none() {
            let wrong = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(path.index(at), name, wrong));
        }
    }
}

/// Does the group belong to the Kubernetes community, so that its kinds need approval (KEP-1111)?
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// What the annotation says of the approval, and why that is so.
pub enum Approval {
    /// By the address of a pull request.
    Approved(String),
    /// It is said to be unapproved.
    Bypassed(String),
    /// It says something else.
    Invalid(String),
    /// There is none.
    Missing(String),
}

/// How far the kind is approved.
pub fn approval(definition: &Value) -> Approval {
    let text = meta::annotation(definition, APPROVED).unwrap_or("");
    let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && rest.split('/').next().is_some_and(|host| !host.is_empty())
    });
    if text.is_empty() {
        Approval::Missing(format!(
            "protected groups must have approval annotation {APPROVED:?}, see https://github.com/kubernetes/enhancements/pull/1111"
        ))
    } else if text.starts_with("unapproved") {
        Approval::Bypassed(format!("not approved: {text:?}"))
    } else if is_url {
        Approval::Approved(format!("approved in {text}"))
    } else {
        Approval::Invalid(format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        ))
    }
}

fn approve(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !is_protected(object.text("spec.group")) {
        return;
    }
    let new = approval(object);
    if old.is_some_and(|old| std::mem::discriminant(&approval(old)) == std::mem::discriminant(&new))
    {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    match new {
        Approval::Approved(_) | Approval::Bypassed(_) => {}
        Approval::Missing(why) => errors.push(FieldError::required(path, why)),
        Approval::Invalid(why) => {
            let text = meta::annotation(object, APPROVED).unwrap_or("");
            errors.push(FieldError::invalid(path, text, why));
        }
    }
}
