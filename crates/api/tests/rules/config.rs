//! Nodes, Secrets, quotas, ranges of limits, events, namespaces.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update, warned};

fn node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.1.0.0/24"]},
        "status": {"capacity": {"cpu": "2"}, "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}]}})
}

#[test]
fn nodes() {
    let name_part = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    on_create(
        &node(),
        &[
            (
                &[("spec.taints", json!([{"effect": "NoSchedule"}]))],
                &[
                    "metadata.taints[0].key: Invalid value: \"\": name part must be non-empty",
                    &format!("metadata.taints[0].key: Invalid value: \"\": {name_part}"),
                ],
            ),
            (
                &[("spec.podCIDRs", json!(["10.1.0.0/24", "10.2.0.0/24"]))],
                &[
                    "spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one CIDR for each IP family",
                ],
            ),
            (
                &[("spec.podCIDRs", json!(["10.1.0.0/8"]))],
                &[
                    "spec.podCIDRs[0]: Invalid value: \"10.1.0.0/8\": must not have bits set beyond the prefix length",
                ],
            ),
            (
                &[("spec.podCIDRs", json!([])), ("spec.podCIDR", json!("x"))],
                &[
                    "spec.podCIDRs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
            (
                &[("status.capacity", json!({"example.com/card": "500m"}))],
                &[
                    "status.capacity.example.com/card: Invalid value: \"500m\": must be an integer",
                    "status.allocatable.example.com/card: Invalid value: \"500m\": must be an integer",
                ],
            ),
            (
                &[("status.nodeInfo", json!({"swap": {"capacity": 0}}))],
                &["metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"],
            ),
            (
                &[("status.declaredFeatures", json!(["B", "A", "A"]))],
                &[
                    "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                    "status.declaredFeatures[2]: Duplicate value: \"A\"",
                ],
            ),
        ],
    );
    let twice = json!([{"type": "Hostname", "address": "a"}, {"type": "Hostname", "address": "a"}]);
    let source = json!({"configMap": {"namespace": "a", "name": "b", "kubeletConfigKey": "c"}});
    on_update(
        Part::Status,
        &node(),
        &[(
            &[("status.addresses", twice)],
            &["status.addresses[1]: Duplicate value: {\"address\":\"a\",\"type\":\"Hostname\"}"],
        )],
    );
    on_update(
        Part::Main,
        &node(),
        &[
            (
                &[("spec.externalID", json!("x"))],
                &["spec.externalID: Forbidden: may not be updated"],
            ),
            (&[("spec.configSource", source)], &[]),
            (
                &[("metadata.deletionTimestamp", json!("2026-01-01T00:00:00Z"))],
                &[
                    "metadata.deletionTimestamp: Invalid value: \"2026-01-01T00:00:00Z\": field is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn nodes_are_warned_of_what_is_gone() {
    let mut node = node();
    node.set("spec.externalID", "x");
    assert_eq!(
        warned(node),
        ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
    );
}

#[test]
fn secrets() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "example.com/x"});
    on_update(
        Part::Main,
        &secret,
        &[(
            &[("type", Value::Null)],
            &["type: Invalid value: \"Opaque\": field is immutable"],
        )],
    );
    on_create(
        &secret,
        &[(
            &[
                ("type", json!("kubernetes.io/dockercfg")),
                ("data", json!({".dockercfg": ""})),
            ],
            &[
                "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input",
            ],
        )],
    );
    let mut tls = secret;
    tls.set("type", "kubernetes.io/tls");
    tls.set("data", json!({"tls.crt": "eA==", "tls.key": "eA=="}));
    assert_eq!(
        warned(tls),
        ["tls: failed to find any PEM data in certificate input"]
    );
}

#[test]
fn quotas() {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}}});
    on_create(
        &quota,
        &[
            (
                &[("spec.hard", json!({"storage": "1"}))],
                &[
                    "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                ],
            ),
            (
                &[
                    ("spec.hard", json!({"requests.storage": "1"})),
                    ("spec.scopes", json!(["VolumeAttributesClass"])),
                ],
                &[],
            ),
            (
                &[("spec.scopes", json!(["VolumeAttributesClass"]))],
                &[
                    "spec.scopes: Invalid value: [\"VolumeAttributesClass\"]: unsupported scope applied to resource",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &quota,
        &[(
            &[("status.used", json!({"pods": "-1"}))],
            &["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
        )],
    );
}

#[test]
fn ranges_of_limits() {
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}, "min": {"cpu": "1"}}]}});
    let limits = |limit: Value| [("spec.limits", json!([limit]))];
    on_create(
        &range,
        &[
            (
                &limits(
                    json!({"type": "Pod", "max": {"cpu": "4"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "5"}}),
                ),
                &[
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"5\": ratio 5 is greater than max/min = 4.000000",
                ],
            ),
            (
                &limits(
                    json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
                ),
                &[
                    "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1",
                ],
            ),
            (
                &limits(
                    json!({"type": "PersistentVolumeClaim", "max": {"storage": "1", "disk": "1"}}),
                ),
                &[
                    "spec.limits[0].max[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                ],
            ),
            (
                &limits(
                    json!({"type": "Container", "default": {"a.b/c": "2"}, "defaultRequest": {"a.b/c": "1"}}),
                ),
                &[
                    "spec.limits[0].defaultRequest[a.b/c]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.b/c",
                ],
            ),
        ],
    );
}

#[test]
fn events_of_the_core_group_need_less() {
    let old = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"namespace": "default"}});
    on_create(
        &old,
        &[(
            &[
                ("eventTime", json!("2026-01-01T00:00:00.000000Z")),
                ("reportingComponent", json!("c")),
                ("reportingInstance", json!("i")),
                ("action", json!("a")),
                ("reason", json!("r")),
            ],
            &[],
        )],
    );
    let (old, _) = create(old);
    let mut new = old.clone();
    new.set("reason", "other");
    assert!(update(Part::Main, new, &old).1.is_empty());
}

#[test]
fn events() {
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r"});
    on_create(
        &event,
        &[
            (
                &[("type", json!("Odd"))],
                &["type: Invalid value: \"\": has invalid value: Odd"],
            ),
            (
                &[("series", json!({"count": 1}))],
                &[
                    "series.count: Invalid value: \"\": should be at least 2",
                    "series.lastObservedTime: Required value",
                ],
            ),
            (
                &[("deprecatedCount", json!(3))],
                &["count: Invalid value: \"\": needs to be unset"],
            ),
        ],
    );
    on_update(
        Part::Main,
        &event,
        &[(
            &[("note", json!("other"))],
            &["message: Invalid value: \"other\": field is immutable"],
        )],
    );
}

#[test]
fn finalizers_of_namespaces() {
    let (old, _) =
        create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    let mut new = old.clone();
    new.set("spec.finalizers", json!(["x"]));
    assert_eq!(
        update(Part::Sub("finalize"), new, &old).1,
        [
            "spec.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified"
        ]
    );
}
