//! Groups of pods, workloads, and how objects are stored.

use api::{object::Object, strategy::Part};
use serde_json::json;

use super::{create, on_create, on_update, update};

#[test]
fn pod_groups() {
    let group = json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup",
        "metadata": {"name": "g"}, "spec": {"schedulingPolicy": {"gang": {"minCount": 2}},
            "priority": 5, "resourceClaims": [{"name": "c", "resourceClaimName": "d"}]}});
    let (made, _) = create(group.clone());
    assert_eq!(
        made.at("spec"),
        &json!({"schedulingPolicy": {"gang": {"minCount": 2}}})
    );
    on_create(
        &group,
        &[
            (
                &[("spec.schedulingPolicy", json!({}))],
                &[
                    "spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`",
                ],
            ),
            (
                &[("spec.schedulingPolicy.gang.minCount", json!(-1))],
                &[
                    "spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1",
                ],
            ),
            (
                &[(
                    "spec.podGroupTemplateRef.workload",
                    json!({"workloadName": "w"}),
                )],
                &["spec.podGroupTemplateRef.workload.podGroupTemplateName: Required value"],
            ),
        ],
    );
    let mut old = made;
    old.set("spec.priority", 5);
    let mut new = old.clone();
    new.set("spec.priority", 6);
    assert_eq!(
        update(Part::Main, new, &old).1,
        ["spec.priority: Forbidden"]
    );
    on_update(
        Part::Status,
        &old,
        &[(
            &[(
                "status.conditions",
                json!([{"type": "T", "status": "Odd", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]),
            )],
            &[
                "status.conditions[0].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \"Unknown\"",
            ],
        )],
    );
}

#[test]
fn workloads() {
    let workload = json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload",
        "metadata": {"name": "w"}, "spec": {"podGroupTemplates": [{"name": "t",
            "disruptionMode": "Pod", "schedulingPolicy": {"basic": {}}}]}});
    let (made, _) = create(workload.clone());
    assert!(!made.list("spec.podGroupTemplates")[0].has("disruptionMode"));
    on_create(
        &workload,
        &[
            (
                &[("spec.podGroupTemplates", json!([]))],
                &["spec.podGroupTemplates: Required value"],
            ),
            (
                &[("spec.controllerRef", json!({"kind": "a/b", "name": ""}))],
                &[
                    "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
                    "spec.controllerRef.name: Required value",
                ],
            ),
        ],
    );
    on_update(
        Part::Main,
        &workload,
        &[(
            &[("spec.controllerRef", json!({"kind": "K", "name": "n"}))],
            &[
                "spec.controllerRef: Invalid value: {\"kind\":\"K\",\"name\":\"n\"}: field is immutable",
            ],
        )],
    );
}

#[test]
fn migrations() {
    let migration = json!({"apiVersion": "storagemigration.k8s.io/v1beta1",
        "kind": "StorageVersionMigration", "metadata": {"name": "m"},
        "spec": {"resource": {"group": "apps", "resource": "deployments"}}});
    on_create(
        &migration,
        &[(
            &[("spec.resource.resource", json!(""))],
            &["spec.resource.resource: Required value: resource is required to be set"],
        )],
    );
    on_update(
        Part::Main,
        &migration,
        &[(
            &[("spec.resource.group", json!("batch"))],
            &[
                "spec: Invalid value: {\"resource\":{\"group\":\"batch\",\"resource\":\"deployments\"}}: field is immutable",
            ],
        )],
    );
    let mut old = create(migration).0;
    old.set("status.resourceVersion", "7");
    let mut new = old.clone();
    new.set("status.resourceVersion", "8");
    assert_eq!(
        update(Part::Status, new, &old).1,
        ["status.resourceVersion: Invalid value: \"8\": field is immutable"]
    );
}

#[test]
fn storage_versions() {
    let version = json!({"apiVersion": "internal.apiserver.k8s.io/v1alpha1", "kind": "StorageVersion",
        "metadata": {"name": "apps.deployments"}, "spec": {}});
    on_create(
        &version,
        &[(
            &[("metadata.name", json!("deployments"))],
            &[
                "metadata.name: Invalid value: \"deployments\": name must be in the form of <group>.<resource>",
            ],
        )],
    );
    on_update(
        Part::Status,
        &version,
        &[(
            &[(
                "status.storageVersions",
                json!([{"apiServerID": "a", "encodingVersion": "v1", "decodableVersions": ["v1"],
                    "servedVersions": ["v2"]}]),
            )],
            &[
                "status.storageVersions[0].servedVersions[0]: Invalid value: \"v2\": individual served version : v2 must be included in decodableVersions : [v1]",
                "status.commonEncodingVersion: Invalid value: null: the common encoding version is v1",
            ],
        )],
    );
}
