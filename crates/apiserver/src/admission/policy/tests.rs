//! Configurations merged into objects, and which policies count.

use serde_json::json;

use super::mutating::apply;
use super::*;
use crate::admission::attributes::Typed;

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "1"}, "managedFields": [{"manager": "m"}]},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "1"}}, "template": {
            "metadata": {"labels": {"a": "1"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "tolerations": [{"key": "k"}]}}}})
}

fn applied(configuration: Value) -> Result<Value, String> {
    let catalog = api::catalog::builtin();
    let resource = catalog.resource("apps", "v1", "deployments").unwrap();
    let typed = Typed {
        table: resource.table(),
        ty: resource.ty,
        resource: None,
    };
    apply(&typed, &deployment(), configuration)
}

#[test]
fn a_configuration_is_merged_into_the_object() {
    let new = applied(json!({
        "metadata": {"labels": {"b": "2"}},
        "spec": {"replicas": 5, "template": {"spec": {"containers": [
            {"name": "c", "env": [{"name": "E", "value": "1"}]}, {"name": "d", "image": "j"}]}}},
    }))
    .unwrap();
    assert_eq!(new["metadata"]["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!(new["metadata"]["managedFields"], json!([{"manager": "m"}]));
    assert_eq!(new["spec"]["replicas"], 5);
    let containers = &new["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["image"], "i");
    assert_eq!(containers[0]["env"][0]["name"], "E");
    assert_eq!(containers[1]["image"], "j");
    assert_eq!(
        new["spec"]["template"]["spec"]["tolerations"][0]["key"],
        "k"
    );
}

#[test]
fn what_would_be_replaced_whole_is_refused() {
    let atomic = |paths: &str| {
        Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"
        ))
    };
    assert_eq!(
        applied(json!({"spec": {"template": {"spec": {"tolerations": [{"key": "x"}]}}}})),
        atomic(".spec.template.spec.tolerations")
    );
    assert_eq!(
        applied(json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}})),
        atomic(".spec.selector")
    );
    assert!(
        applied(json!({"spec": {"nonsense": 1}}))
            .unwrap_err()
            .starts_with("error applying patch: failed to convert patch object to typed object:")
    );
}

#[test]
fn policies_count_once_something_binds_them() {
    let policies = Policies::default();
    let policy = |name: &str, resource: &str| {
        json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource]}]},
            "validations": [{"expression": "true"}]}})
    };
    let binding = |name: &str, policy: &str| json!({"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": ["Deny"]}});
    let about = |plural: &str| -> Vec<String> {
        let found = policies.validating.index.read().get(plural);
        let name = |bound: &Bound| format!("{} {}", bound.policy.name, bound.bindings.len());
        found.iter().map(name).collect()
    };
    let family = Family::Validating;
    policies.observe_policy(family, "b", Some(&policy("b", "pods")));
    policies.observe_policy(family, "a", Some(&policy("a", "*")));
    assert_eq!(about("pods"), [] as [String; 0]);
    policies.observe_binding(family, "x", Some(&binding("x", "b")));
    policies.observe_binding(family, "y", Some(&binding("y", "b")));
    policies.observe_binding(family, "z", Some(&binding("z", "a")));
    assert_eq!(about("pods"), ["a 1", "b 2"]);
    assert_eq!(about("secrets"), ["a 1"]);
    policies.observe_binding(family, "x", None);
    policies.observe_policy(family, "a", None);
    assert_eq!(about("pods"), ["b 1"]);
}
