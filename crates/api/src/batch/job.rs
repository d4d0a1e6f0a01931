//! Jobs.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use super::{defaults, rules::job_spec, status};
use crate::{
    labels::Selector,
    meta,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{IMMUTABLE, immutable, label_selector_after},
};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

/// What Jobs do specially.
pub struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        defaults::job(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        if object.flag("spec.manualSelector") {
            return;
        }
        let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
        let template = object.place("spec.template");
        for (key, value) in [
            (UID, &uid),
            (OLD_UID, &uid),
            (NAME, &name),
            (OLD_NAME, &name),
        ] {
            // Who wrote another one hears of it from validation.
            if meta::label(template, key).is_none() {
                meta::set_label(template, key, value);
            }
        }
        meta::map_mut(object.place("spec.selector.matchLabels"))
            .entry(UID)
            .or_insert_with(|| uid.into());
        // Upstream's defaults see these labels when they read what was stored.
        defaults::labels_of_template(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        whole(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        whole(object, old, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => spec_update(object, old, errors),
            Part::Status => status::update(object, old, errors),
            Part::Sub(_) => {}
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.successful",
            object.int("status.succeeded").unwrap_or(0).to_string(),
        )]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        crate::core::pod::host_name_warnings(object, NAMES_PODS, &mut warnings);
        job_warnings(object, "spec", &mut warnings);
        warnings
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if part == Part::Main && meta::generation(object) != meta::generation(old) {
            job_warnings(object, "spec", &mut warnings);
        }
        warnings
    }
}

/// Everything wrong with a Job, which may have been another before.
fn whole(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    if !spec.flag("manualSelector") && spec.has("selector") {
        generated(object, old, errors);
    }
    job_spec(spec, &path, errors);
    let selector = spec.at("selector");
    if selector.is_null() {
        errors.push(FieldError::required(path.field("selector"), ""));
    }
    label_selector_after(
        selector,
        old.at("spec.selector"),
        &path.field("selector"),
        errors,
    );
    if Selector::from_label_selector(selector)
        .is_ok_and(|selector| !selector.matches_object(spec.at("template")))
    {
        let template = path.field("template");
        let metadata = template.field("metadata");
        let found = spec.at("template.metadata.labels").clone();
        let wrong = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(metadata.field("labels"), found, wrong));
    }
    let name = meta::name(object);
    let completions = object.int("spec.completions").unwrap_or(0);
    if object.text("spec.completionMode") == "Indexed" && completions > 0 {
        let last = format!("{name}-{}", completions - 1);
        if !crate::names::dns1123_label(&last).is_empty() {
            let wrong = format!("will not able to create pod with invalid DNS label: {last}");
            errors.push(FieldError::invalid("metadata.name", name, wrong));
        }
    }
}

/// The labels that a Job's pods are told by, where its owner did not choose them. Jobs from before the
/// newer names need those no more.
fn generated(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (uid, name) = (meta::uid(object), meta::name(object));
    if uid.is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let template = object.at("spec.template");
    let before = old.at("spec.template");
    let newer = old.is_null()
        || [UID, NAME]
            .iter()
            .all(|key| meta::label(before, key).is_some());
    let mut expected = vec![(OLD_UID, uid), (OLD_NAME, name)];
    if newer {
        expected.extend([(UID, uid), (NAME, name)]);
    }
    let spec = Path::ROOT.field("spec");
    let field = spec.field("template");
    let metadata = field.field("metadata");
    let labels = metadata.field("labels");
    for (key, value) in &expected {
        match meta::label(template, key) {
            None => {
                let wrong = format!("must be '{value}'");
                errors.push(FieldError::required(labels.key(key), wrong));
            }
            Some(found) if found != *value => {
                let wrong = format!("must be '{value}'");
                let shown = template.at("metadata.labels").clone();
                errors.push(FieldError::invalid(labels.key(key), shown, wrong));
            }
            _ => {}
        }
    }
    let made: schema::Map<String, Value> = expected
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let made = serde_json::json!({"metadata": {"labels": made}});
    let selector = object.at("spec.selector");
    if Selector::from_label_selector(selector).is_ok_and(|selector| !selector.matches_object(&made))
    {
        let wrong = "`selector` not auto-generated";
        errors.push(FieldError::invalid(
            spec.field("selector"),
            selector.clone(),
            wrong,
        ));
    }
}

/// What of a Job's spec may not change.
fn spec_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let (spec, before) = (object.at("spec"), old.at("spec"));
    let completions = spec.at("completions");
    if spec.text("completionMode") != "Indexed" {
        immutable(spec, before, "completions", &path, errors);
    } else if completions != before.at("completions")
        && !completions.is_null()
        && completions != spec.at("parallelism")
    {
        let wrong = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(
            path.field("completions"),
            completions.clone(),
            wrong,
        ));
    }
    immutable(spec, before, "selector", &path, errors);
    template_update(object, old, errors);
    for field in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(spec, before, field, &path, errors);
    }
}

/// The pods of a suspended Job of which none runs may still be told where to go and what to ask for.
fn template_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let (template, mut allowed) = (object.at("spec.template"), old.at("spec.template").clone());
    let suspended = old.flag("spec.suspend");
    let rests = !old.has("status.startTime") || status::is_true(old, "Suspended");
    let free = suspended && rests && old.int("status.active").unwrap_or(0) == 0;
    if free {
        for field in [
            "spec.affinity.nodeAffinity",
            "spec.nodeSelector",
            "spec.tolerations",
            "spec.schedulingGates",
            "metadata.annotations",
            "metadata.labels",
        ] {
            allowed.restore(field, template);
        }
        if !template.has("spec.affinity")
            && allowed
                .map("spec.affinity")
                .is_none_or(|affinity| affinity.is_empty())
        {
            allowed.remove("spec.affinity");
        }
    }
    let mut judge = |field: Path<'_>, new: &Value, allowed: &Value| {
        if new != allowed {
            errors.push(FieldError::invalid(field, new.clone(), IMMUTABLE));
        }
    };
    if !free {
        judge(path.field("template"), template, &allowed);
        return;
    }
    for list in ["spec.containers", "spec.initContainers"] {
        let new = template.list(list);
        let may = allowed.list_mut(list);
        if new.len() != may.len() {
            continue;
        }
        for (may, new) in may.iter_mut().zip(new) {
            if may.text("name") == new.text("name") {
                may.restore("resources", new);
            }
        }
    }
    judge(
        path.field("template.spec"),
        template.at("spec"),
        allowed.at("spec"),
    );
}

pub(super) const NAMES_PODS: &str =
    "this is used in Pod names and hostnames, which can result in surprising behavior";

/// What a Job's spec is warned of.
pub(super) fn job_warnings(object: &Value, path: &str, warnings: &mut Vec<String>) {
    let spec = object.at(path);
    let number = |field: &str| spec.int(field).unwrap_or(0);
    if spec.text("completionMode") == "Indexed"
        && number("completions") > 100_000
        && number("parallelism") > 10_000
    {
        warnings.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    let template = format!("{path}.template");
    warnings.extend(crate::core::pod::template_warnings(object, &template));
}
