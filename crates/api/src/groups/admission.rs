//! The group admissionregistration.k8s.io.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    names,
    object::Object,
    validation::checks::{label_selector, one_of_if_set, required},
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

/// Everything wrong with a configuration of webhooks.
pub fn validate_webhooks(object: &Value, errors: &mut Vec<FieldError>) {
    let list = Path::ROOT.field("webhooks");
    let webhooks = object.list("webhooks");
    for (index, webhook) in webhooks.iter().enumerate() {
        let path = list.index(index);
        let name = required(webhook, "name", &path, errors);
        if !name.is_empty() {
            let bad = names::dns1123_subdomain(name);
            if !bad.is_empty() {
                errors.push(FieldError::invalid(path.field("name"), name, bad.join(",")));
            } else if name.split('.').count() < 3 {
                let wrong = "should be a domain with at least three segments separated by dots";
                errors.push(FieldError::invalid(path.field("name"), name, wrong));
            }
        }
        if webhooks[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        webhook_body(webhook, &path, errors);
    }
}

fn webhook_body(webhook: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if webhook.list("admissionReviewVersions").is_empty() {
        let wrong = "must specify one of v1, v1beta1";
        errors.push(FieldError::required(
            path.field("admissionReviewVersions"),
            wrong,
        ));
    } else if !webhook
        .texts("admissionReviewVersions")
        .any(|version| matches!(version, "v1" | "v1beta1"))
    {
        let wrong = "must include at least one of v1, v1beta1";
        let value = webhook.at("admissionReviewVersions").clone();
        errors.push(FieldError::invalid(
            path.field("admissionReviewVersions"),
            value,
            wrong,
        ));
    }
    one_of_if_set(webhook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    one_of_if_set(
        webhook,
        "matchPolicy",
        &["Equivalent", "Exact"],
        path,
        errors,
    );
    one_of_if_set(
        webhook,
        "reinvocationPolicy",
        &["IfNeeded", "Never"],
        path,
        errors,
    );
    if webhook.has("sideEffects") {
        one_of_if_set(
            webhook,
            "sideEffects",
            &["None", "NoneOnDryRun"],
            path,
            errors,
        );
    } else {
        let wrong = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(path.field("sideEffects"), wrong));
    }
    if let Some(seconds) = webhook
        .int("timeoutSeconds")
        .filter(|seconds| !(1..=30).contains(seconds))
    {
        let wrong = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(
            path.field("timeoutSeconds"),
            seconds,
            wrong,
        ));
    }
    label_selector(
        webhook.at("namespaceSelector"),
        &path.field("namespaceSelector"),
        errors,
    );
    label_selector(
        webhook.at("objectSelector"),
        &path.field("objectSelector"),
        errors,
    );
    client_config(
        webhook.at("clientConfig"),
        &path.field("clientConfig"),
        errors,
    );
    rules(webhook.list("rules"), &path.field("rules"), errors);
}

fn rules(rules: &[Value], list: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        for field in ["apiGroups", "apiVersions", "operations", "resources"] {
            if rule.list(field).is_empty() {
                errors.push(FieldError::required(path.field(field), ""));
            } else if rule.list(field).len() > 1
                && field != "resources"
                && rule.texts(field).any(|text| text == "*")
            {
                let wrong = "if '*' is present, must not specify other";
                errors.push(FieldError::invalid(
                    path.field(field),
                    rule.at(field).clone(),
                    wrong,
                ));
            }
        }
        for (at, operation) in rule.texts("operations").enumerate() {
            let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
            if !known.contains(&operation) {
                errors.push(FieldError::not_supported(
                    path.field("operations").index(at),
                    operation,
                    &known,
                ));
            }
        }
        one_of_if_set(
            rule,
            "scope",
            &["*", "Cluster", "Namespaced"],
            &path,
            errors,
        );
    }
}

/// Where a webhook is.
pub fn client_config(config: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (url, service) = (config.text("url"), config.at("service"));
    match (config.has("url"), !service.is_null()) {
        (true, true) | (false, false) => {
            errors.push(FieldError::required(
                path,
                "exactly one of url or service is required",
            ));
        }
        (true, false) => {
            if !url.starts_with("https://") {
                let wrong =
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.push(FieldError::invalid(path.field("url"), url, wrong));
            }
        }
        (false, true) => {
            let path = path.field("service");
            required(service, "name", &path, errors);
            required(service, "namespace", &path, errors);
            if let Some(port) = service.int("port") {
                for wrong in names::port_number(port) {
                    let wrong = format!("port is not valid: {wrong}");
                    errors.push(FieldError::invalid(path.field("port"), port, wrong));
                }
            }
        }
    }
}

/// Everything wrong with an admission policy, but for its expressions.
pub fn validate_policy(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    one_of_if_set(spec, "failurePolicy", &["Fail", "Ignore"], &path, errors);
    if spec.has("paramKind") {
        let kind = path.field("paramKind");
        required(spec.at("paramKind"), "apiVersion", &kind, errors);
        required(spec.at("paramKind"), "kind", &kind, errors);
    }
    if object.text("kind") == "ValidatingAdmissionPolicy"
        && spec.list("validations").is_empty()
        && spec.list("auditAnnotations").is_empty()
    {
        let wrong = "validations or auditAnnotations must be non-empty; at least one is required";
        errors.push(FieldError::required(path.field("validations"), wrong));
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
    if spec.has("matchConstraints") {
        let constraints = path.field("matchConstraints");
        rules(
            spec.list("matchConstraints.resourceRules"),
            &constraints.field("resourceRules"),
            errors,
        );
    } else {
        errors.push(FieldError::required(path.field("matchConstraints"), ""));
    }
}

/// Everything wrong with a binding of an admission policy.
pub fn validate_binding(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    required(spec, "policyName", &path, errors);
    if object.text("kind") != "ValidatingAdmissionPolicyBinding" {
        return;
    }
    let list = path.field("validationActions");
    if spec.list("validationActions").is_empty() {
        errors.push(FieldError::required(
            list,
            "at least one validation action is required",
        ));
    }
    for (index, action) in spec.texts("validationActions").enumerate() {
        let known = ["Audit", "Deny", "Warn"];
        if !known.contains(&action) {
            errors.push(FieldError::not_supported(list.index(index), action, &known));
        }
    }
}
