//! Groups of one kind or two: endpoints, leases, priorities, classes of runtimes.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update, warned};

#[test]
fn endpoints() {
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"},
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]});
    let at = |address: Value| [("subsets", json!([{"addresses": [address]}]))];
    on_create(
        &endpoints,
        &[
            (
                &at(json!({"ip": "10.0.0.01"})),
                &[
                    "subsets[0].addresses[0].ip: Invalid value: \"10.0.0.01\": must not have leading 0s",
                ],
            ),
            (
                &at(json!({"ip": "0.0.0.0"})),
                &[
                    "subsets[0].addresses[0].ip: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                ],
            ),
        ],
    );
    let (mut old, _) = create(endpoints);
    old.set("subsets", json!([{"addresses": [{"ip": "10.0.0.01"}]}]));
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}

#[test]
fn slices() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "e"},
        "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"], "deprecatedTopology": {"a": "b"}}]});
    on_create(
        &slice,
        &[
            (
                &[("endpoints", json!([{"addresses": ["fd00:0::1"]}]))],
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"fd00:0::1\": must be in canonical form (\"fd00::1\")",
                ],
            ),
            (
                &[("ports", json!([{"protocol": ""}]))],
                &[
                    "ports[0].protocol: Unsupported value: \"\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
        ],
    );
    let (made, _) = create(slice);
    assert_eq!(
        made.at("endpoints"),
        &json!([{"addresses": ["fd00::1"], "conditions": {}}])
    );
    let names = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "e"},
        "addressType": "FQDN", "endpoints": []});
    assert_eq!(
        warned(names),
        ["spec.addressType: FQDN endpoints are deprecated"]
    );
}

#[test]
fn leases() {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "l", "finalizers": ["any"]}, "spec": {"strategy": "OldestEmulationVersion"}});
    let (made, errors) = create(lease);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!made.has("spec.strategy"));
    let candidate = json!({"apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "metadata": {"name": "A_b"},
        "spec": {"leaseName": "l", "binaryVersion": "1.2.0", "emulationVersion": "1.1.0", "strategy": "OldestEmulationVersion"}});
    on_create(
        &candidate,
        &[
            (
                &[("spec.binaryVersion", json!("1.0.0-rc.1"))],
                &[
                    "spec.binaryVersion: Invalid value: \"1.0.0-rc.1\": must be greater than or equal to `emulationVersion`",
                ],
            ),
            (
                &[("spec.emulationVersion", json!("1"))],
                &[
                    "spec.emulationVersion: Invalid value: \"1\": must be a valid semantic version",
                    "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
                ],
            ),
        ],
    );
    on_update(
        Part::Main,
        &candidate,
        &[(
            &[("spec.leaseName", json!("m"))],
            &["spec.leaseName: Invalid value: \"m\": field is immutable"],
        )],
    );
}

#[test]
fn classes_of_runtimes() {
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "r"}, "handler": "h"});
    let toleration = json!({"key": "a", "operator": "Exists"});
    on_create(
        &class,
        &[
            (&[("handler", Value::Null)], &["handler: Required value"]),
            (
                &[("overhead", json!({"podFixed": {"disk": "1"}}))],
                &[
                    "overhead.limits[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                    "overhead.limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
                ],
            ),
            (
                &[("scheduling.tolerations", json!([toleration, toleration]))],
                &[
                    "scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\",\"operator\":\"Exists\"}",
                ],
            ),
        ],
    );
    on_update(
        Part::Main,
        &class,
        &[(
            &[("handler", json!("i"))],
            &["handler: Invalid value: \"i\": field is immutable"],
        )],
    );
}

#[test]
fn policies_of_priorities_are_judged_once() {
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1});
    on_update(
        Part::Main,
        &class,
        &[(
            &[("preemptionPolicy", json!("Odd"))],
            &["preemptionPolicy: Invalid value: \"Odd\": field is immutable"],
        )],
    );
}
