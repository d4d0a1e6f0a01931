//! The groups flowcontrol.apiserver.k8s.io and autoscaling.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update};

fn of(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn schemas() {
    let subject = json!({"kind": "User", "user": {"name": "u"}});
    let rule = |rule: Value| [("spec.rules", json!([rule]))];
    let urls = |list: Value| json!({"verbs": ["get"], "nonResourceURLs": list});
    let schema = of(
        "FlowSchema",
        "s",
        json!({"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 2}),
    );
    on_create(
        &schema,
        &[
            (
                &[("spec.matchingPrecedence", json!(1))],
                &[
                    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                ],
            ),
            (
                &rule(
                    json!({"subjects": [{"kind": "User", "group": {"name": "g"}}], "nonResourceRules": [urls(json!(["*"]))]}),
                ),
                &[
                    "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                    "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                ],
            ),
            (
                &rule(
                    json!({"subjects": [subject], "nonResourceRules": [urls(json!(["/a*", "b"]))]}),
                ),
                &[
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do suffix matching",
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"b\": must start with slash",
                ],
            ),
            (
                &rule(
                    json!({"subjects": [subject], "resourceRules": [{"verbs": ["eat"], "apiGroups": ["*", "a"], "resources": []}]}),
                ),
                &[
                    "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"eat\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                    "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other api groups",
                    "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                    "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
                ],
            ),
        ],
    );
    let mut last = schema;
    last.set("metadata.name", "catch-all");
    let (_, errors) = create(last);
    assert!(
        errors.len() == 1 && errors[0].ends_with("spec of 'catch-all' must equal the fixed value")
    );
}

#[test]
fn levels() {
    let level = of(
        "PriorityLevelConfiguration",
        "l",
        json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}),
    );
    on_create(
        &level,
        &[
            (
                &[(
                    "spec.limited.limitResponse.queuing",
                    json!({"queues": 1024, "handSize": 7}),
                )],
                &[
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60",
                ],
            ),
            (
                &[("spec.limited.lendablePercent", json!(101))],
                &[
                    "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                ],
            ),
            (
                &[("spec.limited.limitResponse.type", json!("Reject"))],
                &[
                    "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
                ],
            ),
            (
                &[("spec", json!({"type": "Exempt"}))],
                &[
                    "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &level,
        &[(
            &[("status.conditions", json!([{"type": "A"}, {"type": "A"}]))],
            &["status.conditions[1].type: Duplicate value: \"A\""],
        )],
    );
}

#[test]
fn autoscalers() {
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let metric = |value: Value| [("spec.metrics", json!([value]))];
    on_create(
        &scaler,
        &[
            (
                &[
                    ("spec.maxReplicas", json!(0)),
                    ("spec.minReplicas", json!(0)),
                ],
                &[
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                    "spec.maxReplicas: Required value: must be set and greater than 0",
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (
                &[("spec.scaleTargetRef.apiVersion", json!("v1"))],
                &[
                    "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
                ],
            ),
            (
                &metric(
                    json!({"type": "Pods", "pods": {"metric": {"name": "a/b"}, "target": {"type": "Odd", "averageValue": "0"}}}),
                ),
                &[
                    "spec.metrics[0].pods.metric.name: Invalid value: \"a/b\": may not contain '/'",
                    "spec.metrics[0].pods.target.type: Invalid value: \"Odd\": must be either Utilization, Value, or AverageValue",
                    "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive",
                ],
            ),
            (
                &metric(
                    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}},
                    "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1", "averageValue": "1"}}}),
                ),
                &[
                    "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
                    "spec.metrics[0].external: Forbidden: must populate the given metric source only",
                ],
            ),
            (
                &[("spec.behavior", json!({"scaleUp": {"tolerance": "-1"}}))],
                &[
                    "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &scaler,
        &[(
            &[("status.desiredReplicas", json!(-1))],
            &["status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"],
        )],
    );
    let (mut old, _) = create(scaler);
    old.set("spec.scaleTargetRef.apiVersion", "v1");
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}
