//! The whole way of a write through this crate: prepare, default, validate.

use api::{
    catalog::{self, Catalog},
    convert, defaulting,
    object::Object,
    prepare,
    resource::Resource,
    strategy::Part,
    validation,
};
use serde_json::{Value, json};

fn now() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn resource(object: &Value) -> &'static Resource {
    let (group, version) = api::meta::split_api_version(object.text("apiVersion"));
    catalog::builtin()
        .by_kind(group, version, object.text("kind"))
        .unwrap()
}

fn create(mut object: Value) -> (Value, Vec<String>) {
    let resource = resource(&object);
    if resource.namespaced {
        object.set_default("metadata.namespace", "default");
    }
    prepare::create(resource, &mut object, "uid-1", now());
    defaulting::apply(resource, &mut object);
    prepare::create_own(resource, &mut object, now());
    let errors = validation::create(resource, &object)
        .iter()
        .map(ToString::to_string)
        .collect();
    object.set("metadata.resourceVersion", "1");
    (object, errors)
}

fn update(part: Part<'_>, mut object: Value, old: &Value) -> (Value, Vec<String>) {
    let resource = resource(old);
    prepare::update(resource, part, &mut object, old, now());
    defaulting::apply(resource, &mut object);
    let errors = validation::update(resource, part, &object, old)
        .iter()
        .map(ToString::to_string)
        .collect();
    (object, errors)
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}}})
}

#[test]
fn good_objects_have_no_errors() {
    let job_template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let template = deployment().at("spec.template").clone();
    let objects = [
        pod(
            json!({"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}],
            "livenessProbe": {"httpGet": {"port": "http"}}, "resources": {"limits": {"memory": "64Mi", "cpu": 1}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "tolerations": [{"operator": "Exists"}], "volumes": [{"name": "v"}]}),
        ),
        deployment(),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}, "spec": {"serviceName": "s",
            "selector": {"matchLabels": {"app": "web"}}, "template": template, "volumeClaimTemplates": [
                {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": job_template}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": {
            "schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": job_template}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a.b": "c"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "a-", "name": "a-x"}, "stringData": {"a": "c"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "involvedObject": {"namespace": "default"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:a"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "a"},
            "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "a"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "a"}, "provisioner": "x.io/y"}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "a"}, "spec": {}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"}, "spec": {"podSelector": {},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80}]}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {"rules": [{"host": "a.b",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "a"}, "spec": {"controller": "a.b/c"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.0.0.1"}, "spec": {
            "parentRef": {"resource": "services", "name": "a", "namespace": "b"}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {"minAvailable": "50%"}}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "a"}, "value": 10}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "system-node-critical"}, "value": 2000001000}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "behavior": {"scaleUp": {"selectPolicy": "Min"}}}}),
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "a"},
            "webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x/y"},
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pods"]}]}]}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.a.b"}, "spec": {
            "group": "a.b", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.a.b"}, "spec": {
            "group": "a.b", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}}),
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "a"}, "spec": {
            "type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "a"}, "spec": {
            "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KZUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K", "usages": ["client auth"], "signerName": "kubernetes.io/kube-apiserver-client"}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "a"}, "spec": {"devices": {
            "requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": {}}),
    ];
    for object in objects {
        let (created, errors) = create(object);
        assert!(errors.is_empty(), "{errors:?} in {created}");
        let (same, errors) = update(Part::Main, created.clone(), &created);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            same, created,
            "an update that changes nothing changes nothing"
        );
    }
}

#[test]
fn bad_objects_are_told_why() {
    let container = json!({"name": "c", "image": "i"});
    let mut no_match = deployment();
    no_match.set("spec.selector.matchLabels.app", "api");
    let mut rolling = deployment();
    rolling.set(
        "spec.strategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}),
    );
    let cases: Vec<(Value, &[&str])> = vec![
        (pod(json!({})), &["spec.containers: Required value"]),
        (
            pod(json!({"containers": [{"name": "C"}]})),
            &[
                "spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.containers[0].image: Required value",
            ],
        ),
        (
            pod(json!({"containers": [container, container]})),
            &["spec.containers[1].name: Duplicate value: \"c\""],
        ),
        (
            pod(json!({"restartPolicy": "Sometimes", "containers": [container]})),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            pod(
                json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
            ),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            pod(
                json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}),
            ),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            pod(
                json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "x"}}}]}),
            ),
            &[
                "spec.containers[0].resources.requests[cpu]: Invalid value: \"x\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "A"}, "spec": {"containers": [container]}}),
            &[
                "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
        (
            no_match,
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            rolling,
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            pod(json!({"dnsPolicy": "None", "containers": [container]})),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            pod(
                json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"hugepages-2Mi": "2Mi"}}}]}),
            ),
            &["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
        ),
        (
            pod(
                json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
            ),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod(
                json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "valueFrom":
                {"fileKeyRef": {"volumeName": "v", "path": "a", "key": "K"}}}]}]}),
            ),
            &["spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"v\""],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "1a"}, "spec": {"type": "Foo"}}),
            &[
                "spec.ports: Required value",
                "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [container]}}}}),
            &[
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {}}),
            &["metadata.name: Required value: name or generateName is required"],
        ),
        (
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {"minAvailable": "150%"}}),
            &["spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"],
        ),
        (
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "a"}, "value": 2000000000}),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {"rules": [{"host": "10.0.0.1"}]}}),
            &[
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ],
        ),
        (
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["127.0.0.1"]}]}),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 0,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
            &[
                "spec.maxReplicas: Required value: must be set and greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "a"}, "spec": {"hard": {"pods": "1.5", "foo": "1"}}}),
            &[
                "spec.hard[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
                "spec.hard[foo]: Invalid value: \"foo\": must be a standard resource for quota",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ],
        ),
        (
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "a"}, "spec": {"limits": [
                {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}),
            &[
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ],
        ),
    ];
    for (object, expected) in cases {
        let (_, errors) = create(object.clone());
        assert_eq!(errors, expected, "{object}");
    }
}

#[test]
fn a_pod_may_change_little() {
    let (old, _) = create(pod(json!({"containers": [{"name": "c", "image": "i:1"}]})));
    assert_eq!(
        old.at("status"),
        &json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    assert_eq!(old.int("metadata.generation"), Some(1));
    let mut new = old.clone();
    new.list_mut("spec.containers")[0].set("image", "i:2");
    new.set("status.phase", "Running");
    let (new, errors) = update(Part::Main, new, &old);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(new.int("metadata.generation"), Some(2));
    assert_eq!(
        new.text("status.phase"),
        "Pending",
        "the status is written apart"
    );
    let mut new = old.clone();
    new.set("spec.hostNetwork", true);
    let (_, errors) = update(Part::Main, new, &old);
    assert!(
        errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{errors:?}"
    );
    let mut new = old.clone();
    new.set("status.phase", "Running");
    new.set("spec.hostNetwork", true);
    let (new, errors) = update(Part::Status, new, &old);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        (new.text("status.phase"), new.has("spec.hostNetwork")),
        ("Running", false)
    );
    assert_eq!(new.int("metadata.generation"), Some(1));
}

#[test]
fn a_binding_is_no_new_generation() {
    let (old, _) = create(pod(json!({"containers": [{"name": "c", "image": "i:1"}]})));
    let mut new = old.clone();
    new.set("spec.nodeName", "n");
    let (new, _) = update(Part::Sub("binding"), new, &old);
    assert_eq!(
        (new.int("metadata.generation"), new.text("spec.nodeName")),
        (Some(1), "n")
    );
}

#[test]
fn selectors_and_roles_stay() {
    let (old, _) = create(deployment());
    let mut new = old.clone();
    new.set("spec.selector.matchLabels.app", "b");
    new.set("spec.template.metadata.labels.app", "b");
    let (_, errors) = update(Part::Main, new, &old);
    assert_eq!(
        errors,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]
    );
    let mut new = old.clone();
    new.remove("spec.strategy");
    let (new, _) = update(Part::Main, new, &old);
    assert_eq!(
        new.int("metadata.generation"),
        Some(1),
        "what is left out is no change"
    );
    let (old, _) = create(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "r"}}),
    );
    let mut new = old.clone();
    new.set("roleRef.name", "s");
    let (_, errors) = update(Part::Main, new, &old);
    assert!(errors[0].contains("cannot change roleRef"));
}

#[test]
fn a_job_gets_its_selector() {
    let (job, errors) = create(
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}),
    );
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        job.at("spec.selector"),
        &json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-1"}})
    );
    assert_eq!(job.at("metadata.labels").get("job-name"), Some(&json!("a")));
}

#[test]
fn a_namespace_is_held_until_it_is_empty() {
    let (namespace, _) =
        create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    assert_eq!(namespace.at("spec.finalizers"), &json!(["kubernetes"]));
    assert_eq!(namespace.text("status.phase"), "Active");
    let mut new = namespace.clone();
    new.set("spec.finalizers", json!([]));
    let (kept, _) = update(Part::Main, new.clone(), &namespace);
    assert_eq!(kept.at("spec.finalizers"), &json!(["kubernetes"]));
    let (released, _) = update(Part::Sub("finalize"), new, &namespace);
    assert!(released.list("spec.finalizers").is_empty());
}

#[test]
fn upstreams_samples_pass_through_every_step() {
    let catalog: &Catalog = catalog::builtin();
    let mut seen = 0;
    for sample in crate::roundtrip::samples() {
        let object = sample.object();
        let (group, version) = api::meta::split_api_version(object.text("apiVersion"));
        let Some(resource) = catalog.by_kind(group, version, object.text("kind")) else {
            continue;
        };
        seen += 1;
        let mut object = object.clone();
        defaulting::apply(resource, &mut object);
        let mut twice = object.clone();
        defaulting::apply(resource, &mut twice);
        assert_eq!(twice, object, "defaulting {} is idempotent", sample.name);
        let _ = validation::create(resource, &object);
        for part in [Part::Main, Part::Status] {
            let mut new = object.clone();
            prepare::update(resource, part, &mut new, &object, now());
            let _ = validation::update(resource, part, &new, &object);
        }
        let stored = convert::to_storage(resource, object.clone());
        let back = convert::from_storage(resource, stored);
        assert_eq!(back.text("apiVersion"), object.text("apiVersion"));
        assert_eq!(
            resource.strategy.fields(&object).len(),
            resource.strategy.field_names().len(),
            "{}",
            sample.name
        );
        assert_eq!(
            api::columns::row(resource, &object, now()).len(),
            api::columns::table(resource).columns.len()
        );
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn zero_values_that_mean_nothing_default_like_absent_ones() {
    let (object, errors) = create(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {}, "managedFields": []},
        "spec": {"hostNetwork": false, "nodeSelector": {}, "containers": [{
            "name": "c", "image": "i", "imagePullPolicy": "",
            "ports": [{"containerPort": 80, "protocol": ""}]}]}}));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        object["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    assert_eq!(object["spec"].get("hostNetwork"), None);
    assert_eq!(object["spec"].get("nodeSelector"), None);
    assert_eq!(object["metadata"].get("labels"), None);
    // An empty list of these means that nobody is to be tracked.
    assert_eq!(object["metadata"]["managedFields"], json!([]));
}
