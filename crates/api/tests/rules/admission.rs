//! The group admissionregistration.k8s.io.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update, warned};

fn hooks() -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "h"},
        "webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x"}}]})
}

fn with(field: &str, value: Value) -> [(&'static str, Value); 1] {
    let mut hook = hooks().at("webhooks")[0].clone();
    hook.set(field, value);
    [("webhooks", json!([hook]))]
}

#[test]
fn webhooks() {
    let rule = |resources: Value| json!([{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": resources}]);
    on_create(
        &hooks(),
        &[
            (
                &with("admissionReviewVersions", json!(["v1", "v1", "V2"])),
                &[
                    "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
                    "webhooks[0].admissionReviewVersions[2]: Invalid value: \"V2\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
            (
                &with("clientConfig", json!({"url": "http://u@x?q#f"})),
                &[
                    "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                    "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                    "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                    "webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
                ],
            ),
            (
                &with("clientConfig", json!({"url": "https:///p"})),
                &[
                    "webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                ],
            ),
            (
                &with(
                    "clientConfig",
                    json!({"service": {"name": "s", "namespace": "n", "path": "/a//b"}}),
                ),
                &[
                    "webhooks[0].clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may not be empty",
                ],
            ),
            (
                &with("rules", rule(json!(["*", "pods"]))),
                &[
                    "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources",
                ],
            ),
            (
                &with("rules", rule(json!(["pods/*", "pods/log"]))),
                &[
                    "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log",
                ],
            ),
        ],
    );
    let mut fixed = hooks();
    fixed.set("metadata.name", "a.static.k8s.io");
    assert_eq!(
        warned(fixed),
        [
            "metadata.name: names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be managed via the API"
        ]
    );
}

#[test]
fn effects_that_were_there_may_stay() {
    let (mut old, _) = create(hooks());
    old.list_mut("webhooks")[0].set("sideEffects", "Some");
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
    assert_eq!(create(old).1.len(), 1);
}

#[test]
fn policies() {
    let rules = json!([{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p"}});
    on_create(
        &binding,
        &[(
            &[("spec.matchResources.resourceRules", rules.clone())],
            &[
                "spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            ],
        )],
    );
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]}});
    on_update(
        Part::Status,
        &policy,
        &[(
            &[(
                "status.typeChecking.expressionWarnings",
                json!([{"fieldRef": "spec.x"}]),
            )],
            &["status.typeChecking.expressionWarnings[0].warning: Required value"],
        )],
    );
}
