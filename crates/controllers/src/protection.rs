//! Keeps volumes and claims from vanishing while they are in use: each carries a finalizer, which
//! goes when it is being deleted and nothing uses it any more.

use std::sync::Arc;

use client::controller::Requeue;
use client::informer::Store;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::owner::controller_of;
use crate::pods::is_terminal;
use crate::storage::claims_of;
use crate::write::{self, Known};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// The finalizers to write; none if they are right.
pub(crate) fn finalizers(
    meta: &ObjectMeta,
    name: &str,
    in_use: impl FnOnce() -> bool,
) -> Option<Vec<String>> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|finalizer| finalizer == name);
    match (meta.deletion_timestamp.is_some(), held) {
        (false, false) => finalizers.push(name.to_owned()),
        (true, true) if !in_use() => finalizers.retain(|finalizer| finalizer != name),
        _ => return None,
    }
    Some(finalizers)
}

/// The claims a pod names, those of its ephemeral volumes included.
fn claims(pod: &Pod) -> Vec<String> {
    let all = claims_of(pod).into_iter();
    all.map(|(_, claim)| claim).collect()
}

/// Has the pod the claim mounted, or may it yet? A claim that only has the name of one of the pod's
/// ephemeral volumes is not it.
fn is_user(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let bound = spec.node_name.as_ref().is_some_and(|node| !node.is_empty());
    let owner = controller_of(&claim.metadata).map(|owner| &owner.uid);
    let owned = owner.is_some_and(|uid| Some(uid) == pod.metadata.uid.as_ref());
    bound
        && !is_terminal(pod)
        && claims_of(pod).iter().any(|(volume, used)| {
            let mut volumes = spec.volumes.iter().flatten();
            let ephemeral =
                volumes.any(|one| one.name == *volume && one.persistent_volume_claim.is_none());
            Some(used) == claim.metadata.name.as_ref() && (owned || !ephemeral)
        })
}

/// Is there such a pod? The cache may be behind, and data is lost for good: that there is none, the
/// API has to say.
async fn is_claimed(
    kit: &Kit,
    pods: &Store<Pod>,
    claim: &PersistentVolumeClaim,
) -> Result<bool, Error> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    if pods
        .list_in(namespace)
        .iter()
        .any(|pod| is_user(pod, claim))
    {
        return Ok(true);
    }
    let api: Api<Pod> = Api::namespaced(kit.client.clone(), namespace);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.on("list", "pods", || Key::new(namespace, ""))?;
    Ok(listed.items.iter().any(|pod| is_user(pod, claim)))
}

pub(crate) async fn settle<K: Known>(
    api: &Api<K>,
    object: &K,
    finalizers: Option<Vec<String>>,
) -> Result<Requeue, Error> {
    let Some(finalizers) = finalizers else {
        return Ok(Requeue::OnChange);
    };
    match write::merge(api, object, json!({"metadata": {"finalizers": finalizers}})).await {
        Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
        result => result.map(|_| Requeue::OnChange),
    }
}

/// Protects claims, until the shutdown.
pub(crate) async fn run_claims(kit: Kit) {
    let all = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&all).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow_own(&all, &queue);
    kit.follow(&pods, &queue, |change: Change<Pod>| {
        let pod = change.object();
        let ended = change.is_deleted() || is_terminal(pod);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let names = if ended { claims(pod) } else { Vec::new() };
        names
            .iter()
            .map(|name| Key::new(namespace, name))
            .collect::<Vec<_>>()
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, all, pods) = (inner.clone(), all.clone(), pods.clone());
        async move {
            let Some(claim) = all.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let api: Api<PersistentVolumeClaim> =
                Api::namespaced(kit.client.clone(), &key.namespace);
            let in_use = claim.metadata.deletion_timestamp.is_some()
                && is_claimed(&kit, pods.store(), &claim).await?;
            settle(&api, &*claim, finalizers(claim.meta(), CLAIM, || in_use)).await
        }
    })
    .await;
}

/// Protects volumes, until the shutdown.
pub(crate) async fn run_volumes(kit: Kit) {
    let all = kit.informers.get::<PersistentVolume>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&all).await {
        return;
    }
    kit.follow_own(&all, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, all) = (inner.clone(), all.clone());
        async move {
            let Some(volume): Option<Arc<PersistentVolume>> = all.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let bound = || {
                volume
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref())
                    == Some("Bound")
            };
            let api: Api<PersistentVolume> = Api::all(kit.client.clone());
            settle(&api, &*volume, finalizers(volume.meta(), VOLUME, bound)).await
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_finalizer_goes_when_unused() {
        let meta = |deleting: bool, held: &[&str]| ObjectMeta {
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            finalizers: Some(held.iter().map(|name| (*name).to_owned()).collect()),
            ..ObjectMeta::default()
        };
        let cases = [
            (meta(false, &["x"]), false, Some(vec!["x", CLAIM])),
            (meta(false, &[CLAIM]), false, None),
            (meta(true, &[CLAIM, "x"]), true, None),
            (meta(true, &[CLAIM, "x"]), false, Some(vec!["x"])),
            (meta(true, &["x"]), false, None),
        ];
        for (meta, used, expected) in cases {
            let written = finalizers(&meta, CLAIM, || used);
            assert_eq!(
                written,
                expected.map(|names| names.into_iter().map(str::to_owned).collect()),
                "{meta:?}"
            );
        }
    }

    #[test]
    fn a_pod_uses_its_claims() {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {}},
                {"name": "c", "emptyDir": {}},
            ]}}),
        )
        .unwrap();
        assert_eq!(claims(&pod), ["data", "p-b"]);
    }

    #[test]
    fn who_uses_a_claim() {
        let pod = |node: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"},
                "status": {"phase": phase},
                "spec": {"nodeName": node, "containers": [], "volumes": [
                    {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "b", "ephemeral": {}}]}}))
            .unwrap()
        };
        let claim = |name: &str, owner: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]}}))
            .unwrap()
        };
        let cases = [
            ("n", "Running", "data", "x", true),
            ("n", "Pending", "data", "x", true),
            ("n", "Succeeded", "data", "x", false),
            ("", "Pending", "data", "x", false),
            ("n", "Running", "other", "x", false),
            ("n", "Running", "p-b", "u", true),
            ("n", "Running", "p-b", "x", false),
        ];
        for (node, phase, name, owner, expected) in cases {
            let found = is_user(&pod(node, phase), &claim(name, owner));
            assert_eq!(found, expected, "{node} {phase} {name} {owner}");
        }
    }
}
