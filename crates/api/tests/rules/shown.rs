//! What `kubectl get` shows, and by which fields lists can be narrowed.

use api::{columns, convert, object::Object};
use serde_json::{Value, json};

use super::{now, resource};

/// The cells of an object, by the names of their columns.
fn cells(object: &Value) -> Value {
    let resource = resource(object);
    let definitions = columns::definitions(resource);
    let names = definitions.as_array().unwrap().iter();
    let row = columns::row(resource, object, now());
    assert_eq!(names.len(), row.len());
    names
        .map(|column| column.text("name").to_owned())
        .zip(row)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn tables() {
    let group = json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup",
        "spec": {"schedulingPolicy": {"gang": {"minCount": 1}}},
        "status": {"conditions": [{"type": "PodGroupScheduled", "status": "False"}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "ports": [{"name": "web"}, {"port": 80}], "endpoints": [{"addresses": []}]});
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "status": {"conditions": [{"type": "Failed"}]}});
    let address = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "spec": {"parentRef":
        {"group": "apps", "resource": "deployments", "namespace": "n", "name": "d"}}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding", "spec": {"paramRef": {"name": "p"}}});
    let event = json!({"apiVersion": "v1", "kind": "Event", "source": {"host": "h"},
        "reportingComponent": "c", "reportingInstance": "i"});
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 5}}});
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target":
            {"averageValue": "1", "averageUtilization": 7}}}]}});
    let answer = json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": "ResourcePoolStatusRequest",
        "spec": {"driver": "d"}, "status": {"poolCount": 2, "pools": [{"totalDevices": 3}],
            "conditions": [{"type": "Complete", "status": "True",
                "lastTransitionTime": "2025-12-31T23:59:00Z"}]}});
    let mut balanced =
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"}});
    balanced.set(
        "status.loadBalancer.ingress",
        json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]),
    );
    for (object, column, shown) in [
        (&group, "Policy", json!("Gang")),
        (&group, "Status", json!("Unschedulable")),
        (&slice, "Ports", json!("web,80")),
        (&slice, "Endpoints", json!("<unset>")),
        (&request, "Condition", json!("Pending,Failed")),
        (&address, "ParentRef", json!("deployments.apps/n/d")),
        (&binding, "ParamRef", json!("*/p")),
        (&event, "Source", json!("c, h")),
        (&level, "NominalConcurrencyShares", json!("<none>")),
        (&scaler, "Targets", json!("cpu: <unknown>/1")),
        (&answer, "Total", json!("3")),
        (&answer, "Status", json!("Complete (1/2 pools)")),
        (&answer, "Completed", json!("60s")),
        (&balanced, "External-IP", json!("10.0.0.1")),
    ] {
        let cells = cells(object);
        assert_eq!(cells[column], shown, "{column} of {object}");
    }
}

#[test]
fn field_names() {
    for (api_version, kind, name, known) in [
        ("v1", "Pod", "spec.host", true),
        ("v1", "ReplicationController", "status.replicas", true),
        ("apps/v1", "ReplicaSet", "status.replicas", false),
        (
            "networking.k8s.io/v1",
            "IPAddress",
            "spec.parentRef.name",
            false,
        ),
        ("v1", "Event", "involvedObject.name", true),
        ("events.k8s.io/v1", "Event", "involvedObject.name", false),
        ("events.k8s.io/v1", "Event", "regarding.name", true),
        ("events.k8s.io/v1", "Event", "reportingController", true),
    ] {
        let resource = resource(&json!({"apiVersion": api_version, "kind": kind}));
        let found = convert::field_name(resource, name);
        assert_eq!(found.is_some(), known, "{name} of {kind} {api_version}");
    }
}
