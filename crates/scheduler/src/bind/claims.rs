//! Execute: what was decided about a pod's resource claims (DynamicResources' PreBind, and what
//! undoes it).

use std::{sync::Arc, time::Duration};

use client::{
    Change, Context, Scope,
    events::{EventType, reference},
};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    cache::PodInfo,
    plugins::devices::{
        extended::Mappings,
        plugin::{Attachment, Released, attachment},
    },
};

/// Held by claims that have devices.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Tries of a write that others got in the way of.
const TRIES: usize = 5;

/// What has to be written into one claim.
#[derive(Clone, Debug)]
pub struct ClaimStep {
    /// The claim, as it was when the pod was placed.
    pub claim: Arc<ResourceClaim>,
    /// The devices it gets; none where it has some already.
    pub allocation: Option<Arc<AllocationResult>>,
    /// It is made up for the pod's extended resources and does not exist yet.
    pub made_for: Option<Mappings>,
}

fn api(context: &Context, pod: &PodInfo) -> Api<ResourceClaim> {
    Api::namespaced(context.client.clone(), pod.namespace())
}

fn name(claim: &ResourceClaim) -> &str {
    claim.metadata.name.as_deref().unwrap_or_default()
}

fn conflicts(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Writes allocations and reservations, and waits for devices that have to be attached first, but
/// no longer than `patience`. What was reserved is given back where it ends badly.
pub async fn prepare(
    context: &Context,
    pod: &Arc<PodInfo>,
    steps: &[&ClaimStep],
    node: &str,
    patience: Duration,
) -> Result<(), String> {
    let mut written = Vec::new();
    for step in steps {
        match write(context, pod, step).await {
            Ok(claim) => written.push((claim, step.made_for.is_some())),
            Err(why) => {
                give_back(context, pod, &written, false).await;
                return Err(why);
            }
        }
    }
    let waiting = written.iter().map(|(claim, _)| claim);
    let waiting: Vec<&ResourceClaim> = waiting
        .filter(|claim| attachment(claim) != Attachment::Done)
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    context.recorder.event(
        reference(&*pod.pod),
        EventType::Normal,
        "BindingConditionsPending",
        format!("waiting for binding conditions for device on node {node}"),
    );
    let left = left(&waiting, patience, context.clock.now());
    let attached = tokio::time::timeout(left, attached(context, pod, &waiting)).await;
    let outcome = attached.unwrap_or_else(|_| Err("device binding timeout".to_owned()));
    if outcome.is_err() {
        give_back(context, pod, &written, true).await;
    }
    outcome
}

/// How long devices may still take: `patience` begins with their allocation, which an earlier try of
/// the pod, or an earlier life of the scheduler, may have made.
fn left(waiting: &[&ResourceClaim], patience: Duration, now: jiff::Timestamp) -> Duration {
    let since = waiting.iter().filter_map(|claim| {
        let allocation = claim.status.as_ref()?.allocation.as_ref()?;
        let since = now.duration_since(allocation.allocation_timestamp.as_ref()?.0);
        Duration::try_from(since).ok()
    });
    patience.saturating_sub(since.max().unwrap_or_default())
}

/// Waits until the devices of these claims are attached.
async fn attached(
    context: &Context,
    pod: &PodInfo,
    waiting: &[&ResourceClaim],
) -> Result<(), String> {
    let claims = context.informers.get::<ResourceClaim>(Scope::All);
    let mut changes = claims.subscribe();
    loop {
        let mut all = true;
        for claim in waiting {
            let seen = claims.store().get(pod.namespace(), name(claim));
            match seen.as_deref().map(attachment) {
                Some(Attachment::Failed) => {
                    return Err(format!("device binding failed: claim={}", name(claim)));
                }
                Some(Attachment::Done) => {}
                _ => all = false,
            }
        }
        if all {
            return Ok(());
        }
        let (Change::Applied { .. } | Change::Deleted(_)) = changes.next().await;
    }
}

async fn write(
    context: &Context,
    pod: &PodInfo,
    step: &ClaimStep,
) -> Result<ResourceClaim, String> {
    let api = api(context, pod);
    let mut claim = (*step.claim).clone();
    if step.made_for.is_some() {
        claim.metadata.uid = None;
        let made = api.create(&PostParams::default(), &claim).await;
        claim = made.map_err(|e| format!("create claim for extended resources: {e}"))?;
    }
    let mut tries = 0;
    let claim = loop {
        match try_write(context, &api, pod, step, claim).await? {
            Ok(claim) => break claim,
            Err(error) if tries == TRIES || !conflicts(&error) => {
                let what = match step.allocation {
                    Some(_) => "allocation and reservation",
                    None => "reservation",
                };
                let key = format!("{}/{}", pod.namespace(), name(&step.claim));
                return Err(format!("add {what} to claim {key}: {error}"));
            }
            Err(_) => {
                tries += 1;
                let latest = api.get(name(&step.claim)).await;
                claim = latest.map_err(|e| {
                    let name = name(&step.claim);
                    format!("get updated claim {name} after conflict: {e}")
                })?;
            }
        }
    };
    if let Some(mappings) = &step.made_for {
        let status = json!({"metadata": {"uid": &*pod.uid}, "status": {"extendedResourceClaimStatus": {
            "requestMappings": mappings, "resourceClaimName": name(&claim),
        }}});
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), pod.namespace());
        let params = PatchParams::default();
        pods.patch_status(pod.name(), &params, &Patch::Strategic(&status))
            .await
            .map_err(|e| format!("update pod {} ExtendedResourceClaimStatus: {e}", pod.key))?;
    }
    Ok(claim)
}

/// One try; the outer error is final.
async fn try_write(
    context: &Context,
    api: &Api<ResourceClaim>,
    pod: &PodInfo,
    step: &ClaimStep,
    mut claim: ResourceClaim,
) -> Result<Result<ResourceClaim, kube::Error>, String> {
    let key = format!("{}/{}", pod.namespace(), name(&claim));
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("claim {key} got deleted in the meantime"));
    }
    let params = PostParams::default();
    let mut status = claim.status.clone().unwrap_or_default();
    match (&step.allocation, &status.allocation) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "claim {key} got allocated elsewhere in the meantime"
            ));
        }
        (None, None) => {
            return Err(format!(
                "claim {key} got deallocated elsewhere in the meantime"
            ));
        }
        (None, Some(_)) => {}
        (Some(allocation), None) => {
            let finalizers = claim.metadata.finalizers.get_or_insert_default();
            if !finalizers.iter().any(|f| f == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
                match api.replace(name(&claim), &params, &claim).await {
                    Ok(updated) => claim = updated,
                    Err(error) => return Ok(Err(error)),
                }
            }
            status.allocation = Some(named(context, allocation));
        }
    }
    let reserved = status.reserved_for.get_or_insert_default();
    if !reserved.iter().any(|r| *r.uid == *pod.uid) {
        reserved.push(ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid.to_string(),
        });
    } else if step.allocation.is_none() {
        // It has all that it needs.
        return Ok(Ok(claim));
    }
    if let Some(allocation) = &mut status.allocation
        && allocation.allocation_timestamp.is_none()
    {
        let now = context.clock.now();
        allocation.allocation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    }
    claim.status = Some(status);
    Ok(api.replace_status(name(&claim), &params, &claim).await)
}

/// The allocation, each share of a device with a name of its own.
fn named(context: &Context, allocation: &AllocationResult) -> AllocationResult {
    let mut allocation = allocation.clone();
    let devices = allocation.devices.as_mut();
    let results = devices.and_then(|d| d.results.as_mut());
    for result in results.into_iter().flatten() {
        if result.share_id.is_some() {
            let (a, b) = (context.random.next(), context.random.next());
            // A version 4 UUID.
            result.share_id = Some(format!(
                "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
                a >> 32,
                a >> 16 & 0xffff,
                a & 0xfff,
                b >> 48 & 0x3fff | 0x8000,
                b & 0xffff_ffff_ffff
            ));
        }
    }
    allocation
}

/// The pod is not bound after all: its reservations are void, and with `devices` the devices go back
/// too where nobody else has reserved them.
async fn give_back(
    context: &Context,
    pod: &PodInfo,
    claims: &[(ResourceClaim, bool)],
    devices: bool,
) {
    for (claim, made) in claims {
        let outcome = if *made {
            delete(context, pod, claim).await
        } else if devices && is_alone(claim, pod) {
            deallocate(context, pod, claim).await
        } else {
            unreserve(context, pod, claim).await
        };
        if let Err(error) = outcome {
            // The claim controller takes reservations back as well, when the pod is gone.
            tracing::warn!(claim = name(claim), %error, "reservation not given back");
        }
    }
}

/// The pod could not be bound after [`prepare`].
pub async fn undo(context: &Context, pod: &PodInfo, steps: &[&ClaimStep]) {
    let claims = context.informers.get::<ResourceClaim>(Scope::All);
    for step in steps.iter().filter(|step| step.made_for.is_none()) {
        let claim = claims.store().get(pod.namespace(), name(&step.claim));
        let claim = claim.unwrap_or_else(|| step.claim.clone());
        give_back(context, pod, &[((*claim).clone(), false)], false).await;
    }
}

fn is_alone(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    let reserved = claim.status.as_ref().and_then(|s| s.reserved_for.as_ref());
    reserved.into_iter().flatten().all(|r| *r.uid == *pod.uid)
}

async fn unreserve(
    context: &Context,
    pod: &PodInfo,
    claim: &ResourceClaim,
) -> Result<(), kube::Error> {
    let patch = json!({
        "metadata": {"uid": claim.metadata.uid},
        "status": {"reservedFor": [{"$patch": "delete", "uid": &*pod.uid}]},
    });
    let params = PatchParams::default();
    let outcome = api(context, pod)
        .patch_status(name(claim), &params, &Patch::Strategic(&patch))
        .await;
    outcome.map(drop)
}

async fn deallocate(
    context: &Context,
    pod: &PodInfo,
    claim: &ResourceClaim,
) -> Result<(), kube::Error> {
    let mut claim = claim.clone();
    if let Some(status) = &mut claim.status {
        (status.allocation, status.reserved_for, status.devices) = (None, None, None);
    }
    let params = PostParams::default();
    let outcome = api(context, pod)
        .replace_status(name(&claim), &params, &claim)
        .await;
    outcome.map(drop)
}

async fn delete(
    context: &Context,
    pod: &PodInfo,
    claim: &ResourceClaim,
) -> Result<(), kube::Error> {
    let api = api(context, pod);
    let mut claim = claim.clone();
    for _ in 0..TRIES {
        let finalizers = claim.metadata.finalizers.get_or_insert_default();
        finalizers.retain(|f| f != FINALIZER);
        let params = PostParams::default();
        match api.replace(name(&claim), &params, &claim).await {
            Err(error) if conflicts(&error) => claim = api.get(name(&claim)).await?,
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    let outcome = api.delete(name(&claim), &DeleteParams::default()).await;
    outcome.map(drop)
}

/// Gives up what stands in the way of a pod that fits nowhere.
pub async fn release(
    context: &Context,
    pod: &PodInfo,
    released: &Released,
) -> Result<(), kube::Error> {
    match released {
        Released::Nothing | Released::Still => Ok(()),
        Released::Deallocate(claim) => deallocate(context, pod, claim).await,
        Released::Delete(claim) => delete(context, pod, claim).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_begins_with_the_allocation() {
        let now: jiff::Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let claim = |since: Option<&str>| -> ResourceClaim {
            let allocation = json!({"allocationTimestamp": since});
            let claim = json!({"metadata": {}, "spec": {}, "status": {"allocation": allocation}});
            serde_json::from_value(claim).unwrap()
        };
        let patience = Duration::from_secs(600);
        for (since, want) in [
            (Some("2026-01-01T00:10:00Z"), 600),
            (Some("2026-01-01T00:04:00Z"), 240),
            (Some("2025-12-31T00:00:00Z"), 0),
            (Some("2026-01-01T00:11:00Z"), 600),
            (None, 600),
        ] {
            let claim = claim(since);
            let got = left(&[&claim], patience, now);
            assert_eq!(got, Duration::from_secs(want), "{since:?}");
        }
    }
}
