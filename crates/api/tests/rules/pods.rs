//! What pods lose or get before they are judged, and what claims do.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, update, warned};

fn pod(change: impl Fn(&mut Value)) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    change(&mut pod);
    pod
}

#[test]
fn gated_fields() {
    let gated = pod(|pod| {
        pod["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGHUP"});
        pod["spec"]["os"] = json!({"name": "linux"});
        pod["spec"]["volumes"] = json!([{"name": "v", "projected": {"sources": [
            {"clusterTrustBundle": {"name": "b", "path": "p"}}]}}]);
    });
    let (made, errors) = create(gated.clone());
    assert!(errors.is_empty(), "{errors:?}");
    let spec = made.at("spec");
    assert!(!spec.list("containers")[0].has("lifecycle"));
    assert_eq!(
        spec.list("volumes")[0].at("projected.sources"),
        &json!([{}])
    );
    let mut old = made;
    for field in ["containers", "volumes"] {
        old["spec"][field] = gated["spec"][field].clone();
    }
    let (kept, _) = update(Part::Main, old.clone(), &old);
    assert!(kept.list("spec.containers")[0].has("lifecycle.stopSignal"));
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "p"},
        "template": {"metadata": {}, "spec": gated["spec"]}});
    let (made, _) = create(template);
    assert!(!made.list("template.spec.containers")[0].has("lifecycle"));
}

#[test]
fn gated_status() {
    let (old, _) = create(pod(|_| {}));
    let mut new = old.clone();
    let mounts =
        json!([{"name": "v", "mountPath": "/v", "volumeStatus": {"image": {"imageRef": "i"}}}]);
    new.set(
        "status.containerStatuses",
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "volumeMounts": mounts}]),
    );
    let (made, _) = update(Part::Status, new, &old);
    let mount = &made.list("status.containerStatuses")[0].list("volumeMounts")[0];
    assert!(mount.has("mountPath") && !mount.has("volumeStatus"));
}

#[test]
fn profiles_from_annotations() {
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    let annotated =
        |profile: &str| pod(|pod| pod["metadata"]["annotations"] = json!({key: profile}));
    let (made, _) = create(annotated("localhost/file"));
    assert_eq!(
        made.list("spec.containers")[0].at("securityContext.appArmorProfile"),
        &json!({"type": "Localhost", "localhostProfile": "file"})
    );
    assert_eq!(
        warned(annotated("runtime/default")),
        [format!(
            "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        )]
    );
}

fn claim(field: &str, source: Value) -> Value {
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    claim["spec"][field] = source;
    claim
}

#[test]
fn sources_of_claims() {
    let source = json!({"kind": "PersistentVolumeClaim", "name": "d"});
    let (made, _) = create(claim("dataSource", source.clone()));
    assert_eq!(made.at("spec.dataSourceRef"), &source);
    let any = json!({"apiGroup": "x.example", "kind": "X", "name": "d"});
    let (made, _) = create(claim("dataSourceRef", any.clone()));
    assert_eq!(made.at("spec.dataSource"), &any);
    let (made, _) = create(claim("dataSource", any));
    assert!(!made.has("spec.dataSource") && !made.has("spec.dataSourceRef"));
    let far = json!({"kind": "PersistentVolumeClaim", "name": "d", "namespace": "n"});
    let (made, _) = create(claim("dataSourceRef", far));
    assert!(!made.has("spec.dataSourceRef"));
    // What was stored with one field alone is not changed by a write of the same.
    let (mut old, _) = create(claim("dataSource", source));
    old.remove("spec.dataSourceRef");
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}
