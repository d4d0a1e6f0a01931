//! The group admissionregistration.k8s.io: policies here, webhooks and rules apart.

mod client;
mod rules;
mod webhooks;

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use self::rules::rules;
pub use self::{
    client::client_config,
    webhooks::{validate as validate_webhooks, validate_after as validate_webhooks_after},
};
use crate::{
    names,
    object::Object,
    validation::checks::{conditions, label_selector, one_of_if_set, required},
};

fn selectors(object: &mut Value) {
    object.set_default("matchPolicy", "Equivalent");
    object.set_default("namespaceSelector", json!({}));
    object.set_default("objectSelector", json!({}));
}

/// Defaults of both kinds of webhook configuration.
pub fn webhooks(object: &mut Value) {
    let mutating = object.text("kind") == "MutatingWebhookConfiguration";
    for webhook in object.list_mut("webhooks") {
        webhook.set_default("failurePolicy", "Fail");
        selectors(webhook);
        webhook.set_default("timeoutSeconds", 10);
        if mutating {
            webhook.set_default("reinvocationPolicy", "Never");
        }
        for rule in webhook.list_mut("rules") {
            rule.set_default("scope", "*");
        }
        if let Some(service) = webhook.at_mut("clientConfig.service") {
            service.set_default("port", 443);
        }
    }
}

fn match_resources(resources: Option<&mut Value>) {
    let Some(resources) = resources else { return };
    selectors(resources);
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.list_mut(list) {
            rule.set_default("scope", "*");
        }
    }
}

/// Defaults of both kinds of admission policy.
pub fn admission_policy(object: &mut Value) {
    object.set_default("spec.failurePolicy", "Fail");
    match_resources(object.at_mut("spec.matchConstraints"));
}

/// Defaults of both kinds of admission policy binding.
pub fn admission_policy_binding(object: &mut Value) {
    match_resources(object.at_mut("spec.matchResources"));
}

fn param_kind(kind: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let api_version = kind.text("apiVersion");
    let at = path.field("apiVersion");
    if api_version.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if api_version.matches('/').count() > 1 {
        let wrong = format!("unexpected GroupVersion string: {api_version}");
        errors.push(FieldError::invalid(at, api_version, wrong));
    } else {
        let (group, version) = crate::meta::split_api_version(api_version);
        if !group.is_empty() {
            let bad = names::dns1123_subdomain(group);
            if !bad.is_empty() {
                errors.push(FieldError::invalid(at, group, bad.join(",")));
            }
        }
        let bad = names::dns1035_label(version);
        if version.is_empty() {
            errors.push(FieldError::invalid(
                at,
                api_version,
                "version must be specified",
            ));
        } else if !bad.is_empty() {
            errors.push(FieldError::invalid(at, version, bad.join(",")));
        }
    }
    let name = required(kind, "kind", path, errors);
    let bad = names::dns1035_label(&name.to_lowercase());
    if !name.is_empty() && !bad.is_empty() {
        let wrong = format!(
            "may have mixed case, but should otherwise match: {}",
            bad.join(",")
        );
        errors.push(FieldError::invalid(path.field("kind"), name, wrong));
    }
}

fn named_rules(list: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, rule) in list.iter().enumerate() {
        let path = path.index(index);
        let path = path.field("resourceNames");
        let given: Vec<&str> = rule.texts("resourceNames").collect();
        for (at, name) in given.iter().enumerate() {
            for wrong in names::path_segment(name) {
                errors.push(FieldError::invalid(path.index(at), *name, wrong));
            }
            if given[..at].contains(name) {
                errors.push(FieldError::duplicate(path.index(at), *name));
            }
        }
    }
    rules(list, path, errors);
}

fn validate_match(resources: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let policies = ["Equivalent", "Exact"];
    one_of_if_set(resources, "matchPolicy", &policies, path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(resources.at(field), &path.field(field), errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        named_rules(resources.list(field), &path.field(field), errors);
    }
}

/// Everything wrong with an admission policy, but for its expressions.
pub fn validate_policy(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    one_of_if_set(spec, "failurePolicy", &["Fail", "Ignore"], &path, errors);
    if spec.has("paramKind") {
        param_kind(spec.at("paramKind"), &path.field("paramKind"), errors);
    }
    let constraints = path.field("matchConstraints");
    let resource_rules = constraints.field("resourceRules");
    if spec.has("matchConstraints") {
        validate_match(spec.at("matchConstraints"), &constraints, errors);
        if spec.list("matchConstraints.resourceRules").is_empty() {
            errors.push(FieldError::required(resource_rules, ""));
        }
    } else {
        errors.push(FieldError::required(constraints, ""));
    }
    if object.text("kind") == "MutatingAdmissionPolicy" {
        validate_mutations(spec, &path, errors);
        return;
    }
    if spec.list("validations").is_empty() && spec.list("auditAnnotations").is_empty() {
        let wrong = "validations or auditAnnotations must contain at least one item";
        for field in ["validations", "auditAnnotations"] {
            errors.push(FieldError::required(path.field(field), wrong));
        }
    }
    let list = path.field("validations");
    for (index, validation) in spec.list("validations").iter().enumerate() {
        if validation.text("expression").trim().is_empty() {
            let wrong = "expression is not specified";
            errors.push(FieldError::required(
                list.index(index).field("expression"),
                wrong,
            ));
        }
    }
}

/// Operations of which something can be changed; there is nothing to change about what is deleted.
fn mutable_operations(resources: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let known = ["*", "CONNECT", "CREATE", "UPDATE"];
    let rules = path.field("resourceRules");
    for rule in resources.list("resourceRules") {
        for operation in rule.texts("operations").filter(|o| !known.contains(o)) {
            let at = rules.field("operations");
            errors.push(FieldError::not_supported(at, operation, &known));
        }
    }
}

/// What the names of all kinds of this group are warned of.
pub fn warnings(object: &Value) -> Vec<String> {
    const END: &str = ".static.k8s.io";
    if !crate::meta::name(object).ends_with(END) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {END:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )]
}

/// What is wrong with the status of a policy.
pub fn policy_status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let status = object.at("status");
    let checking = path.field("typeChecking");
    let list = checking.field("expressionWarnings");
    let warnings = status.list("typeChecking.expressionWarnings");
    for (index, warning) in warnings.iter().enumerate() {
        let path = list.index(index);
        required(warning, "warning", &path, errors);
        required(warning, "fieldRef", &path, errors);
    }
    conditions(status.list("conditions"), &path.field("conditions"), errors);
}

fn validate_mutations(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let constraints = path.field("matchConstraints");
    mutable_operations(spec.at("matchConstraints"), &constraints, errors);
    if spec.list("mutations").is_empty() {
        let wrong = "mutations must contain at least one item";
        errors.push(FieldError::required(path.field("mutations"), wrong));
    }
    if required(spec, "reinvocationPolicy", path, errors).is_empty() {
        return;
    }
    let policies = ["IfNeeded", "Never"];
    one_of_if_set(spec, "reinvocationPolicy", &policies, path, errors);
}

fn param_ref(reference: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let name = reference.text("name");
    let selector = reference.has("selector");
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        for wrong in names::path_segment(name) {
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
        if selector {
            errors.push(FieldError::forbidden(path.field("name"), exclusive));
        }
    }
    if selector {
        let at = path.field("selector");
        label_selector(reference.at("selector"), &at, errors);
        if !name.is_empty() {
            errors.push(FieldError::forbidden(at, exclusive));
        }
    } else if name.is_empty() {
        let wrong = "one of name or selector must be specified";
        errors.push(FieldError::required(path, wrong));
    }
    if !required(reference, "parameterNotFoundAction", path, errors).is_empty() {
        let actions = ["Deny", "Allow"];
        one_of_if_set(reference, "parameterNotFoundAction", &actions, path, errors);
    }
}

/// Everything wrong with a binding of an admission policy.
pub fn validate_binding(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let policy = required(spec, "policyName", &path, errors);
    if !policy.is_empty() {
        for wrong in names::dns1123_subdomain(policy) {
            errors.push(FieldError::invalid(path.field("policyName"), policy, wrong));
        }
    }
    if spec.has("paramRef") {
        param_ref(spec.at("paramRef"), &path.field("paramRef"), errors);
    }
    if spec.has("matchResources") {
        validate_match(
            spec.at("matchResources"),
            &path.field("matchResources"),
            errors,
        );
    }
    if object.text("kind") != "ValidatingAdmissionPolicyBinding" {
        let resources = path.field("matchResources");
        mutable_operations(spec.at("matchResources"), &resources, errors);
        return;
    }
    let list = path.field("validationActions");
    let actions: Vec<&str> = spec.texts("validationActions").collect();
    for (index, action) in actions.iter().enumerate() {
        let known = ["Audit", "Deny", "Warn"];
        if !known.contains(action) {
            errors.push(FieldError::not_supported(
                list.index(index),
                *action,
                &known,
            ));
        }
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(list.index(index), *action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let wrong = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(list, actions.clone(), wrong));
    }
    if actions.is_empty() {
        let wrong = "at least one validation action is required";
        errors.push(FieldError::required(list, wrong));
    }
}
