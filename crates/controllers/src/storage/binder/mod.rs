//! Claims and volumes brought together.
//!
//! Static volumes are matched here; those to be made are left to external provisioners, which an
//! annotation tells when to start. Classes that wait for a pod are bound by the scheduler, which
//! names the claim in the volume; the rest of the binding is then done here as for any other.

mod matching;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use client::controller::Requeue;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;

pub(super) use self::matching::storage;
use self::plan::Known;
use super::{claim_class, volume_class};
use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Claim(Key),
    Volume(Key),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

struct Controller {
    kit: Kit,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
}

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let name = claim.spec.as_ref()?.volume_name.as_deref()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The claims that wait for a volume, of those `wanted`.
fn waiting(
    claims: &Informer<PersistentVolumeClaim>,
    wanted: impl Fn(&PersistentVolumeClaim) -> bool,
) -> Vec<Task> {
    let all = claims.store().list();
    let phase = |claim: &PersistentVolumeClaim| {
        let status = claim.status.as_ref();
        status.and_then(|status| status.phase.clone())
    };
    all.iter()
        .filter(|claim| phase(claim).as_deref() != Some("Bound") && wanted(claim))
        .map(|claim| Task::Claim(Key::of(&**claim)))
        .collect()
}

/// What a change of a volume concerns: itself, the claim it names, and if it is free, who waits for
/// one.
fn concerned(
    change: &Change<PersistentVolume>,
    claims: &Informer<PersistentVolumeClaim>,
) -> Vec<Task> {
    let volume = change.object();
    let mut tasks = vec![Task::Volume(Key::of(&**volume))];
    let named = |volume: &PersistentVolume| {
        let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
        let namespace = reference.namespace.as_deref()?;
        Some(Key::new(namespace, reference.name.as_deref()?))
    };
    let old = change.old().and_then(|old| named(old));
    tasks.extend(old.into_iter().chain(named(volume)).map(Task::Claim));
    let name = volume.metadata.name.as_deref();
    if change.is_deleted() {
        // Claims bound to it have lost it.
        let bound = claims.store().list();
        let bound = bound.iter().filter(|claim| volume_name(claim) == name);
        tasks.extend(bound.map(|claim| Task::Claim(Key::of(&**claim))));
    } else if named(volume).is_none() {
        tasks.extend(waiting(claims, |claim| match volume_name(claim) {
            Some(wanted) => Some(wanted) == name,
            None => claim_class(claim) == volume_class(volume),
        }));
    }
    tasks
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let volumes = kit.informers.get::<PersistentVolume>(Scope::All);
    let classes = kit.informers.get::<StorageClass>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Task>();
    let synced = kit.synced(&claims).await
        && kit.synced(&volumes).await
        && kit.synced(&classes).await
        && kit.synced(&pods).await;
    if !synced {
        return;
    }
    kit.follow(&claims, &queue, |change: Change<PersistentVolumeClaim>| {
        let claim = change.object();
        let volume = volume_name(claim).map(|name| Task::Volume(Key::new("", name)));
        [Some(Task::Claim(Key::of(&**claim))), volume]
            .into_iter()
            .flatten()
    });
    let all_claims = claims.clone();
    kit.follow(&volumes, &queue, move |change| {
        concerned(&change, &all_claims)
    });
    let all_claims = claims.clone();
    kit.follow(&classes, &queue, move |change: Change<StorageClass>| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        waiting(&all_claims, |claim| {
            let class = claim_class(claim);
            class.is_empty() || class == name
        })
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        claims,
        volumes,
        classes,
        pods,
    });
    kit.run(queue, move |task| {
        let controller = controller.clone();
        async move {
            let result = match task {
                Task::Claim(key) => controller.reconcile_claim(&key).await,
                Task::Volume(key) => controller.reconcile_volume(&key).await,
            };
            match result {
                Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
                result => result.map(|()| Requeue::OnChange),
            }
        }
    })
    .await;
}

impl Controller {
    async fn reconcile_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.store().get_key(key) else {
            return Ok(());
        };
        let pods = self.pods.store().list_in(&key.namespace);
        let waiting_pods: Vec<_> = pods
            .iter()
            .filter(|pod| {
                let claims = super::claims_of(pod);
                crate::pods::node_of(pod).is_none()
                    && !crate::pods::is_terminal(pod)
                    && claims.iter().any(|(_, claim)| *claim == *key.name)
            })
            .filter_map(|pod| pod.metadata.name.clone())
            .collect();
        let plan = plan::claim(
            &claim,
            &Known {
                volumes: &self.volumes.store().list(),
                classes: &self.classes.store().list(),
                waiting_pods: &waiting_pods,
            },
        );
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.kit.client.clone(), &key.namespace);
        let mut changed = plan.patch.is_some();
        if let Some(patch) = plan.patch {
            write::merge(&api, &*claim, patch).await?;
        } else if let Some(volume) = plan.bind {
            return self.bind(&api, &claim, &volume).await;
        } else if let Some(phase) = plan.phase {
            let status = plan::claim_status(&claim, phase, None);
            changed = write::status(&api, &*claim, &claim.status, &Some(status))
                .await?
                .is_some();
        }
        if let Some((kind, reason, message)) = plan.event
            && (changed || !plan.event_on_change)
        {
            self.kit.recorder.on(&*claim, kind, reason, message);
        }
        Ok(())
    }

    /// The four writes of a binding, as far as they are still to be done.
    async fn bind(
        &self,
        api: &Api<PersistentVolumeClaim>,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<(), Error> {
        let volumes: Api<PersistentVolume> = Api::all(self.kit.client.clone());
        let mut volume = volume.clone();
        if let Some(patch) = plan::volume_patch(&volume, claim) {
            volume = write::merge(&volumes, &volume, patch).await?;
        }
        self.set_phase(&volumes, &volume, "Bound").await?;
        let mut claim = claim.clone();
        if let Some(patch) = plan::claim_patch(&claim, &volume) {
            claim = write::merge(api, &claim, patch).await?;
        }
        let status = plan::claim_status(&claim, "Bound", Some(&volume));
        write::status(api, &claim, &claim.status, &Some(status)).await?;
        Ok(())
    }

    async fn set_phase(
        &self,
        api: &Api<PersistentVolume>,
        volume: &PersistentVolume,
        phase: &str,
    ) -> Result<bool, Error> {
        let mut status = volume.status.clone().unwrap_or_default();
        if status.phase.as_deref() != Some(phase) {
            status.phase = Some(phase.to_owned());
            status.message = None;
        }
        let written = write::status(api, volume, &volume.status, &Some(status)).await?;
        Ok(written.is_some())
    }

    /// The claim the volume names, uid included. The cache may lag behind a claim that was made
    /// anew, or not have it yet: before data is given up, the API is asked.
    async fn claim_of(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let reference = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref());
        let Some(reference) = reference else {
            return Ok(None);
        };
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let name = reference.name.as_deref().unwrap_or_default();
        let ours = |claim: &PersistentVolumeClaim| claim.metadata.uid == reference.uid;
        let cached = self.claims.store().get(namespace, name);
        if cached.as_ref().is_some_and(|claim| ours(claim)) {
            return Ok(cached);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.kit.client.clone(), namespace);
        let live = api
            .get_opt(name)
            .await
            .on("get", "persistentvolumeclaim", || Key::new(namespace, name))?;
        Ok(live.filter(ours).map(Arc::new))
    }

    async fn reconcile_volume(&self, key: &Key) -> Result<(), Error> {
        let Some(volume) = self.volumes.store().get_key(key) else {
            return Ok(());
        };
        let claim = self.claim_of(&volume).await?;
        let api: Api<PersistentVolume> = Api::all(self.kit.client.clone());
        let plan = plan::volume(&volume, claim.as_deref());
        let mut object = (*volume).clone();
        if let Some(patch) = plan.patch {
            object = write::merge(&api, &object, patch).await?;
        }
        let changed = match plan.phase {
            Some(phase) => self.set_phase(&api, &object, phase).await?,
            None => true,
        };
        if let Some((kind, reason, message)) = plan.event.filter(|_| changed) {
            self.kit.recorder.on(&*volume, kind, reason, message);
        }
        if let (Some((kind, reason, message)), Some(claim)) = (plan.claim_event, &claim) {
            self.kit.recorder.on(&**claim, kind, reason, message);
        }
        if plan.look_at_claim
            && let Some(reference) = object.spec.and_then(|spec| spec.claim_ref)
        {
            let namespace = reference.namespace.unwrap_or_default();
            let name = reference.name.unwrap_or_default();
            self.reconcile_claim(&Key::new(&namespace, &name)).await?;
        }
        Ok(())
    }
}
