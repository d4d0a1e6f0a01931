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
                let other = if field == "operations" {
                    " operations"
                } else {
                    ""
                };
                let wrong = format!("if '*' is present, must not specify other{other}");
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
        validate_mutations(spec, &path, &resource_rules, errors);
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

fn validate_mutations(
    spec: &Value,
    path: &Path<'_>,
    resource_rules: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    // There is nothing to change about what is deleted.
    let known = ["*", "CONNECT", "CREATE", "UPDATE"];
    for rule in spec.list("matchConstraints.resourceRules") {
        for operation in rule.texts("operations").filter(|o| !known.contains(o)) {
            let at = resource_rules.field("operations");
            errors.push(FieldError::not_supported(at, operation, &known));
        }
    }
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
