//! The group storage.k8s.io, and capacities of volumes.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, warned};

fn of(kind: &str, rest: Value) -> Value {
    let mut object =
        json!({"apiVersion": "storage.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}});
    for (key, value) in rest.as_object().unwrap() {
        object.set(key, value.clone());
    }
    object
}

#[test]
fn classes() {
    let class = of("StorageClass", json!({"provisioner": "a.b/c"}));
    let places = |list: Value| [("allowedTopologies", list)];
    let zone = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]});
    let nowhere = json!([{"matchLabelExpressions": [{"key": "zone"}]}]);
    let twice = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}, {"key": "zone", "values": ["b"]}]}]);
    on_create(
        &class,
        &[
            (
                &places(nowhere),
                &["allowedTopologies[0].matchLabelExpressions[0].values: Required value"],
            ),
            (
                &places(json!([zone, zone])),
                &["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""],
            ),
            (
                &places(twice),
                &[
                    "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                    "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
                ],
            ),
        ],
    );
    let old = "failure-domain.beta.kubernetes.io/zone";
    let mut class = class;
    class.set(
        "allowedTopologies",
        json!([{"matchLabelExpressions": [{"key": old, "values": ["a"]}]}]),
    );
    assert_eq!(
        warned(class),
        [
            "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        ]
    );
}

#[test]
fn classes_of_attributes() {
    let class = of(
        "VolumeAttributesClass",
        json!({"driverName": "a.b/c", "parameters": {"k": "v"}}),
    );
    on_update(
        Part::Main,
        &class,
        &[
            (
                &[("driverName", json!("d"))],
                &["driverName: Forbidden: updates to driverName are forbidden."],
            ),
            (
                &[("parameters.k", json!("w"))],
                &["parameters: Forbidden: updates to parameters are forbidden."],
            ),
        ],
    );
}

#[test]
fn drivers() {
    let driver = of("CSIDriver", json!({"spec": {}}));
    let tokens = json!([{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}]);
    on_create(
        &driver,
        &[
            (
                &[("spec.tokenRequests", tokens)],
                &[
                    "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                    "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                ],
            ),
            (
                &[("spec.serviceAccountTokenInSecrets", json!(true))],
                &[
                    "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
                ],
            ),
            (
                &[("spec.nodeAllocatableUpdatePeriodSeconds", json!(9))],
                &[
                    "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
                ],
            ),
        ],
    );
    on_update(
        Part::Main,
        &driver,
        &[(
            &[("spec.attachRequired", json!(false))],
            &["spec.attachedRequired: Invalid value: false: field is immutable"],
        )],
    );
    let (made, _) = create(driver);
    assert!(!made.has("metadata.generation"));
}

#[test]
fn drivers_of_nodes() {
    let node = of(
        "CSINode",
        json!({"spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["z"]}]}}),
    );
    let drivers = |list: Value| [("spec.drivers", list)];
    on_create(
        &node,
        &[(
            &drivers(
                json!([{"name": "d", "nodeID": "n", "topologyKeys": ["z", "z"], "allocatable": {"count": -1}}]),
            ),
            &[
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                "spec.drivers[0]: Duplicate value: \"z\"",
            ],
        )],
    );
    on_update(
        Part::Main,
        &node,
        &[
            (
                &drivers(
                    json!([{"name": "d", "nodeID": "n", "topologyKeys": ["z"], "allocatable": {"count": 1}}]),
                ),
                &[],
            ),
            (
                &drivers(json!([{"name": "d", "nodeID": "m"}])),
                &[
                    "spec.drivers: Invalid value: {\"name\":\"d\",\"nodeID\":\"m\"}: field is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn attachments() {
    let attachment = of(
        "VolumeAttachment",
        json!({"spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
    );
    let source = |value: Value| [("spec.source", value)];
    on_create(
        &attachment,
        &[
            (
                &source(json!({})),
                &[
                    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ],
            ),
            (
                &source(json!({"persistentVolumeName": "V"})),
                &[
                    "spec.source.persistentVolumeName: Invalid value: \"V\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                &[(
                    "spec.source",
                    json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "c",
                        "volumeMode": "Block", "csi": {"driver": "d", "volumeHandle": "h"}}}),
                )],
                &[
                    "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
                ],
            ),
            (
                &source(
                    json!({"inlineVolumeSpec": {"accessModes": ["Odd"], "csi": {"driver": "d", "volumeHandle": "h"}}}),
                ),
                &[
                    "spec.source.inlineVolumeSpec.accessModes: Unsupported value: \"Odd\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &attachment,
        &[(
            &[("status.attachError", json!({"errorCode": -1}))],
            &[
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ],
        )],
    );
}
