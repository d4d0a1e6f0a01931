//! ServiceAccount: every pod runs as an account that exists, gets its pull secrets, and a volume
//! with a token that is bound to it.

use std::time::Duration;

use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};
use store::{Key, Scope};

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct ServiceAccount;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The account of pods that name none. A controller makes it in every new namespace.
const DEFAULT: &str = "default";
/// How long a pod waits for the default account of its namespace, as long as upstream tries at most.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What the kubelet asks for, and token requests know it by.
const TOKEN_SECONDS: i64 = 3607;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("", "pods") || admission.operation != Operation::Create {
            return Ok(());
        }
        // A mirror pod's secrets are beyond the API's reach.
        if api::meta::annotation(pod, MIRROR).is_some() {
            return Ok(());
        }
        if pod.text("spec.serviceAccountName").is_empty() {
            pod.set("spec.serviceAccountName", DEFAULT);
        }
        let name = pod.text("spec.serviceAccountName").to_owned();
        let namespace = admission.call.namespace();
        let Some(account) = admission
            .objects()
            .value("", "serviceaccounts", namespace, &name)
        else {
            return Err(admission.forbid(
                pod,
                format!(
                    "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
                ),
            ));
        };
        pod.set("spec.serviceAccount", name.as_str());
        let automount = |value: &Value, path: &str| value.at(path).as_bool();
        let mount = automount(pod, "spec.automountServiceAccountToken")
            .or_else(|| automount(&account, "automountServiceAccountToken"))
            .unwrap_or(true);
        if mount {
            mount_token(admission, pod);
        }
        if pod.list("spec.imagePullSecrets").is_empty()
            && !account.list("imagePullSecrets").is_empty()
        {
            pod.set(
                "spec.imagePullSecrets",
                account.at("imagePullSecrets").clone(),
            );
        }
        Ok(())
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        pod: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("", "pods") || admission.operation != Operation::Create {
            return Ok(());
        }
        if api::meta::annotation(pod, MIRROR).is_none() {
            return Ok(());
        }
        if !pod.text("spec.serviceAccountName").is_empty() {
            return Err(admission.forbid(pod, "a mirror pod may not reference service accounts"));
        }
        if pod.list("spec.volumes").iter().any(|v| v.has("secret")) {
            return Err(admission.forbid(pod, "a mirror pod may not reference secrets"));
        }
        Ok(())
    }
}

/// Lets a pod wait for its namespace's default account, which may be a moment younger than the
/// namespace. Whether it came is for the plugin to see.
pub(super) async fn await_default(admission: &Admission<'_>, pod: &Value) {
    let waits = admission.is("", "pods")
        && admission.operation == Operation::Create
        && matches!(pod.text("spec.serviceAccountName"), "" | DEFAULT)
        && api::meta::annotation(pod, MIRROR).is_none();
    let (group, plural) = ("", "serviceaccounts");
    let namespace = admission.call.namespace();
    let objects = admission.objects();
    let there = || objects.entry(group, plural, namespace, DEFAULT).is_some();
    if !waits || there() || objects.entry("", "namespaces", "", namespace).is_none() {
        return;
    }
    let store = &admission.call.server.store;
    let scope = Scope {
        namespace: Some(namespace.to_owned()),
        name: Some(DEFAULT.to_owned()),
        ..Scope::default()
    };
    let watch = store.watch(&Key::prefix_of(group, plural), store.revision(), scope);
    let Ok(mut changes) = watch else {
        return;
    };
    let _ = tokio::time::timeout(PATIENCE, async {
        while !there() && matches!(changes.next().await, Some(Ok(_))) {}
    })
    .await;
}

fn mount_token(admission: &Admission<'_>, pod: &mut Value) {
    let existing = pod
        .list("spec.volumes")
        .iter()
        .map(|v| v.text("name"))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let fresh = existing.is_none();
    let volume = existing.unwrap_or_else(|| {
        let random = &admission.call.server.config.random;
        api::names::generate(VOLUME_PREFIX, |bound| {
            let mut bytes = [0u8; 4];
            random(&mut bytes);
            u32::from_le_bytes(bytes) as usize % bound.max(1)
        })
    });
    let mut needed = false;
    for path in ["spec.initContainers", "spec.containers"] {
        for container in pod.list_mut(path) {
            let mounts = container.place("volumeMounts");
            if !mounts.is_array() {
                *mounts = json!([]);
            }
            let Some(list) = mounts.as_array_mut() else {
                continue;
            };
            if !list.iter().any(|m| m.text("mountPath") == MOUNT_PATH) {
                list.push(json!({"name": volume, "mountPath": MOUNT_PATH, "readOnly": true}));
                needed = true;
            }
        }
    }
    if !needed || !fresh {
        return;
    }
    let volumes = pod.place("spec.volumes");
    if !volumes.is_array() {
        *volumes = json!([]);
    }
    if let Some(list) = volumes.as_array_mut() {
        list.push(json!({
            "name": volume,
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                    {"configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }},
                    {"downwardAPI": {"items": [{
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                    }]}},
                ],
            },
        }));
    }
}
