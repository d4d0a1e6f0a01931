//! Which volumes are to be attached to which node: VolumeAttachments, which CSI drivers' attachers
//! act upon, and the nodes' lists of attached volumes, which kubelets wait for.

mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::{Change, Index, Informer, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    AttachedVolume, CSIPersistentVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    Taint,
};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use self::plan::{Plan, Wanted, unique_name};
use crate::error::{Error, On};
use crate::kit::{Kit, requeue};
use crate::pods::{by_node, is_terminal, node_of};
use crate::write;

/// The pods that use a volume, by its name.
type Users = BTreeMap<String, Vec<Arc<Pod>>>;

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    by_node: Index<Pod>,
    nodes: Informer<Node>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    attachments: Informer<VolumeAttachment>,
    /// Since when a volume on a node has not been wanted: as many entries as there are attachments
    /// to be undone.
    unwanted: Mutex<HashMap<(String, String), Timestamp>>,
}

fn csi(volume: &PersistentVolume) -> Option<&CSIPersistentVolumeSource> {
    volume.spec.as_ref()?.csi.as_ref()
}

type Shown = (
    Option<Vec<String>>,
    Option<Vec<AttachedVolume>>,
    Option<Vec<Taint>>,
    bool,
);

/// What counts in a node.
fn shown(node: &Node) -> Shown {
    let status = node.status.clone().unwrap_or_default();
    let taints = node.spec.clone().unwrap_or_default().taints;
    let ready = plan::is_ready(node);
    (
        status.volumes_in_use,
        status.volumes_attached,
        taints,
        ready,
    )
}

/// The nodes where pods use the claim.
fn nodes_with(pods: &Informer<Pod>, namespace: &str, claim: &str) -> Vec<Key> {
    let pods = pods.store().list_in(namespace);
    pods.iter()
        .filter(|pod| super::claims_of(pod).iter().any(|(_, name)| name == claim))
        .filter_map(|pod| Some(Key::new("", node_of(pod)?)))
        .collect()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get(Scope::All);
    let controller = Controller {
        by_node: by_node(&pods),
        pods,
        nodes: kit.informers.get(Scope::All),
        claims: kit.informers.get(Scope::All),
        volumes: kit.informers.get(Scope::All),
        drivers: kit.informers.get(Scope::All),
        attachments: kit.informers.get(Scope::All),
        unwanted: Mutex::default(),
        kit: kit.clone(),
    };
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&controller.pods).await
        && kit.synced(&controller.nodes).await
        && kit.synced(&controller.claims).await
        && kit.synced(&controller.volumes).await
        && kit.synced(&controller.drivers).await
        && kit.synced(&controller.attachments).await;
    if !synced {
        return;
    }
    kit.follow(&controller.pods, &queue, |change: Change<Pod>| {
        let pod = change.object();
        let matters = !super::claims_of(pod).is_empty()
            && change.old().is_none_or(|old| {
                node_of(old) != node_of(pod) || is_terminal(old) != is_terminal(pod)
            });
        node_of(pod)
            .filter(|_| matters)
            .map(|node| Key::new("", node))
    });
    kit.follow(&controller.nodes, &queue, |change: Change<Node>| {
        let node = change.object();
        let matters = change.old().is_none_or(|old| shown(old) != shown(node));
        (matters || change.is_deleted()).then(|| Key::of(&**node))
    });
    let pods = controller.pods.clone();
    kit.follow(
        &controller.claims,
        &queue,
        move |change: Change<PersistentVolumeClaim>| {
            let meta = &change.object().metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            nodes_with(&pods, namespace, meta.name.as_deref().unwrap_or_default())
        },
    );
    let (pods, volumes) = (controller.pods.clone(), controller.volumes.clone());
    kit.follow(
        &controller.attachments,
        &queue,
        move |change: Change<VolumeAttachment>| {
            let spec = &change.object().spec;
            let mut nodes = vec![Key::new("", &spec.node_name)];
            if change.is_deleted()
                && let Some(name) = &spec.source.persistent_volume_name
                && let Some(volume) = volumes.store().get("", name)
                && let Some(claim) = volume
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.claim_ref.as_ref())
            {
                // Who waited for it to come free.
                let namespace = claim.namespace.as_deref().unwrap_or_default();
                let claim = claim.name.as_deref().unwrap_or_default();
                nodes.extend(nodes_with(&pods, namespace, claim));
            }
            nodes
        },
    );
    let controller = Arc::new(controller);
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    fn needs_attaching(&self, driver: &str) -> bool {
        let driver = self.drivers.store().get("", driver);
        driver.is_none_or(|driver| driver.spec.attach_required != Some(false))
    }

    /// The volumes that pods on the node use, by name, and who uses them.
    fn wanted(&self, node: &str) -> (BTreeMap<String, Wanted>, Users) {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        let mut users = Users::new();
        let here = self.by_node.get(node);
        for pod in here.iter().filter(|pod| !is_terminal(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            for (_, claim) in super::claims_of(pod) {
                let Some(volume) = self.bound_volume(namespace, &claim) else {
                    continue;
                };
                let Some(source) = csi(&volume) else { continue };
                if !self.needs_attaching(&source.driver) {
                    continue;
                }
                let name = volume.metadata.name.clone().unwrap_or_default();
                users.entry(name.clone()).or_default().push(pod.clone());
                wanted.entry(name.clone()).or_insert_with(|| Wanted {
                    driver: source.driver.clone(),
                    handle: source.volume_handle.clone(),
                    exclusive: is_exclusive(&volume),
                    elsewhere: self
                        .is_elsewhere(&name, node)
                        .then(|| self.users_elsewhere(namespace, &claim, node)),
                });
            }
        }
        (wanted, users)
    }

    fn bound_volume(&self, namespace: &str, claim: &str) -> Option<Arc<PersistentVolume>> {
        let claim = self.claims.store().get(namespace, claim)?;
        let bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
        let name = claim.spec.as_ref()?.volume_name.as_deref()?;
        let volume = self.volumes.store().get("", name)?;
        let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
        (bound && reference.uid == claim.metadata.uid).then_some(volume)
    }

    fn is_elsewhere(&self, volume: &str, node: &str) -> bool {
        let all = self.attachments.store().list();
        all.iter().map(|attachment| &attachment.spec).any(|spec| {
            spec.source.persistent_volume_name.as_deref() == Some(volume) && spec.node_name != node
        })
    }

    /// The pods on other nodes that use the claim.
    fn users_elsewhere(&self, namespace: &str, claim: &str, node: &str) -> Vec<String> {
        let pods = self.pods.store().list_in(namespace);
        let users = pods.iter().filter(|pod| {
            let there = node_of(pod).is_some_and(|other| other != node);
            let mut claims = super::claims_of(pod).into_iter();
            there && !is_terminal(pod) && claims.any(|(_, name)| name == claim)
        });
        users.filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let node = self.nodes.store().get_key(key);
        let (wanted, users) = self.wanted(&key.name);
        let attachments: Vec<_> = self
            .attachments
            .store()
            .list()
            .into_iter()
            .filter(|attachment| *attachment.spec.node_name == *key.name)
            .collect();
        let now = self.kit.now();
        let waited = self.note_unwanted(&key.name, &wanted, &attachments, now);
        let names = |volume: &str| {
            let volume = self.volumes.store().get("", volume)?;
            let source = csi(&volume)?;
            Some(unique_name(&source.driver, &source.volume_handle))
        };
        let plan = plan::plan(
            &key.name,
            node.as_deref(),
            &wanted,
            &attachments,
            names,
            |volume| waited.get(volume).copied().unwrap_or_default(),
        );
        self.execute(node.as_deref(), plan, &users).await
    }

    fn note_unwanted(
        &self,
        node: &str,
        wanted: &BTreeMap<String, Wanted>,
        attachments: &[Arc<VolumeAttachment>],
        now: Timestamp,
    ) -> HashMap<String, Duration> {
        let left: Vec<_> = attachments
            .iter()
            .filter_map(|attachment| attachment.spec.source.persistent_volume_name.clone())
            .filter(|volume| !wanted.contains_key(volume))
            .collect();
        let mut unwanted = self.unwanted.lock();
        unwanted.retain(|(of, volume), _| of != node || left.contains(volume));
        let since = |volume: String| {
            let key = (node.to_owned(), volume.clone());
            let since = *unwanted.entry(key).or_insert(now);
            let waited = Duration::try_from(now.duration_since(since));
            (volume, waited.unwrap_or_default())
        };
        left.into_iter().map(since).collect()
    }

    async fn execute(
        &self,
        node: Option<&Node>,
        plan: Plan,
        users: &Users,
    ) -> Result<Requeue, Error> {
        // The kubelet must not believe in a volume that is being taken away.
        if let (Some(attached), Some(node)) = (plan.attached, node) {
            let api: Api<Node> = Api::all(self.kit.client.clone());
            let old = node.status.clone().unwrap_or_default();
            let mut new = old.clone();
            new.volumes_attached = Some(attached).filter(|all| !all.is_empty());
            write::status(&api, node, &old, &new).await?;
        }
        for (volume, kind, reason, message) in plan.events {
            for pod in users.get(&volume).into_iter().flatten() {
                self.kit.recorder.on(&**pod, kind, reason, message.clone());
            }
        }
        let api: Api<VolumeAttachment> = Api::all(self.kit.client.clone());
        for attachment in plan.create {
            let name = attachment.metadata.name.clone().unwrap_or_default();
            let created = api.create(&PostParams::default(), &attachment).await;
            match created.on("create", "volumeattachment", || Key::new("", &name)) {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        for attachment in plan.delete {
            write::delete(&api, &*attachment, None, None).await?;
        }
        Ok(requeue(plan.again))
    }
}

fn is_exclusive(volume: &PersistentVolume) -> bool {
    let modes = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.access_modes.as_deref());
    !modes
        .unwrap_or_default()
        .iter()
        .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_that_falls_silent_is_looked_at() {
        let node = |ready: &str, beat: &str| -> Node {
            serde_json::from_value(json!({"status": {"volumesInUse": ["v"], "conditions": [
                {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}}))
            .unwrap()
        };
        let (before, after) = ("2026-11-20T10:00:00Z", "2026-11-20T10:05:00Z");
        assert_eq!(shown(&node("True", before)), shown(&node("True", after)));
        assert_ne!(shown(&node("True", before)), shown(&node("Unknown", after)));
    }
}
