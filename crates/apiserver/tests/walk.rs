//! Every served resource of the catalog, through every verb.

use std::sync::Arc;

use api::resource::{Behaviour, Gvk, LateTable, Resource, Subresource, Types};
use schema::table::Table;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Cluster, namespace};

/// The least a valid object of a kind has beyond its name; kinds not named here need no more.
fn body(resource: &Resource) -> Value {
    let template = json!({
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let selector = json!({"matchLabels": {"a": "b"}});
    let constraints = json!({"resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
    }]});
    let workload = json!({"spec": {"selector": selector, "template": template}});
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => json!({"spec": template["spec"]}),
        ("", "PodTemplate") => json!({"template": template}),
        ("", "ReplicationController") => {
            json!({"spec": {"selector": {"a": "b"}, "template": template}})
        }
        ("", "Service") => json!({"spec": {"ports": [{"port": 80}]}}),
        ("", "Event") => json!({
            "involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"}, "type": "Normal",
        }),
        ("events.k8s.io", "Event") => json!({
            "regarding": {"kind": "Pod", "name": "x", "namespace": "default"}, "type": "Normal",
            "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "x/y",
            "reportingInstance": "z", "action": "a", "reason": "r",
        }),
        ("", "PersistentVolume") => json!({"spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
        }}),
        ("", "PersistentVolumeClaim") => json!({"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => workload,
        ("apps", "ControllerRevision") => json!({"revision": 1, "data": {}}),
        ("batch", "Job") => {
            let mut template = template;
            template["spec"]["restartPolicy"] = "Never".into();
            json!({"spec": {"template": template}})
        }
        ("batch", "CronJob") => {
            let mut template = template;
            template["spec"]["restartPolicy"] = "Never".into();
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}})
        }
        ("autoscaling", _) => json!({"spec": {
            "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"},
        }}),
        ("certificates.k8s.io", "CertificateSigningRequest") => json!({"spec": {
            "request": REQUEST, "signerName": "example.com/x", "usages": ["client auth"],
        }}),
        ("certificates.k8s.io", "ClusterTrustBundle") => {
            let authority =
                apiserver::pki::Authority::generate("walk", jiff::Timestamp::now()).unwrap();
            json!({"spec": {"trustBundle": authority.certificate_pem()}})
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": constraints, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec'}]"}}],
        }}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": constraints, "validations": [{"expression": "true"}],
        }}),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "x"}})
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "x", "validationActions": ["Deny"]}})
        }
        ("apiextensions.k8s.io", _) => json!({"spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "walkers", "singular": "walker", "kind": "Walker", "listKind": "WalkerList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        }}),
        ("apiregistration.k8s.io", _) => json!({"spec": {
            "group": "example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10,
            "service": {"name": "x", "namespace": "default"}, "insecureSkipTLSVerify": true,
        }}),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            json!({"spec": {"priorityLevelConfiguration": {"name": "x"}}})
        }
        ("flowcontrol.apiserver.k8s.io", _) => json!({"spec": {
            "type": "Limited", "limited": {"limitResponse": {"type": "Reject"}},
        }}),
        ("certificates.k8s.io", "PodCertificateRequest") => json!({"spec": {
            "signerName": "example.com/x", "podName": "p", "podUID": "1", "serviceAccountName": "s",
            "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3", "maxExpirationSeconds": 3600,
            "stubPKCS10Request": "eA==",
        }}),
        ("resource.k8s.io", "DeviceTaintRule") => {
            json!({"spec": {"taint": {"key": "a", "effect": "NoSchedule"}}})
        }
        ("resource.k8s.io", "ResourcePoolStatusRequest") => {
            json!({"spec": {"driver": "example.com"}})
        }
        ("scheduling.k8s.io", "PodGroup") => {
            json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}})
        }
        ("scheduling.k8s.io", "Workload") => json!({"spec": {
            "podGroupTemplates": [{"name": "a", "schedulingPolicy": {"basic": {}}}],
        }}),
        ("storagemigration.k8s.io", _) => {
            json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}})
        }
        ("resource.k8s.io", "ResourceSlice") => {
            let pool = json!({"name": "p", "generation": 0, "resourceSliceCount": 1});
            json!({"spec": {"driver": "example.com", "pool": pool, "nodeName": "n"}})
        }
        ("coordination.k8s.io", "LeaseCandidate") => json!({"spec": {
            "leaseName": "x", "binaryVersion": "1.0.0", "emulationVersion": "1.0.0", "strategy": "OldestEmulationVersion",
        }}),
        ("discovery.k8s.io", "EndpointSlice") => json!({"addressType": "IPv4", "endpoints": []}),
        ("networking.k8s.io", "Ingress") => {
            json!({"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}})
        }
        ("networking.k8s.io", "IngressClass") => json!({"spec": {"controller": "example.com/x"}}),
        ("networking.k8s.io", "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        ("networking.k8s.io", "IPAddress") => {
            json!({"spec": {"parentRef": {"resource": "services", "name": "x", "namespace": "default"}}})
        }
        ("networking.k8s.io", "ServiceCIDR") => json!({"spec": {"cidrs": ["10.99.0.0/24"]}}),
        ("node.k8s.io", "RuntimeClass") => json!({"handler": "x"}),
        ("policy", "PodDisruptionBudget") => {
            json!({"spec": {"minAvailable": 1, "selector": selector}})
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        }),
        ("scheduling.k8s.io", "PriorityClass") => json!({"value": 1}),
        ("walk.example.com", _) => {
            json!({"spec": {"replicas": 1, "parts": [{"name": "a", "size": 1}]}})
        }
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": "x"}),
        ("storage.k8s.io", "CSINode") => json!({"spec": {"drivers": []}}),
        ("storage.k8s.io", "CSIDriver") => json!({"spec": {}}),
        ("storage.k8s.io", "StorageClass") => json!({"provisioner": "example.com/x"}),
        ("storage.k8s.io", "VolumeAttributesClass") => {
            json!({"driverName": "example.com", "parameters": {"a": "b"}})
        }
        ("storage.k8s.io", "VolumeAttachment") => {
            json!({"spec": {"attacher": "x", "nodeName": "n", "source": {"persistentVolumeName": "p"}}})
        }
        _ => json!({}),
    }
}

/// A certificate request that nobody signs here; its form alone counts.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIZ01JR0hBZ0VBTUNReElqQWdCZ05WQkFNTUdYSmoKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

struct Walk<'a> {
    client: &'a Client,
    failures: Vec<String>,
}

impl Walk<'_> {
    fn check(&mut self, what: &str, answer: &Answer) -> Option<Value> {
        if answer.code < 300 {
            return Some(answer.json());
        }
        let text = String::from_utf8_lossy(&answer.body);
        self.failures
            .push(format!("{what}: {} {text}", answer.code));
        None
    }

    /// What is read in protobuf and put back changes nothing.
    async fn protobuf(&mut self, path: &str, what: &str, builtin: bool) {
        let kind = "application/vnd.kubernetes.protobuf";
        let mut last = None;
        // The server itself may change the object in between, but not for ever.
        for _ in 0..8 {
            let before = self.client.get(path).await.ok();
            let binary = self.client.raw("GET", path, &[("accept", kind)], "").await;
            if !builtin {
                binary.fails(406);
                return;
            }
            if binary.code != 200 || !binary.body.starts_with(b"k8s\0") {
                let text = String::from_utf8_lossy(&binary.body).into_owned();
                self.failures.push(format!("{what}: no protobuf: {text}"));
                return;
            }
            let sent = binary.body.clone();
            let answer = self
                .client
                .raw("PUT", path, &[("content-type", kind)], sent)
                .await;
            if answer.code == 409 {
                continue;
            }
            let Some(same) = self.check(&format!("{what} protobuf update"), &answer) else {
                return;
            };
            if same == before {
                return;
            }
            last = Some((before, same));
        }
        self.failures
            .push(format!("{what}: protobuf changed it: {last:?}"));
    }

    /// Puts an object; when the server itself changed it meanwhile (the status of a FlowSchema, say),
    /// the labels go on what it is by then. Answers what was sent last as well.
    async fn put_live(&self, path: &str, mut object: Value) -> (Value, Answer) {
        loop {
            let answer = self.client.put(path, &object).await;
            if answer.code != 409 {
                return (object, answer);
            }
            let labels = object["metadata"]["labels"].take();
            object = self.client.get(path).await.ok();
            object["metadata"]["labels"] = labels;
        }
    }

    async fn resource(&mut self, resource: &Resource) {
        let api_version = resource.gvk.api_version();
        let root = if resource.gvk.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        let place = if resource.namespaced {
            "namespaces/default/"
        } else {
            ""
        };
        let collection = format!("/{root}/{api_version}/{place}{}", resource.plural);
        let name = match &*resource.gvk.kind {
            "IPAddress" => "10.96.3.4",
            "CustomResourceDefinition" => "walkers.example.com",
            "APIService" => "v1.example.com",
            "StorageVersion" => "example.com.walkers",
            _ => "walker",
        };
        let path = format!("{collection}/{name}");
        let what = format!("{api_version} {}", resource.plural);
        let mut object = body(resource);
        object["apiVersion"] = api_version.clone().into();
        object["kind"] = (&*resource.gvk.kind).into();
        object["metadata"] = json!({"name": name, "labels": {"walk": "1"}});

        let before = self.client.get(&collection).await;
        let Some(before) = self.check(&format!("{what} list"), &before) else {
            return;
        };
        let revision = before["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        let mut watch = self
            .client
            .watch(&format!(
                "{collection}?watch=1&resourceVersion={revision}&labelSelector=walk"
            ))
            .await;
        let answer = self
            .client
            .post(&format!("{collection}?fieldValidation=Strict"), &object)
            .await;
        let Some(made) = self.check(&format!("{what} create"), &answer) else {
            return;
        };
        // Strategic merge patches and protobuf are for types that are built in.
        let builtin = resource.types.is_builtin();
        for (kind, patch) in [
            ("merge", json!({"metadata": {"annotations": {"m": "1"}}})),
            (
                "strategic",
                json!({"metadata": {"annotations": {"s": "1"}}}),
            ),
            (
                "json",
                json!([{"op": "add", "path": "/metadata/annotations/j", "value": "1"}]),
            ),
        ] {
            let answer = self.client.patch(&path, kind, &patch).await;
            if kind == "strategic" && !builtin {
                answer.fails(415);
            } else {
                self.check(&format!("{what} {kind} patch"), &answer);
            }
        }
        let applied = json!({"apiVersion": api_version, "kind": resource.gvk.kind,
            "metadata": {"name": name, "annotations": {"a": "1"}}});
        let answer = self
            .client
            .patch(&format!("{path}?fieldManager=walk"), "apply", &applied)
            .await;
        self.check(&format!("{what} apply"), &answer);
        let answer = self.client.get(&path).await;
        let Some(mut live) = self.check(&format!("{what} get"), &answer) else {
            return;
        };
        assert_eq!(live["metadata"]["uid"], made["metadata"]["uid"], "{what}");
        let annotations = &live["metadata"]["annotations"];
        for key in ["m", "s", "j", "a"] {
            if annotations[key] != "1" && (builtin || key != "s") {
                self.failures
                    .push(format!("{what}: annotation {key} is lost: {annotations}"));
            }
        }
        live["metadata"]["labels"]["updated"] = "1".into();
        let (_, answer) = self.put_live(&path, live).await;
        if let Some(updated) = self.check(&format!("{what} update"), &answer) {
            let (sent, again) = self.put_live(&path, updated).await;
            if let Some(again) = self.check(&format!("{what} update with no change"), &again)
                && again["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"]
            {
                self.failures
                    .push(format!("{what}: an update without change was written"));
            }
        }
        self.protobuf(&path, &what, builtin).await;
        let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        let answer = self.client.raw("GET", &collection, &[table], "").await;
        if let Some(table) = self.check(&format!("{what} table"), &answer)
            && table["rows"].as_array().is_none_or(|rows| {
                rows.iter().any(|row| {
                    row["cells"].as_array().map(Vec::len)
                        != table["columnDefinitions"].as_array().map(Vec::len)
                })
            })
        {
            self.failures
                .push(format!("{what}: cells and columns differ"));
        }
        if resource.has_status() {
            let answer = self
                .client
                .patch(
                    &format!("{path}/status"),
                    "merge",
                    &json!({"metadata": {"annotations": {"st": "1"}}}),
                )
                .await;
            self.check(&format!("{what} status patch"), &answer);
        }
        let answer = self
            .client
            .delete_with(
                &path,
                &json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"}),
            )
            .await;
        self.check(&format!("{what} delete"), &answer);
        if &*resource.gvk.kind != "Namespace" {
            let finalizers = json!({"metadata": {"finalizers": null}});
            self.client.patch(&path, "merge", &finalizers).await;
            let gone = self.client.get(&path).await;
            if gone.code != 404 {
                self.failures
                    .push(format!("{what}: still there after delete: {}", gone.json()));
            }
            let first = watch.next().await.unwrap();
            if first["type"] != "ADDED" || first["object"]["apiVersion"] != api_version.as_str() {
                self.failures.push(format!("{what}: first event {first}"));
            }
            loop {
                let event = watch.next().await.unwrap();
                match event["type"].as_str() {
                    Some("MODIFIED") => {}
                    Some("DELETED") => break,
                    _ => {
                        self.failures.push(format!("{what}: event {event}"));
                        break;
                    }
                }
            }
        }
        if resource.has_verb("deletecollection") {
            let answer = self
                .client
                .delete(&format!("{collection}?labelSelector=walk"))
                .await;
            self.check(&format!("{what} deletecollection"), &answer);
        }
    }
}

/// A definition, and the resource it makes.
fn custom() -> (Value, Resource) {
    let part = json!({"type": "object", "required": ["name"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer", "minimum": 0},
            "parts": {"type": "array", "items": part,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "walked.walk.example.com"}, "spec": {
            "group": "walk.example.com", "scope": "Namespaced",
            "names": {"plural": "walked", "singular": "walk", "kind": "Walk", "listKind": "WalkList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
                "schema": {"openAPIV3Schema": schema}}]}});
    let verbs = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let gvk = Gvk::new("walk.example.com", "v1", "Walk");
    let none = || Table::parse("").unwrap();
    let resource = Resource {
        plural: "walked".into(),
        singular: "walk".into(),
        namespaced: true,
        verbs: verbs.map(Into::into).into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: vec![Subresource {
            name: "status".into(),
            body: gvk.clone(),
            verbs: vec!["patch".into()],
        }],
        list_kind: "WalkList".into(),
        types: Types::Own(Arc::new(LateTable::new(none))),
        ty: api::catalog::builtin().type_of("", "v1", "Status").unwrap(),
        storage_version: "v1".into(),
        storage_group: gvk.group.clone(),
        storage_plural: "walked".into(),
        secret: false,
        scale: None,
        strategy: Behaviour::Static(api::registry::strategy("", "")),
        gvk,
    };
    (definition, resource)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_takes_every_verb() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let mut walk = Walk {
        client: &admin,
        failures: Vec::new(),
    };
    let mut walked = 0;
    for resource in api::catalog::builtin().resources() {
        if resource.has_verb("watch") {
            walk.resource(resource).await;
            walked += 1;
        }
    }
    assert!(walked > 70, "{walked}");
    let (definition, resource) = custom();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut watch = admin.watch(&format!("{definitions}?watch=1")).await;
    admin.post(definitions, &definition).await.ok();
    loop {
        let event = watch.next().await.unwrap();
        let conditions = event["object"]["status"]["conditions"].as_array().cloned();
        let established = |c: &Value| c["type"] == "Established" && c["status"] == "True";
        if conditions.unwrap_or_default().iter().any(established) {
            break;
        }
    }
    walk.resource(&resource).await;
    assert!(
        walk.failures.is_empty(),
        "{} failures:\n{}",
        walk.failures.len(),
        walk.failures.join("\n")
    );
}
