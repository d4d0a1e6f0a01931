//! Evicts pods whose devices were tainted `NoExecute` and who do not tolerate it, or not any longer
//! (KEP-5055). Taints are those in ResourceSlices.

use std::collections::HashMap;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice};
use kube::Api;
use parking_lot::Mutex;
use serde_json::json;

use super::{claim_name, claims_of};
use crate::error::Error;
use crate::kit::{Kit, until};
use crate::pods::{is_terminal, node_of};
use crate::write;

/// Driver, pool, device.
type Device = (String, String, String);
type Taints = HashMap<Device, Vec<DeviceTaint>>;

/// The taints of devices in the newest generation of each pool.
fn taints(slices: &[Arc<ResourceSlice>]) -> Taints {
    let mut newest: HashMap<(&str, &str), i64> = HashMap::new();
    for slice in slices {
        let pool = &slice.spec.pool;
        let seen = newest.entry((&slice.spec.driver, &pool.name)).or_default();
        *seen = (*seen).max(pool.generation);
    }
    let mut taints = Taints::new();
    for slice in slices {
        let pool = &slice.spec.pool;
        let current = newest.get(&(slice.spec.driver.as_str(), pool.name.as_str()));
        if current != Some(&pool.generation) {
            continue;
        }
        for device in slice.spec.devices.iter().flatten() {
            let bad: Vec<_> = device
                .taints
                .iter()
                .flatten()
                .filter(|taint| taint.effect == "NoExecute")
                .cloned()
                .collect();
            if !bad.is_empty() {
                let key = (
                    slice.spec.driver.clone(),
                    pool.name.clone(),
                    device.name.clone(),
                );
                taints.insert(key, bad);
            }
        }
    }
    taints
}

fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && (exists || value(&toleration.value) == value(&taint.value))
}

/// When a claim's users have to go: never, or at a time. Taints that do not say since when they are
/// there have been since `seen`.
fn deadline(claim: &ResourceClaim, taints: &Taints, seen: Timestamp) -> Option<Timestamp> {
    let allocation = claim.status.as_ref()?.allocation.as_ref()?;
    let results = allocation.devices.as_ref()?.results.as_deref()?;
    let of_result = results.iter().filter_map(|result| {
        let device = (
            result.driver.clone(),
            result.pool.clone(),
            result.device.clone(),
        );
        let tolerations = result.tolerations.as_deref().unwrap_or_default();
        let ends = taints.get(&device)?.iter().filter_map(|taint| {
            let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
            let matching = tolerations
                .iter()
                .filter(|toleration| tolerates(toleration, taint));
            // Tolerated for good, unless all that match say for how long: the shortest counts.
            let mut shortest = None;
            for toleration in matching {
                let seconds = toleration.toleration_seconds?.max(0);
                shortest = Some(shortest.map_or(seconds, |least: i64| least.min(seconds)));
            }
            let stay = SignedDuration::from_secs(shortest.unwrap_or_default());
            since.checked_add(stay).ok()
        });
        ends.min()
    });
    of_result.min()
}

/// May this very pod use the claim? One before it, or after it, may have had its name.
fn is_reserved(claim: &ResourceClaim, pod: &Pod) -> bool {
    let status = claim.status.as_ref();
    let mut reserved = status
        .into_iter()
        .flat_map(|status| status.reserved_for.iter().flatten());
    reserved.any(|one| one.resource == "pods" && Some(&one.uid) == pod.metadata.uid.as_ref())
}

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    /// Pods that will have to go, by uid, and since when that is known.
    waiting: Mutex<HashMap<Key, (Option<String>, Timestamp)>>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get::<Pod>(Scope::All);
    let claims = kit.informers.get::<ResourceClaim>(Scope::All);
    let slices = kit.informers.get::<ResourceSlice>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&pods).await && kit.synced(&claims).await && kit.synced(&slices).await) {
        return;
    }
    kit.follow(&pods, &queue, |change: Change<Pod>| {
        let pod = change.object();
        (!claims_of(pod).is_empty()).then(|| Key::of(&**pod))
    });
    // All pods that use the claims, as many as there may be: 256 for each.
    let users = |claim: &ResourceClaim| {
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        let status = claim.status.clone().unwrap_or_default();
        let reserved = status.reserved_for.unwrap_or_default().into_iter();
        reserved
            .filter(|one| one.resource == "pods")
            .map(move |one| Key::new(&namespace, &one.name))
            .collect::<Vec<_>>()
    };
    kit.follow(&claims, &queue, move |change: Change<ResourceClaim>| {
        users(change.object())
    });
    let all = claims.store().clone();
    kit.follow(&slices, &queue, move |change: Change<ResourceSlice>| {
        let tainted = |slice: &ResourceSlice| {
            let mut devices = slice.spec.devices.iter().flatten();
            devices.any(|device| {
                device
                    .taints
                    .as_ref()
                    .is_some_and(|taints| !taints.is_empty())
            })
        };
        let slice = change.object();
        let matters = tainted(slice) || change.old().is_some_and(|old| tainted(old));
        let driver = &slice.spec.driver;
        let uses = |claim: &ResourceClaim| {
            let allocation = claim
                .status
                .as_ref()
                .and_then(|status| status.allocation.as_ref());
            let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
            let results = devices.and_then(|devices| devices.results.as_deref());
            results
                .unwrap_or_default()
                .iter()
                .any(|result| result.driver == *driver)
        };
        let claims = if matters { all.list() } else { Vec::new() };
        claims
            .iter()
            .filter(|claim| uses(claim))
            .flat_map(|claim| users(claim))
            .collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        pods,
        claims,
        slices,
        waiting: Mutex::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.store().get_key(key) else {
            self.waiting.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let leaving = pod.metadata.deletion_timestamp.is_some();
        if leaving || is_terminal(&pod) || node_of(&pod).is_none() {
            self.waiting.lock().remove(key);
            return Ok(Requeue::OnChange);
        }
        let now = self.kit.now();
        let seen = {
            let waiting = self.waiting.lock();
            let known = waiting.get(key).filter(|(uid, _)| *uid == pod.metadata.uid);
            known.map(|(_, seen)| *seen)
        };
        let taints = taints(&self.slices.store().list());
        let claims = claims_of(&pod).iter().filter_map(|claim| {
            self.claims
                .store()
                .get(&key.namespace, &claim_name(&pod, claim)?)
        });
        let recorder = &self.kit.recorder;
        let tell = |message| {
            let reason = "DeviceTaintManagerEviction";
            recorder.on(&*pod, EventType::Normal, reason, message);
        };
        let Some(at) = claims
            .filter(|claim| is_reserved(claim, &pod))
            .filter_map(|claim| deadline(&claim, &taints, seen.unwrap_or(now)))
            .min()
        else {
            self.waiting.lock().remove(key);
            if seen.is_some() {
                tell("Cancelling deletion");
            }
            return Ok(Requeue::OnChange);
        };
        if at > now {
            let entry = (pod.metadata.uid.clone(), seen.unwrap_or(now));
            self.waiting.lock().insert(key.clone(), entry);
            return Ok(Requeue::After(until(at, now)));
        }
        let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        tell("Marking for deletion");
        let old = pod.status.clone().unwrap_or_default();
        let condition = json!({"type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByDeviceTaintManager",
            "message": "Device Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": self.kit.time()});
        let mut new = write::json_of(&old);
        let mut conditions = new["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|held| held["type"] != "DisruptionTarget");
        conditions.push(condition);
        new["conditions"] = json!(conditions);
        let deleted = async {
            write::status(&api, &*pod, &old, &new).await?;
            write::delete(&api, &*pod, None, None).await
        };
        match deleted.await {
            Err(error) if error.is_not_found() => {}
            result => result?,
        }
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn slice(generation: i64, taints: Value) -> Arc<ResourceSlice> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {
            "driver": "d", "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1},
            "devices": [{"name": "gpu0", "taints": taints}]}}))
            .unwrap(),
        )
    }

    fn claim(tolerations: Value) -> ResourceClaim {
        serde_json::from_value(
            json!({"metadata": {"name": "c"}, "spec": {}, "status": {"allocation": {
            "devices": {"results": [{"driver": "d", "pool": "p", "device": "gpu0", "request": "r",
                "tolerations": tolerations}]}}}}),
        )
        .unwrap()
    }

    #[test]
    fn who_has_to_go_and_when() {
        let now = Timestamp::from_second(1_000).unwrap();
        let taint = |effect: &str| {
            json!([{"key": "broken", "value": "yes", "effect": effect,
            "timeAdded": "1970-01-01T00:10:00Z"}])
        };
        let at = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let for_good = json!([{"key": "broken", "operator": "Exists"}]);
        let a_while = json!([{"key": "broken", "value": "yes", "tolerationSeconds": 500}]);
        let wrong = json!([{"key": "broken", "value": "no"}]);
        let both = json!([{"operator": "Exists", "tolerationSeconds": 5}, {"operator": "Exists"}]);
        let several = json!([{"operator": "Exists", "tolerationSeconds": 50},
            {"operator": "Exists", "tolerationSeconds": 5}]);
        let cases = [
            (taint("NoExecute"), json!([]), at(600)),
            (taint("NoSchedule"), json!([]), None),
            (json!([]), json!([]), None),
            (taint("NoExecute"), for_good, None),
            (taint("NoExecute"), a_while, at(1_100)),
            (taint("NoExecute"), wrong, at(600)),
            (taint("NoExecute"), both, None),
            (taint("NoExecute"), several, at(605)),
        ];
        for (tainted, tolerations, expected) in cases {
            let taints = taints(&[slice(1, tainted.clone())]);
            let found = deadline(&claim(tolerations.clone()), &taints, now);
            assert_eq!(found, expected, "{tainted} {tolerations}");
        }
        let since_unknown = json!([{"key": "broken", "value": "yes", "effect": "NoExecute"}]);
        let timeless = taints(&[slice(1, since_unknown)]);
        let found = deadline(
            &claim(json!([{"operator": "Exists", "tolerationSeconds": 5}])),
            &timeless,
            now,
        );
        assert_eq!(found, at(1_005), "counted from when it was first seen");
        let renewed = taints(&[slice(1, taint("NoExecute")), slice(2, json!([]))]);
        assert!(
            renewed.is_empty(),
            "an older generation of the pool does not count"
        );
    }

    #[test]
    fn a_claim_is_reserved_for_one_pod_not_for_its_name() {
        let pod = crate::testing::pod("p Running");
        let cases = [
            ("uid-p", "pods", true),
            ("other", "pods", false),
            ("uid-p", "podgroups", false),
        ];
        for (uid, resource, expected) in cases {
            let mut claim = claim(json!([]));
            let reserved = json!([{"resource": resource, "name": "p", "uid": uid}]);
            let status = claim.status.as_mut().unwrap();
            status.reserved_for = serde_json::from_value(reserved).unwrap();
            assert_eq!(is_reserved(&claim, &pod), expected, "{uid} {resource}");
        }
    }
}
