//! Admission policies, through the request path.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, namespace, pod};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    (cluster, admin)
}

fn rules(resources: &[&str]) -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["*"],
        "apiVersions": ["*"], "resources": resources}]})
}

fn validating(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("matchConstraints").is_none() {
        spec["matchConstraints"] = rules(&["configmaps"]);
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn binding(kind: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["policyName"] = name.into();
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": format!("{name}-binding")}, "spec": spec})
}

/// Puts a policy into force.
async fn enforce(client: &Client, policy: Value, spec: Value) {
    let name = policy["metadata"]["name"].as_str().unwrap().to_owned();
    let kind = policy["kind"].as_str().unwrap().to_owned();
    let plural = kind.replace("Policy", "Policies").to_lowercase();
    client
        .post(&format!("{GROUP}/{plural}"), &policy)
        .await
        .ok();
    let binding = binding(&format!("{kind}Binding"), &name, spec);
    let plural = format!("{}bindings", kind.to_lowercase());
    client
        .post(&format!("{GROUP}/{plural}"), &binding)
        .await
        .ok();
}

fn map(name: &str, changes: &Value) -> Value {
    let mut map = config_map(name);
    for (key, value) in changes.as_object().unwrap() {
        map[key] = value.clone();
    }
    map
}

/// Tries until the answer has this code.
async fn until(client: &Client, path: &str, body: &Value, code: u16) -> Value {
    let mut last = None;
    for _ in 0..1000 {
        let answer = client.post(path, body).await;
        if answer.code == code {
            return answer.json();
        }
        last = Some(answer);
        tokio::task::yield_now().await;
    }
    let last = last.unwrap();
    panic!("{} {}", last.code, String::from_utf8_lossy(&last.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_refuses_what_its_expressions_do_not_hold_for() {
    let (_cluster, admin) = cluster().await;
    let policy = validating(
        "even",
        json!({
            "matchConditions": [{"name": "counted", "expression": "has(object.data) && 'n' in object.data"}],
            "variables": [
                {"name": "n", "expression": "int(object.data.n)"},
                {"name": "half", "expression": "variables.n / 2"},
            ],
            "validations": [
                {"expression": "variables.half * 2 == variables.n",
                    "messageExpression": "string(variables.n) + ' is odd'", "reason": "Forbidden"},
                {"expression": "variables.n < 10", "message": "too large"},
                {"expression": "namespaceObject.metadata.name == 'default' && request.operation == 'CREATE'"},
            ],
        }),
    );
    enforce(&admin, policy, json!({"validationActions": ["Deny"]})).await;
    let tried = format!("{MAPS}?dryRun=All");
    let odd = map("odd", &json!({"data": {"n": "3"}}));
    let refused = until(&admin, &tried, &odd, 403).await;
    assert_eq!(
        refused["message"],
        "configmaps \"odd\" is forbidden: ValidatingAdmissionPolicy 'even' with binding 'even-binding' denied request: 3 is odd"
    );
    assert_eq!(refused["reason"], "Forbidden");
    let large = map("large", &json!({"data": {"n": "12"}}));
    let refused = admin.post(&tried, &large).await.fails(422);
    assert_eq!(
        refused["message"],
        "configmaps \"large\" is forbidden: ValidatingAdmissionPolicy 'even' with binding 'even-binding' denied request: too large"
    );
    assert_eq!(refused["reason"], "Invalid");
    let text = map("text", &json!({"data": {"n": "x"}}));
    let refused = admin.post(&tried, &text).await.fails(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("resulted in error: composited variable \"n\" fails to evaluate")
            || message.contains("composited variable"),
        "{message}"
    );
    admin.post(MAPS, &config_map("free")).await.ok();
    admin
        .post(MAPS, &map("four", &json!({"data": {"n": "4"}})))
        .await
        .ok();
    let refused = admin
        .patch(
            &format!("{MAPS}/four"),
            "merge",
            &json!({"data": {"n": "6"}}),
        )
        .await
        .fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("denied request: failed expression: namespaceObject.metadata.name == 'default' && request.operation == 'CREATE'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_choose_parameters_requests_and_actions() {
    let (_cluster, admin) = cluster().await;
    namespace(&admin, "free").await;
    for (name, most, labels) in [
        ("low", "2", json!({"kind": "limit"})),
        ("high", "9", json!({})),
    ] {
        let mut limit = map(name, &json!({"data": {"most": most}}));
        limit["metadata"]["labels"] = labels;
        admin.post(MAPS, &limit).await.ok();
    }
    let limit = |name: &str| {
        let mut policy = validating(
            name,
            json!({
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "validations": [{"expression": "size(object.data) <= int(params.data.most)",
                    "messageExpression": "'at most ' + params.data.most"}],
            }),
        );
        policy["spec"]["matchConstraints"]["objectSelector"] =
            json!({"matchLabels": {"policy": name}});
        policy
    };
    let labelled = |name: &str, count: usize| {
        let data: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("k{n}"), "v".into())).collect();
        let mut map = map("tried", &json!({"data": data}));
        map["metadata"]["labels"]["policy"] = name.into();
        map
    };
    let by_name = json!({"validationActions": ["Deny"], "paramRef":
        {"name": "low", "parameterNotFoundAction": "Deny"}});
    enforce(&admin, limit("named"), by_name).await;
    let by_label = json!({"validationActions": ["Warn", "Audit"], "paramRef":
        {"selector": {"matchLabels": {"kind": "limit"}}, "parameterNotFoundAction": "Allow"},
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}});
    enforce(&admin, limit("selected"), by_label).await;
    let missing = json!({"validationActions": ["Deny"], "paramRef":
        {"name": "none", "parameterNotFoundAction": "Deny"}});
    enforce(&admin, limit("missing"), missing).await;

    let tried = format!("{MAPS}?dryRun=All");
    let refused = until(&admin, &tried, &labelled("missing", 1), 422).await;
    assert_eq!(
        refused["message"],
        "configmaps \"tried\" is forbidden: ValidatingAdmissionPolicy 'missing' with binding 'missing-binding' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    let refused = admin.post(&tried, &labelled("named", 3)).await.fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("denied request: at most 2")
    );
    admin.post(&tried, &labelled("named", 2)).await.ok();
    let warned = admin.post(&tried, &labelled("selected", 3)).await;
    assert_eq!(
        warned.warnings(),
        [
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'selected' with binding 'selected-binding': at most 2\""
        ]
    );
    warned.ok();
    let elsewhere = "/api/v1/namespaces/free/configmaps";
    let answer = admin.post(elsewhere, &labelled("selected", 3)).await;
    assert!(answer.warnings().is_empty());
    answer.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_ask_the_authorizer() {
    let (cluster, admin) = cluster().await;
    let policy = validating(
        "authorized",
        json!({"validations": [
            {"expression": "authorizer.group('').resource('secrets').namespace('default').check('delete').allowed()"},
            {"expression": "authorizer.requestResource.check('create').allowed()"},
        ]}),
    );
    enforce(&admin, policy, json!({"validationActions": ["Deny"]})).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .ok();
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "maps"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    admin
        .post(&format!("{rbac}/clusterrolebindings"), &bound)
        .await
        .ok();
    let ann = cluster.user("ann", &["system:authenticated"]);
    let tried = format!("{MAPS}?dryRun=All");
    let refused = until(&ann, &tried, &config_map("a"), 422).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("resource('secrets')")
    );
    admin.post(&tried, &config_map("a")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_policy_can_be_passed_over() {
    let (_cluster, admin) = cluster().await;
    let fails = json!([{"expression": "object.nothing.here == 1"}]);
    let lenient = validating(
        "lenient",
        json!({"failurePolicy": "Ignore", "validations": fails}),
    );
    enforce(&admin, lenient, json!({"validationActions": ["Deny"]})).await;
    let unknown = validating(
        "unknown",
        json!({"paramKind": {"apiVersion": "rules.example.com/v1", "kind": "Rule"},
            "validations": [{"expression": "true"}]}),
    );
    let bound = json!({"validationActions": ["Deny"],
        "paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}});
    enforce(&admin, unknown, bound).await;
    let tried = format!("{MAPS}?dryRun=All");
    let refused = until(&admin, &tried, &config_map("a"), 422).await;
    assert_eq!(
        refused["message"],
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'unknown' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Rule'"
    );
    admin
        .delete(&format!("{GROUP}/validatingadmissionpolicies/unknown"))
        .await
        .ok();
    until(&admin, &tried, &config_map("a"), 201).await;
}

fn mutating(name: &str, resources: &[&str], mutations: Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {"matchConstraints": rules(resources),
            "reinvocationPolicy": "IfNeeded", "mutations": mutations}})
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_objects() {
    let (_cluster, admin) = cluster().await;
    let label = mutating(
        "label",
        &["pods"],
        json!([
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{labels: Object.metadata.labels{added: 'yes'}}, \
                 spec: Object.spec{containers: [Object.spec.containers{name: 'c', \
                 env: [Object.spec.containers.env{name: 'WHO', value: request.userInfo.username}]}]}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'test', path: '/spec/containers/0/name', value: 'c'}, \
                 JSONPatch{op: 'add', path: '/metadata/annotations', value: {'seen': jsonpatch.escapeKey('a/b') + ' ' + object.metadata.labels.added}}]"}},
        ]),
    );
    enforce(&admin, label, json!({})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut made = Value::Null;
    for n in 0..1000 {
        let answer = admin
            .post(&format!("{pods}?dryRun=All"), &pod(&format!("p{n}")))
            .await;
        made = answer.ok();
        if made["metadata"]["labels"]["added"] == "yes" {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(made["metadata"]["labels"]["added"], "yes");
    assert_eq!(made["metadata"]["annotations"]["seen"], "a~1b yes");
    let container = &made["spec"]["containers"][0];
    assert_eq!(container["image"], "i");
    assert_eq!(
        container["env"],
        json!([{"name": "WHO", "value": "kubernetes-admin"}])
    );

    let atomic = mutating(
        "atomic",
        &["secrets"],
        json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{name: 'x'}, wrong: 'x'}"}}]),
    );
    enforce(&admin, atomic, json!({})).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let secrets = "/api/v1/namespaces/default/secrets?dryRun=All";
    let refused = until(&admin, secrets, &secret, 403).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "policy 'atomic' with binding 'atomic-binding' denied request: error applying patch:"
        ),
        "{message}"
    );
    assert_eq!(refused["reason"], "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compiled_is_refused() {
    let (_cluster, admin) = cluster().await;
    let cases = [
        (
            json!({"validations": [{"expression": "x"}]}),
            "spec.validations[0].expression",
            "Invalid value: \"x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')",
        ),
        (
            json!({"validations": [{"expression": "1"}]}),
            "spec.validations[0].expression",
            "Invalid value: \"1\": must evaluate to bool but got int",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
            "spec.validations[0].messageExpression",
            "Invalid value: \"1\": must evaluate to string but got int",
        ),
        (
            json!({"validations": [{"expression": "params == null"}]}),
            "spec.validations[0].expression",
            "undeclared reference to 'params'",
        ),
        (
            json!({"variables": [{"name": "in", "expression": "1"}], "validations": [{"expression": "true"}]}),
            "spec.variables[0].name",
            "Invalid value: \"in\": must be a valid CEL identifier",
        ),
        (
            json!({"validations": []}),
            "spec.validations",
            "Required value: validations or auditAnnotations must contain at least one item",
        ),
        (
            json!({"matchConditions": [{"name": "a b", "expression": "true"}], "validations": [{"expression": "true"}]}),
            "spec.matchConditions[0].name",
            "Invalid value: \"a b\"",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null_type] but got int",
        ),
    ];
    for (spec, field, text) in cases {
        let policy = validating("p", spec);
        let answer = admin
            .post(&format!("{GROUP}/validatingadmissionpolicies"), &policy)
            .await
            .fails(422);
        let causes = answer["details"]["causes"].as_array().unwrap();
        assert!(
            causes.iter().any(|cause| cause["field"] == field
                && cause["message"].as_str().unwrap().contains(text)),
            "{field}: {answer}"
        );
    }
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "h"}, "webhooks": [{"name": "a.b.c", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"},
            "matchConditions": [{"name": "c", "expression": "... [] bad expression"}]}]});
    let refused = admin
        .post(&format!("{GROUP}/validatingwebhookconfigurations"), &hook)
        .await
        .fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed"),
        "{refused}"
    );
    let mutation = mutating(
        "m",
        &["pods"],
        json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[1]"}}]),
    );
    let refused = admin
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), &mutation)
        .await
        .fails(422);
    assert_eq!(
        refused["details"]["causes"][0]["field"],
        "spec.mutations[0].jsonPatch.expression"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_that_miss_their_types_are_told_of_in_the_status() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "typed"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "object.foo < 3"}]}});
    let mut watch = admin.watch(&format!("{policies}?watch=1")).await;
    admin.post(policies, &policy).await.ok();
    let told = loop {
        let event = watch.next().await.unwrap();
        if event["object"]["status"]["observedGeneration"] == 1 {
            break event["object"]["status"]["typeChecking"].clone();
        }
    };
    let warning = &told["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    assert!(
        warning["warning"]
            .as_str()
            .unwrap()
            .contains("undefined field 'foo'"),
        "{told}"
    );
    let mended = json!({"spec": {"validations": [{"expression": "object.spec.replicas < 3"}]}});
    admin
        .patch(&format!("{policies}/typed"), "merge", &mended)
        .await
        .ok();
    loop {
        let event = watch.next().await.unwrap();
        if event["object"]["status"]["observedGeneration"] == 2 {
            assert_eq!(event["object"]["status"]["typeChecking"], json!({}));
            break;
        }
    }
}
