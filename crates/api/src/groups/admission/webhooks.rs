//! Configurations of webhooks.

use schema::{Path, Value, field_error::FieldError};

use super::{client_config, rules};
use crate::{
    names,
    object::Object,
    validation::checks::{label_selector, one_of_if_set, supported},
};

const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];
const NO_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const ALL_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

/// What of the rules a configuration that was there before has broken already.
struct Tolerated {
    effects: bool,
    versions: bool,
    names: bool,
    selectors: bool,
}

impl Tolerated {
    fn of(old: &Value) -> Self {
        let hooks = old.list("webhooks");
        let versions = |hook: &Value| {
            let list = hook.list("admissionReviewVersions");
            !list.is_empty() && !accepted(hook)
        };
        let selectors = |hook: &Value| {
            let mut errors = Vec::new();
            for field in ["namespaceSelector", "objectSelector"] {
                label_selector(hook.at(field), &Path::ROOT, &mut errors);
            }
            !errors.is_empty()
        };
        Tolerated {
            effects: hooks
                .iter()
                .any(|hook| !NO_EFFECTS.contains(&hook.text("sideEffects"))),
            versions: hooks.iter().any(versions),
            names: hooks.iter().enumerate().any(|(index, hook)| {
                hooks[..index]
                    .iter()
                    .any(|other| other.text("name") == hook.text("name"))
            }),
            selectors: hooks.iter().any(selectors),
        }
    }
}

fn accepted(hook: &Value) -> bool {
    hook.texts("admissionReviewVersions")
        .any(|version| ACCEPTED.contains(&version))
}

/// Everything wrong with a configuration of webhooks, but for its expressions.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    validate_after(object, &Value::Null, errors);
}

/// As [`validate`], of a configuration that was another before.
pub fn validate_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let tolerated = Tolerated::of(old);
    let list = Path::ROOT.field("webhooks");
    let webhooks = object.list("webhooks");
    for (index, webhook) in webhooks.iter().enumerate() {
        let path = list.index(index);
        let name = webhook.text("name");
        hook_name(name, &path.field("name"), errors);
        body(webhook, &tolerated, &path, errors);
        review_versions(webhook, &tolerated, &path, errors);
        let same = |other: &Value| other.text("name") == name;
        if !tolerated.names && !name.is_empty() && webhooks[..index].iter().any(same) {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
}

fn hook_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let bad = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !bad.is_empty() {
        errors.push(FieldError::invalid(path, name, bad.join(",")));
    } else if name.split('.').count() < 3 {
        let wrong = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, wrong));
    }
}

fn body(webhook: &Value, tolerated: &Tolerated, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    rules(webhook.list("rules"), &path.field("rules"), errors);
    one_of_if_set(webhook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    let matches = ["Equivalent", "Exact"];
    one_of_if_set(webhook, "matchPolicy", &matches, path, errors);
    let effects: &[&str] = if tolerated.effects {
        &ALL_EFFECTS
    } else {
        &NO_EFFECTS
    };
    if webhook.has("sideEffects") {
        supported(webhook, "sideEffects", effects, path, errors);
    } else {
        let wrong = format!("must specify one of {}", effects.join(", "));
        errors.push(FieldError::required(path.field("sideEffects"), wrong));
    }
    if let Some(seconds) = webhook
        .int("timeoutSeconds")
        .filter(|seconds| !(1..=30).contains(seconds))
    {
        let wrong = "the timeout value must be between 1 and 30 seconds";
        let field = path.field("timeoutSeconds");
        errors.push(FieldError::invalid(field, seconds, wrong));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let before = errors.len();
        label_selector(webhook.at(field), &path.field(field), errors);
        if tolerated.selectors {
            let value = |error: &FieldError| error.path.contains(".values[");
            let late = errors.split_off(before);
            errors.extend(late.into_iter().filter(|error| !value(error)));
        }
    }
    let again = ["IfNeeded", "Never"];
    one_of_if_set(webhook, "reinvocationPolicy", &again, path, errors);
    let client = path.field("clientConfig");
    client_config(webhook.at("clientConfig"), &client, errors);
}

fn review_versions(
    webhook: &Value,
    tolerated: &Tolerated,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let list = path.field("admissionReviewVersions");
    let versions: Vec<&str> = webhook.texts("admissionReviewVersions").collect();
    if versions.is_empty() {
        let wrong = format!("must specify one of {}", ACCEPTED.join(", "));
        errors.push(FieldError::required(list, wrong));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let path = list.index(index);
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(path, *version, "duplicate version"));
            continue;
        }
        for wrong in names::dns1035_label(version) {
            errors.push(FieldError::invalid(path, *version, wrong));
        }
    }
    if !tolerated.versions && !accepted(webhook) {
        let wrong = format!("must include at least one of {}", ACCEPTED.join(", "));
        let shown = webhook.at("admissionReviewVersions").clone();
        errors.push(FieldError::invalid(list, shown, wrong));
    }
}
