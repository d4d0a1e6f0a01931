//! The group resource.k8s.io.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update};

#[test]
fn slices() {
    let slice = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"},
        "spec": {"driver": "d.example", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1,
            "generation": 1}, "devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}});
    let device = |field: &str, value: Value| {
        let mut device = json!({"name": "d"});
        device[field] = value;
        [("spec.devices", json!([device]))]
    };
    on_create(
        &slice,
        &[
            (
                &[("spec.allNodes", json!(true))],
                &[
                    "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
                ],
            ),
            (
                &[("spec.pool.resourceSliceCount", json!(0))],
                &["spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"],
            ),
            (
                &device("attributes", json!({"a": {"version": "1.0"}})),
                &[
                    "spec.devices[0].attributes[a].version: Invalid value: \"1.0\": must be a string compatible with semver.org spec 2.0.0",
                ],
            ),
            (
                &device("attributes", json!({"a": {"ints": [1]}})),
                &[
                    "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
                ],
            ),
            (
                &device("taints", json!([{"key": "a", "effect": "Odd"}])),
                &[
                    "spec.devices[0].taints[0].effect: Unsupported value: \"Odd\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                ],
            ),
            (
                &device(
                    "consumesCounters",
                    json!([{"counterSet": "c", "counters": {}}]),
                ),
                &["spec.devices[0].consumesCounters[0].counters: Required value"],
            ),
        ],
    );
    on_update(
        Part::Main,
        &slice,
        &[(
            &[("spec.driver", json!("e.example"))],
            &["spec.driver: Invalid value: \"e.example\": field is immutable"],
        )],
    );
    let (mut old, _) = create(slice);
    old["spec"]["devices"][0]["attributes"] = json!({"a": {"ints": [1]}});
    let (kept, _) = update(Part::Main, old.clone(), &old);
    assert!(kept.list("spec.devices")[0].has("attributes.a.ints"));
}

#[test]
fn claims() {
    let spec =
        json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "c"}, "spec": spec});
    let request = |request: Value| [("spec.devices.requests", json!([request]))];
    on_create(
        &claim,
        &[
            (
                &request(json!({"name": "r"})),
                &[
                    "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                ],
            ),
            (
                &request(json!({"name": "r", "exactly": {"deviceClassName": "c", "count": -1}})),
                &[
                    "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero",
                ],
            ),
        ],
    );
    let (old, _) = create(claim);
    let mut new = old.clone();
    new.set("spec.devices", json!({}));
    let (_, errors) = update(Part::Main, new, &old);
    assert_eq!(
        errors,
        ["spec: Invalid value: {\"devices\":{}}: field is immutable"]
    );
    let template = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "c"}, "spec": {"spec": spec}});
    on_create(
        &template,
        &[(
            &[("spec.metadata.name", json!("n"))],
            &["spec.metadata.name: Forbidden: cannot be set"],
        )],
    );
}

#[test]
fn questions_about_pools() {
    let request = json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": "ResourcePoolStatusRequest",
        "metadata": {"name": "q"}, "spec": {"driver": "d.example", "limit": 1}});
    on_create(
        &request,
        &[
            (
                &[("spec.driver", json!(""))],
                &["spec.driver: Required value"],
            ),
            (
                &[("spec.limit", json!(1001))],
                &["spec.limit: Invalid value: 1001: must be less than or equal to 1000"],
            ),
        ],
    );
    on_update(
        Part::Status,
        &request,
        &[(
            &[("status", json!({"pools": []}))],
            &["status.poolCount: Required value"],
        )],
    );
}
