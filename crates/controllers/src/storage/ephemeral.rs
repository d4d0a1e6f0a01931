//! Claims for pods' generic ephemeral volumes: made when the pod is there, gone with it, since the
//! pod owns them.

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::owner::{controller_of, controller_ref};

/// What an ephemeral volume's claim needs.
#[derive(Debug, PartialEq)]
enum Need {
    Nothing,
    Create(Box<PersistentVolumeClaim>),
    /// Somebody else's claim is in the way.
    Foreign(String),
}

fn need(pod: &Pod, volume: &Volume, existing: Option<&PersistentVolumeClaim>) -> Need {
    let Some(template) = volume
        .ephemeral
        .as_ref()
        .and_then(|source| source.volume_claim_template.as_ref())
    else {
        return Need::Nothing;
    };
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{pod_name}-{}", volume.name);
    if let Some(existing) = existing {
        let ours = controller_of(&existing.metadata)
            .is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
        return if ours {
            Need::Nothing
        } else {
            Need::Foreign(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod_name} (pod is not owner)"
            ))
        };
    }
    let meta = template.metadata.clone().unwrap_or_default();
    Need::Create(Box::new(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![controller_ref(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        ..PersistentVolumeClaim::default()
    }))
}

fn has_ephemeral(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref());
    volumes
        .unwrap_or_default()
        .iter()
        .any(|volume| volume.ephemeral.is_some())
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get::<Pod>(Scope::All);
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&pods).await && kit.synced(&claims).await) {
        return;
    }
    kit.follow(&pods, &queue, |change: Change<Pod>| {
        let pod = change.object();
        let new = change.old().is_none() && !change.is_deleted();
        (new && has_ephemeral(pod)).then(|| Key::of(&**pod))
    });
    kit.follow(&claims, &queue, |change: Change<PersistentVolumeClaim>| {
        // A claim that was deleted under its pod is made again.
        let meta = &change.object().metadata;
        let owner = controller_of(meta).filter(|owner| owner.kind == "Pod")?;
        let namespace = meta.namespace.as_deref()?;
        change
            .is_deleted()
            .then(|| Key::new(namespace, &owner.name))
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, pods, claims) = (inner.clone(), pods.clone(), claims.clone());
        async move {
            let Some(pod) = pods.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            if pod.metadata.deletion_timestamp.is_some() {
                return Ok(Requeue::OnChange);
            }
            let api: Api<PersistentVolumeClaim> =
                Api::namespaced(kit.client.clone(), &key.namespace);
            let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref());
            let mut failure = None;
            for volume in volumes.unwrap_or_default() {
                let name = format!("{}-{}", key.name, volume.name);
                let existing = claims.store().get(&key.namespace, &name);
                let problem = match need(&pod, volume, existing.as_deref()) {
                    Need::Nothing => continue,
                    Need::Foreign(why) => Error::Unusable {
                        kind: "persistentvolumeclaim",
                        key: Key::new(&key.namespace, &name),
                        what: why,
                    },
                    Need::Create(claim) => {
                        let created = api.create(&PostParams::default(), &claim).await;
                        let about = || Key::new(&key.namespace, &name);
                        match created.on("create", "persistentvolumeclaim", about) {
                            Ok(_) => continue,
                            Err(error) if error.is_namespace_terminating() => continue,
                            // It is not in the cache yet: looked at again after a moment.
                            Err(error) => error,
                        }
                    }
                };
                if !problem.is_already_exists() {
                    let why = match &problem {
                        Error::Unusable { what, .. } => what.clone(),
                        other => other.api_message(),
                    };
                    let message = format!("ephemeral volume {}: {why}", volume.name);
                    kit.recorder
                        .on(&*pod, EventType::Warning, "FailedBinding", message);
                }
                failure = Some(problem);
            }
            match failure {
                Some(error) => Err(error),
                None => Ok(Requeue::OnChange),
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_of_the_pods_own() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"accessModes": ["ReadWriteOnce"]}}}},
                {"name": "plain", "emptyDir": {}},
            ]},
        }))
        .unwrap();
        let volumes = pod.spec.as_ref().unwrap().volumes.clone().unwrap();
        let Need::Create(claim) = need(&pod, &volumes[0], None) else {
            panic!()
        };
        assert_eq!(claim.metadata.name.as_deref(), Some("p-scratch"));
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["a"], "b");
        assert_eq!(
            claim.metadata.owner_references.as_ref().unwrap()[0].uid,
            "u"
        );
        assert_eq!(need(&pod, &volumes[0], Some(&claim)), Need::Nothing);
        assert_eq!(need(&pod, &volumes[1], None), Need::Nothing);
        let mut foreign = *claim;
        foreign.metadata.owner_references = None;
        assert_eq!(
            need(&pod, &volumes[0], Some(&foreign)),
            Need::Foreign(
                "PVC ns/p-scratch was not created for pod ns/p (pod is not owner)".into()
            )
        );
    }
}
