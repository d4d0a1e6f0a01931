//! Keeps a ServiceCIDR from vanishing while addresses are in use that no other one holds (KEP-1880).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR, ServiceCIDRStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use serde_json::json;

use crate::error::Error;
use crate::kit::{Kit, until};
use crate::write;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Whose addresses count.
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Other API servers may still give out addresses of a network that is going for so long.
const GRACE: Duration = Duration::from_secs(10);

fn networks(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let spec = cidr.spec.as_ref();
    let texts = spec
        .and_then(|spec| spec.cidrs.as_deref())
        .unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn address(ip: &IPAddress) -> Option<IpAddr> {
    let labels = ip.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    ip.metadata.name.as_deref().filter(|_| ours)?.parse().ok()
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Add the finalizer, then say it is ready.
    Protect,
    Ready,
    /// Say that addresses are still in use.
    Hold,
    Wait(Duration),
    Release,
}

fn plan(
    cidr: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
    now: Timestamp,
) -> Step {
    let held = cidr
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|name| name == FINALIZER);
    let Some(deleted) = &cidr.metadata.deletion_timestamp else {
        return if held { Step::Ready } else { Step::Protect };
    };
    let others: Vec<IpNet> = all
        .iter()
        .filter(|other| {
            other.metadata.name != cidr.metadata.name && other.metadata.deletion_timestamp.is_none()
        })
        .flat_map(|other| networks(other))
        .collect();
    let own = networks(cidr);
    let covered = own
        .iter()
        .all(|net| others.iter().any(|other| other.contains(net)));
    let orphaned = |ip: &IpAddr| {
        own.iter().any(|net| net.contains(ip)) && !others.iter().any(|net| net.contains(ip))
    };
    let used = addresses
        .iter()
        .filter_map(|ip| address(ip))
        .any(|ip| orphaned(&ip));
    if !covered && used {
        return Step::Hold;
    }
    let waited = Duration::try_from(now.duration_since(deleted.0)).unwrap_or_default();
    if waited < GRACE {
        let end = deleted.0.checked_add(GRACE).unwrap_or(now);
        return Step::Wait(until(end, now));
    }
    Step::Release
}

fn condition(ready: bool, now: Time) -> Condition {
    let (reason, message) = if ready {
        ("", "Kubernetes Service CIDR is ready")
    } else {
        (
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        )
    };
    Condition {
        type_: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
        observed_generation: None,
    }
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let cidrs = kit.informers.get::<ServiceCIDR>(Scope::All);
    let addresses = kit.informers.get::<IPAddress>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&cidrs).await && kit.synced(&addresses).await) {
        return;
    }
    let all = cidrs.store().clone();
    kit.follow(&cidrs, &queue, move |change: Change<ServiceCIDR>| {
        // One that comes or goes may free or bind others.
        let own = Key::of(&**change.object());
        let going = all
            .list()
            .into_iter()
            .filter(|other| other.metadata.deletion_timestamp.is_some());
        going
            .map(|other| Key::of(&*other))
            .chain([own])
            .collect::<Vec<_>>()
    });
    let all = cidrs.store().clone();
    kit.follow(&addresses, &queue, move |change: Change<IPAddress>| {
        let ip = address(change.object());
        let concerned = all.list().into_iter().filter(|cidr| {
            ip.is_some_and(|ip| networks(cidr).iter().any(|net| net.contains(&ip)))
                && cidr.metadata.deletion_timestamp.is_some()
        });
        concerned.map(|cidr| Key::of(&*cidr)).collect::<Vec<_>>()
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, cidrs, addresses) = (inner.clone(), cidrs.clone(), addresses.clone());
        async move {
            match reconcile(&kit, &cidrs, &addresses, &key).await {
                Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
                result => result,
            }
        }
    })
    .await;
}

async fn reconcile(
    kit: &Kit,
    cidrs: &Informer<ServiceCIDR>,
    addresses: &Informer<IPAddress>,
    key: &Key,
) -> Result<Requeue, Error> {
    let Some(cidr) = cidrs.store().get_key(key) else {
        return Ok(Requeue::OnChange);
    };
    let api: Api<ServiceCIDR> = Api::all(kit.client.clone());
    let step = plan(
        &cidr,
        &cidrs.store().list(),
        &addresses.store().list(),
        kit.now(),
    );
    let (object, ready) = match step {
        Step::Wait(wait) => return Ok(Requeue::After(wait)),
        Step::Release => {
            let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
            write::strategic(&api, &*cidr, patch).await?;
            return Ok(Requeue::OnChange);
        }
        Step::Protect => {
            let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
            (write::strategic(&api, &*cidr, patch).await?, true)
        }
        Step::Ready => ((*cidr).clone(), true),
        Step::Hold => ((*cidr).clone(), false),
    };
    let wanted = condition(ready, kit.time());
    let held = object
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    let same = held.iter().any(|held| {
        (&held.type_, &held.status, &held.reason, &held.message)
            == (
                &wanted.type_,
                &wanted.status,
                &wanted.reason,
                &wanted.message,
            )
    });
    if same {
        return Ok(Requeue::OnChange);
    }
    let mut conditions = held;
    conditions.retain(|held| held.type_ != wanted.type_);
    conditions.push(wanted);
    let status = ServiceCIDRStatus {
        conditions: Some(conditions),
    };
    if let Err(error) = write::status(&api, &object, &object.status, &Some(status)).await {
        if ready && !error.is_conflict() {
            let message = "The ServiceCIDR Status can not be set to Ready=True".to_owned();
            kit.recorder.on(
                &object,
                EventType::Warning,
                "KubernetesServiceCIDRError",
                message,
            );
        }
        return Err(error);
    }
    Ok(Requeue::OnChange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_stays_while_it_is_needed() {
        let now = Timestamp::from_second(1_000).unwrap();
        let cidr = |name: &str, net: &str, deleted: Option<i64>| -> Arc<ServiceCIDR> {
            let deleted = deleted.map(|at| Timestamp::from_second(at).unwrap().to_string());
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {"name": name, "finalizers": [FINALIZER],
                "deletionTimestamp": deleted}, "spec": {"cidrs": [net]}}),
                )
                .unwrap(),
            )
        };
        let ip = |name: &str, by: &str| -> Arc<IPAddress> {
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {"name": name, "labels": {MANAGED_BY: by}}}),
                )
                .unwrap(),
            )
        };
        let here = cidr("a", "10.0.0.0/24", None);
        assert_eq!(plan(&here, &[], &[], now), Step::Ready);
        let mut bare = (*here).clone();
        bare.metadata.finalizers = None;
        assert_eq!(plan(&bare, &[], &[], now), Step::Protect);
        let going = cidr("a", "10.0.0.0/24", Some(900));
        let used = [ip("10.0.0.7", ALLOCATOR)];
        assert_eq!(plan(&going, &[], &used, now), Step::Hold);
        assert_eq!(
            plan(&going, &[], &[ip("10.0.0.7", "me")], now),
            Step::Release
        );
        assert_eq!(
            plan(&going, &[], &[ip("10.1.0.7", ALLOCATOR)], now),
            Step::Release
        );
        let wider = [cidr("b", "10.0.0.0/16", None)];
        assert_eq!(plan(&going, &wider, &used, now), Step::Release);
        let also_going = [cidr("b", "10.0.0.0/16", Some(900))];
        assert_eq!(plan(&going, &also_going, &used, now), Step::Hold);
        let just_now = cidr("a", "10.0.0.0/24", Some(996));
        assert_eq!(
            plan(&just_now, &[], &[], now),
            Step::Wait(Duration::from_secs(6))
        );
    }
}
