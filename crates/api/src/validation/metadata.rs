//! Metadata, of every kind.

use schema::{Path, Value, field_error::FieldError};

use super::checks::{IMMUTABLE, immutable, labels};
use crate::{meta, names, object::Object, resource::Resource};

const METADATA: Path<'static> = Path::ROOT;

/// Everything wrong with the metadata of a new object.
pub fn create(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let path = METADATA.field("metadata");
    let name = meta::name(object);
    prefix(resource, object, &path, errors);
    if name.is_empty() {
        errors.push(FieldError::required(
            path.field("name"),
            "name or generateName is required",
        ));
    } else {
        for wrong in resource.strategy.validate_name(name, false) {
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
    }
    let namespace = meta::namespace(object);
    if resource.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(path.field("namespace"), ""));
        } else {
            for wrong in names::dns1123_label(namespace) {
                errors.push(FieldError::invalid(
                    path.field("namespace"),
                    namespace,
                    wrong,
                ));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            path.field("namespace"),
            "not allowed on this type",
        ));
    }
    common(object, &path, errors);
    finalizers(object, &path, errors);
    if knows_finalizers(resource) {
        standard_finalizers(object, &path, errors);
    }
}

/// Everything wrong with a change of the metadata.
pub fn update(resource: &Resource, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = METADATA.field("metadata");
    prefix(resource, object, &path, errors);
    if knows_finalizers(resource) {
        standard_finalizers(object, &path, errors);
    }
    if meta::is_terminating(old) {
        let known: Vec<&str> = meta::finalizers(old).collect();
        let mut added: Vec<&str> = meta::finalizers(object)
            .filter(|name| !known.contains(name))
            .collect();
        if !added.is_empty() {
            added.sort_unstable();
            let list: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
            errors.push(FieldError::forbidden(
                path.field("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            ));
        }
    }
    if meta::resource_version(object).is_empty() {
        errors.push(FieldError::invalid(
            path.field("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    if meta::generation(object) < meta::generation(old) {
        let generation = meta::generation(object);
        errors.push(FieldError::invalid(
            path.field("generation"),
            generation,
            "must not be decremented",
        ));
    }
    for field in ["name", "namespace", "uid"] {
        let (new, old) = (
            object.at("metadata").text(field),
            old.at("metadata").text(field),
        );
        if new != old {
            errors.push(FieldError::invalid(path.field(field), new, IMMUTABLE));
        }
    }
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        immutable(
            object.at("metadata"),
            old.at("metadata"),
            field,
            &path,
            errors,
        );
    }
    common(object, &path, errors);
    finalizers(object, &path, errors);
}

/// What a name is to be made of.
fn prefix(resource: &Resource, object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = meta::generate_name(object);
    if text.is_empty() {
        return;
    }
    for wrong in resource.strategy.validate_name(text, true) {
        errors.push(FieldError::invalid(path.field("generateName"), text, wrong));
    }
}

/// Labels and annotations of what is made from a template. Upstream names them without `metadata`
/// where the template is a pod's, so the path says where they are.
pub fn template(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    labels(object.at("metadata.labels"), &path.field("labels"), errors);
    annotations(object, &path.field("annotations"), errors);
}

/// As [`template`], where nothing but labels and annotations may be there.
pub fn template_alone(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    template(object, path, errors);
    for (key, value) in object.pairs("metadata") {
        let empty = value.is_null()
            || value.as_str() == Some("")
            || value.as_array().is_some_and(Vec::is_empty);
        if !matches!(key, "labels" | "annotations") && !empty {
            errors.push(FieldError::forbidden(path.field(key), "cannot be set"));
        }
    }
}

/// Kinds whose finalizers upstream lets have any name.
const UNCHECKED: [&str; 4] = [
    "PodDisruptionBudget",
    "RuntimeClass",
    "Lease",
    "LeaseCandidate",
];

/// Is it one of the kinds whose finalizers upstream looks at? Definitions of custom resources are not:
/// the finalizer that they are given themselves has no prefix. Events are as they ever were.
fn knows_finalizers(resource: &Resource) -> bool {
    let gvk = &resource.gvk;
    let is_core_event = gvk.group.is_empty() && &*gvk.kind == "Event";
    let is_free = is_core_event
        || UNCHECKED.contains(&&*gvk.kind)
        || matches!(
            &*gvk.group,
            "apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io"
        );
    resource.types.is_builtin() && !is_free
}

/// Names without a prefix are those that Kubernetes itself gave.
fn standard_finalizers(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("finalizers");
    for (index, name) in meta::finalizers(object).enumerate() {
        kube_finalizer(name, &list.index(index), errors);
    }
}

/// A finalizer's name has a prefix or is one of the standard ones.
pub fn kube_finalizer(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    if !name.contains('/') && !STANDARD.contains(&name) {
        let wrong = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, wrong));
    }
}

/// Metadata of an object within another.
pub fn embedded(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    common(object, path, errors);
    finalizers(object, path, errors);
}

fn common(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if meta::generation(object) < 0 {
        let generation = meta::generation(object);
        errors.push(FieldError::invalid(
            path.field("generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    labels(object.at("metadata.labels"), &path.field("labels"), errors);
    annotations(object, &path.field("annotations"), errors);
    owners(object, &path.field("ownerReferences"), errors);
}

fn annotations(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in meta::annotations(object) {
        size += key.len() + value.len();
        let wrongs = if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            names::qualified_name(&key.to_lowercase())
        } else {
            names::qualified_name(key)
        };
        for wrong in wrongs {
            errors.push(FieldError::invalid(path, key, wrong));
        }
    }
    if size > meta::ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, meta::ANNOTATIONS_MAX));
    }
}

fn owners(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let references = meta::owner_references(object);
    let mut controller: Option<String> = None;
    for owner in references {
        let (group, version) = meta::split_api_version(owner.text("apiVersion"));
        if version.is_empty() {
            let wrong = "version must not be empty";
            errors.push(FieldError::invalid(
                path.field("apiVersion"),
                owner.text("apiVersion"),
                wrong,
            ));
        }
        for field in ["kind", "name", "uid"] {
            if owner.text(field).is_empty() {
                errors.push(FieldError::invalid(
                    path.field(field),
                    "",
                    "must not be empty",
                ));
            }
        }
        if owner.text("kind") == "Event" && group.is_empty() && version == "v1" {
            let wrong = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, owner.clone(), wrong));
        }
        if owner.flag("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            if let Some(first) = &controller {
                let wrong = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.push(FieldError::invalid(
                    path,
                    Value::Array(references.to_vec()),
                    wrong,
                ));
            } else {
                controller = Some(this);
            }
        }
    }
}

fn finalizers(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("finalizers");
    let (mut orphan, mut foreground) = (false, false);
    for name in meta::finalizers(object) {
        for wrong in names::qualified_name(name) {
            errors.push(FieldError::invalid(path, name, wrong));
        }
        orphan |= name == "orphan";
        foreground |= name == "foregroundDeletion";
    }
    if orphan && foreground {
        let wrong = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            path,
            object.at("metadata.finalizers").clone(),
            wrong,
        ));
    }
}
