//! Groups of pods that are scheduled together, and the workloads that have the templates of such groups.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{conditions, duplicates, immutable, required, too_many, wrongs},
};

const TEMPLATES_MAX: usize = 8;
const CLAIMS_MAX: usize = 4;

/// What gates that are off keep out of groups and of their templates.
const GATED: [&str; 5] = [
    "schedulingConstraints",
    "resourceClaims",
    "disruptionMode",
    "priorityClassName",
    "priority",
];
/// As [`GATED`], where an object that has one already may lose it but may not get another.
const FIXED: [&str; 4] = [
    "schedulingConstraints",
    "disruptionMode",
    "priorityClassName",
    "priority",
];

/// Takes away what is gated, but for what was there before.
fn drop_gated(group: &mut Value, old: &Value) {
    for field in GATED {
        let was = old.at(field);
        let used = match was {
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            other => !other.is_null(),
        };
        if !used {
            group.remove(field);
        }
    }
}

/// What PodGroups do specially.
pub struct PodGroup;

impl Strategy for PodGroup {
    fn prepare_create(&self, object: &mut Value, _: jiff::Timestamp) {
        if let Some(spec) = object.at_mut("spec") {
            drop_gated(spec, &Value::Null);
        }
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _: jiff::Timestamp) {
        if part != Part::Status {
            if let Some(spec) = object.at_mut("spec") {
                drop_gated(spec, old.at("spec"));
            }
        } else if old.list("spec.resourceClaims").is_empty() {
            object.remove("status.resourceClaimStatuses");
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let reference = path.field("podGroupTemplateRef");
        let workload = spec.at("podGroupTemplateRef.workload");
        if spec.has("podGroupTemplateRef") && workload.is_null() {
            let wrong = "must specify one of: `workload`";
            errors.push(FieldError::invalid(reference, "", wrong));
        } else if spec.has("podGroupTemplateRef") {
            let path = reference.field("workload");
            let name = required(workload, "workloadName", &path, errors);
            if !name.is_empty() {
                subdomain(name, &path.field("workloadName"), errors);
            }
            label(workload, "podGroupTemplateName", &path, errors);
        }
        policy(spec, &path, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Status {
            status(object, &Path::ROOT.field("status"), errors);
            return;
        }
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        for field in ["podGroupTemplateRef", "schedulingPolicy", "resourceClaims"] {
            immutable(spec, before, field, &path, errors);
        }
        for field in FIXED {
            let (now, was) = (spec.at(field), before.at(field));
            let empty = |value: &Value| value.is_null() || value.as_str() == Some("");
            if !empty(now) && !empty(was) && now != was {
                errors.push(FieldError::forbidden(path.field(field), ""));
            }
        }
    }
}

fn status(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("conditions");
    conditions(object.list("status.conditions"), &list, errors);
    let list = path.field("resourceClaimStatuses");
    let claims = object.list("status.resourceClaimStatuses");
    let known = object.list("spec.resourceClaims");
    for (index, claim) in claims.iter().enumerate() {
        let name = claim.text("name");
        if !known.iter().any(|known| known.text("name") == name) {
            let wrong = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(
                list.index(index).field("name"),
                name,
                wrong,
            ));
        }
    }
    if too_many(claims, CLAIMS_MAX, &list, errors) {
        return;
    }
    duplicates(claims.iter().map(|claim| claim.text("name")), &list, errors);
    for (index, claim) in claims.iter().enumerate() {
        if claim.has("resourceClaimName") {
            let path = list.index(index);
            let name = claim.text("resourceClaimName");
            subdomain(name, &path.field("resourceClaimName"), errors);
        }
    }
}

/// What Workloads do specially.
pub struct Workload;

impl Strategy for Workload {
    fn prepare_create(&self, object: &mut Value, _: jiff::Timestamp) {
        drop_from_templates(object, &Value::Null);
    }

    fn prepare_update(&self, _: Part<'_>, object: &mut Value, old: &Value, _: jiff::Timestamp) {
        drop_from_templates(object, old);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        if spec.has("controllerRef") {
            controller(
                spec.at("controllerRef"),
                &path.field("controllerRef"),
                errors,
            );
        }
        let list = path.field("podGroupTemplates");
        let templates = spec.list("podGroupTemplates");
        if templates.is_empty() {
            errors.push(FieldError::required(list, ""));
        }
        if too_many(templates, TEMPLATES_MAX, &list, errors) {
            return;
        }
        duplicates(
            templates.iter().map(|template| template.text("name")),
            &list,
            errors,
        );
        for (index, template) in templates.iter().enumerate() {
            let path = list.index(index);
            label(template, "name", &path, errors);
            policy(template, &path, errors);
        }
    }

    fn validate_update(
        &self,
        _: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        for field in ["controllerRef", "podGroupTemplates"] {
            immutable(object.at("spec"), old.at("spec"), field, &path, errors);
        }
        let list = path.field("podGroupTemplates");
        let templates = object.list("spec.podGroupTemplates");
        if templates.is_empty() {
            errors.push(FieldError::required(list, ""));
        }
        too_many(templates, TEMPLATES_MAX, &list, errors);
    }
}

fn drop_from_templates(object: &mut Value, old: &Value) {
    let before = old.list("spec.podGroupTemplates");
    let templates = object.list_mut("spec.podGroupTemplates");
    for (index, template) in templates.iter_mut().enumerate() {
        drop_gated(template, before.get(index).unwrap_or(&Value::Null));
    }
}

/// The object that made the workload.
fn controller(reference: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let group = reference.text("apiGroup");
    if !group.is_empty() {
        subdomain(group, &path.field("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        let text = required(reference, field, path, errors);
        if !text.is_empty() {
            wrongs(text, names::path_segment(text), &path.field(field), errors);
        }
    }
}

/// How the pods of a group are scheduled: one by one, or all at once.
fn policy(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let field = path.field("schedulingPolicy");
    let policy = holder.at("schedulingPolicy");
    match (policy.has("basic"), policy.has("gang")) {
        (false, false) => {
            let wrong = "must specify one of: `basic`, `gang`";
            errors.push(FieldError::invalid(field, "", wrong));
        }
        (true, true) => {
            let wrong = "must specify exactly one of: `basic`, `gang`";
            errors.push(FieldError::invalid(field, "{`basic`, `gang`}", wrong));
        }
        _ => {}
    }
    if policy.has("gang") {
        let field = field.field("gang");
        let field = field.field("minCount");
        match policy.int("gang.minCount").unwrap_or(0) {
            0 => errors.push(FieldError::required(field, "")),
            count if count < 1 => {
                let wrong = "must be greater than or equal to 1";
                errors.push(FieldError::invalid(field, count, wrong));
            }
            _ => {}
        }
    }
}

fn subdomain(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    wrongs(text, names::dns1123_subdomain(text), path, errors);
}

/// A field that has to be there and to be a DNS label.
fn label(holder: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = required(holder, field, path, errors);
    if !text.is_empty() {
        wrongs(text, names::dns1123_label(text), &path.field(field), errors);
    }
}
