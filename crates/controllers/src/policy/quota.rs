//! ResourceQuota: counts anew what a namespace uses. Admission charges writes as they come; this gives
//! back what was deleted, or charged for writes that then failed.

mod custom;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::catalog;
use api::quantity::Quantity;
use api::quota::{scope, usage};
use api::resource::Resource;
use client::controller::Requeue;
use client::informer::{Metadata, Object};
use client::queue::WorkQueue;
use client::{Change, Informer, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use kube::core::{ApiResource, GroupVersionKind};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

/// Every quota is counted anew after this long, as upstream does.
const RECOUNT: Duration = Duration::from_secs(300);
/// Admission charges a quota before the object is stored, and the caches see that later still: a
/// count that comes out lower is believed only when the quota was not charged for so long. Who
/// creates without pause is refused at the limit at last, which is the pause.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a cache of custom resources is waited for until it is asked whether they are served still.
const STILL_SERVED: Duration = Duration::from_secs(2);

struct Controller {
    kit: Kit,
    queue: WorkQueue<Key>,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    /// Other kinds, from the first quota that counts them on; bounded by the kinds there are.
    others: Mutex<HashMap<String, Informer<Metadata>>>,
    customs: custom::Followed,
    /// What custom resources there are: those of a definition that went count for nothing at once, also
    /// while they are served for a moment longer.
    definitions: Informer<Metadata>,
    /// From the first quota that counts devices on.
    devices: OnceLock<Informer<ResourceClaim>>,
    /// The revision of each quota and when it was first seen; one entry per quota counted.
    seen: Mutex<HashMap<Key, (Option<String>, Timestamp)>>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let quotas = kit.informers.get::<ResourceQuota>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let services = kit.informers.get::<Service>(Scope::All);
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let kind = ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions");
    let definitions = kit.informers.metadata(&kind, Scope::All);
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&quotas).await
        && kit.synced(&definitions).await
        && kit.synced(&pods).await
        && kit.synced(&services).await
        && kit.synced(&claims).await;
    if !synced {
        return;
    }
    kit.follow(&quotas, &queue, |change: Change<ResourceQuota>| {
        // Its status is what admission charges and this controller counts: no reason to count again,
        // and a wrong one while what was charged for is not seen yet.
        let quota = change.object();
        let same = change.old().is_some_and(|old| old.spec == quota.spec);
        if same {
            Vec::new()
        } else {
            vec![Key::of(&**quota)]
        }
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        queue: queue.clone(),
        quotas,
        pods,
        services,
        claims,
        others: Mutex::default(),
        customs: custom::Followed::default(),
        definitions,
        devices: OnceLock::new(),
        seen: Mutex::default(),
    });
    controller.follow_definitions();
    controller.follow(&controller.pods, uses_other);
    controller.follow(&controller.services, |old, new| old.spec != new.spec);
    controller.follow(&controller.claims, |old, new| old.spec != new.spec);
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

/// Does the pod use something else than before? That it was bound to a node changes nothing.
fn uses_other(old: &Pod, new: &Pod) -> bool {
    let spec = |pod: &Pod| {
        let mut spec = pod.spec.clone().unwrap_or_default();
        spec.node_name = None;
        spec
    };
    crate::pods::is_terminal(old) != crate::pods::is_terminal(new) || spec(old) != spec(new)
}

/// Does the count give something back?
fn is_lower(quota: &Value, used: &usage::Usage) -> bool {
    let recorded = quota["status"]["used"].as_object();
    recorded.into_iter().flatten().any(|(name, recorded)| {
        used.get(name)
            .is_some_and(|used| *used < Quantity::of(recorded))
    })
}

impl Controller {
    /// How long to wait until the quota will have been as it is for long enough.
    fn unsettled(&self, key: &Key, quota: &ResourceQuota, now: Timestamp) -> Option<Duration> {
        let revision = &quota.metadata.resource_version;
        let mut seen = self.seen.lock();
        let (held, since) = seen
            .entry(key.clone())
            .or_insert_with(|| (revision.clone(), now));
        if held != revision {
            (*held, *since) = (revision.clone(), now);
        }
        let stood = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
        Some(SETTLE.saturating_sub(stood)).filter(|wait| !wait.is_zero())
    }

    /// Has the quotas of a namespace counted when an object there comes or goes, or changes in what it
    /// uses.
    fn follow<K: Object>(
        &self,
        informer: &Informer<K>,
        matters: impl Fn(&K, &K) -> bool + Send + 'static,
    ) {
        self.follow_with(&self.kit, informer, matters);
    }

    /// As [`Self::follow`], until this kit's shutdown.
    fn follow_with<K: Object>(
        &self,
        kit: &Kit,
        informer: &Informer<K>,
        matters: impl Fn(&K, &K) -> bool + Send + 'static,
    ) {
        let quotas = self.quotas.store().clone();
        kit.follow(informer, &self.queue, move |change: Change<K>| {
            let object = change.object();
            // What is new was charged by admission already, but a count that came in between did
            // not see it.
            let counts = change.is_deleted() || change.old().is_none_or(|old| matters(old, object));
            let namespace = object.meta().namespace.as_deref().filter(|_| counts);
            let quotas = namespace
                .map(|namespace| quotas.list_in(namespace))
                .unwrap_or_default();
            quotas
                .iter()
                .map(|quota| Key::of(&**quota))
                .collect::<Vec<_>>()
        });
    }

    /// What is counted of custom resources follows their definitions.
    fn follow_definitions(self: &Arc<Self>) {
        let controller = Arc::downgrade(self);
        self.kit.follow(
            &self.definitions,
            &self.queue,
            move |change: Change<Metadata>| {
                let Some(controller) = controller.upgrade() else {
                    return Vec::new();
                };
                let definition = &change.object().metadata;
                let name = definition.name.as_deref().unwrap_or_default();
                let other = change
                    .old()
                    .is_some_and(|old| old.metadata.generation != definition.generation);
                if change.is_deleted() || other {
                    controller.customs.forget(name);
                }
                let counted = format!("count/{name}");
                let quotas = controller.quotas.store().list();
                let counts = |quota: &&Arc<ResourceQuota>| {
                    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
                    hard.is_some_and(|hard| hard.contains_key(&counted))
                };
                quotas
                    .iter()
                    .filter(counts)
                    .map(|q| Key::of(&**q))
                    .collect()
            },
        );
    }

    /// How many objects of a custom resource there are in a namespace; none when it is not served.
    async fn count(&self, name: &str, namespace: &str) -> Result<Option<usize>, Error> {
        let definition = Key::new("", name);
        if self.definitions.store().get_key(&definition).is_none() {
            self.customs.forget(name);
            return Ok(None);
        }
        let informer = match self.customs.get(name) {
            Some(informer) => informer,
            None => {
                let Some(resource) = custom::resource(&self.kit.client, name).await? else {
                    return Ok(None);
                };
                let informer = self.kit.informers.metadata(&resource, Scope::All);
                let mut kit = self.kit.clone();
                kit.shutdown = self.kit.shutdown.child_token();
                self.follow_with(&kit, &informer, |_, _| false);
                self.customs.hold(name, informer.clone(), kit.shutdown);
                informer
            }
        };
        // Discovery may have told of a resource that was just going: its informer waits for ever.
        loop {
            let synced = tokio::time::timeout(STILL_SERVED, self.kit.synced(&informer)).await;
            if let Ok(synced) = synced {
                return Ok(synced.then(|| informer.store().list_in(namespace).len()));
            }
            if custom::resource(&self.kit.client, name).await?.is_none() {
                self.customs.forget(name);
                return Ok(None);
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        if self.quotas.store().get_key(key).is_none() {
            self.seen.lock().remove(key);
            return Ok(Requeue::OnChange);
        }
        let api: Api<ResourceQuota> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        // As it is now: admission may have charged it since it was last seen.
        let live = api.get_opt(&key.name).await;
        let Some(quota) = live.on("get", "resourcequota", || key.clone())? else {
            return Ok(Requeue::OnChange);
        };
        let value = write::json_of(&quota);
        let mut objects: Vec<(&Resource, Value)> = Vec::new();
        for resource in counted(&value) {
            let core = resource.gvk.group.is_empty();
            match &*resource.plural {
                "pods" if core => {
                    objects.extend(json_in(&self.pods, key).map(|object| (resource, object)))
                }
                "services" if core => {
                    objects.extend(json_in(&self.services, key).map(|object| (resource, object)))
                }
                "persistentvolumeclaims" if core => {
                    objects.extend(json_in(&self.claims, key).map(|object| (resource, object)));
                }
                "resourceclaims" => {
                    let claims = self.device_claims();
                    if !self.kit.synced(claims).await {
                        return Ok(Requeue::OnChange);
                    }
                    objects.extend(json_in(claims, key).map(|object| (resource, object)));
                }
                _ => {
                    let Some(informer) = self.other(resource).await else {
                        return Ok(Requeue::OnChange);
                    };
                    let count = informer.store().list_in(&key.namespace).len();
                    objects.extend((0..count).map(|_| (resource, json!({}))));
                }
            }
        }
        let mut used = recount(&value, &objects);
        for name in custom::names(&value) {
            let counted = self.count(name, &key.namespace).await?;
            let name = format!("count/{name}");
            match counted {
                // No object of a kind without scopes is in one.
                Some(_) if scope::has_any(&value) => {}
                Some(count) => {
                    used.insert(name, Quantity::of(&json!(count.to_string())));
                }
                // What is used of it is not known.
                None => {
                    used.remove(&name);
                }
            }
        }
        let hard = value["spec"]["hard"].clone();
        if is_lower(&value, &used)
            && let Some(wait) = self.unsettled(key, &quota, self.kit.now())
        {
            return Ok(Requeue::After(wait));
        }
        if !is_same(&value, &hard, &used) {
            let used: BTreeMap<_, _> = used
                .iter()
                .map(|(name, amount)| (name, amount.to_string()))
                .collect();
            let new = json!({ "hard": hard, "used": used });
            match write::status(&api, &quota, &quota.status, &new).await {
                Err(error) if error.is_not_found() => return Ok(Requeue::OnChange),
                result => drop(result?),
            }
        }
        Ok(Requeue::After(RECOUNT))
    }

    fn device_claims(&self) -> &Informer<ResourceClaim> {
        self.devices.get_or_init(|| {
            let claims = self.kit.informers.get::<ResourceClaim>(Scope::All);
            self.follow(&claims, |_, _| false);
            claims
        })
    }

    async fn other(&self, resource: &Resource) -> Option<Informer<Metadata>> {
        let name = resource.qualified();
        let known = self.others.lock().get(&name).cloned();
        let informer = match known {
            Some(informer) => informer,
            None => {
                let kind = GroupVersionKind::gvk(
                    &resource.gvk.group,
                    &resource.gvk.version,
                    &resource.gvk.kind,
                );
                let kind = ApiResource::from_gvk_with_plural(&kind, &resource.plural);
                let informer = self.kit.informers.metadata(&kind, Scope::All);
                self.follow(&informer, |_, _| false);
                self.others.lock().insert(name, informer.clone());
                informer
            }
        };
        self.kit.synced(&informer).await.then_some(informer)
    }
}

fn json_in<K: Object + serde::Serialize>(
    informer: &Informer<K>,
    key: &Key,
) -> impl Iterator<Item = Value> {
    informer
        .store()
        .list_in(&key.namespace)
        .into_iter()
        .map(|object| write::json_of(&*object))
}

fn hard(quota: &Value) -> impl Iterator<Item = &str> {
    quota["spec"]["hard"]
        .as_object()
        .into_iter()
        .flat_map(|hard| hard.keys().map(String::as_str))
}

/// The kinds whose objects the quota's names count.
fn counted(quota: &Value) -> Vec<&'static Resource> {
    let catalog = catalog::builtin();
    let mut found: Vec<&'static Resource> = Vec::new();
    for name in hard(quota) {
        let qualified = match name.strip_prefix("count/") {
            Some(qualified) => qualified,
            None if name.ends_with(usage::DEVICES) => "resourceclaims.resource.k8s.io",
            None if name.starts_with("services") => "services",
            None if name.contains("storageclass.storage.k8s.io/") || name == "requests.storage" => {
                "persistentvolumeclaims"
            }
            None => name,
        };
        let resource = catalog
            .resources()
            .find(|resource| resource.namespaced && resource.qualified() == qualified);
        // Everything else is an amount that pods ask for.
        let resource = resource.or_else(|| {
            catalog
                .resource("", "v1", "pods")
                .filter(|_| !name.starts_with("count/"))
        });
        if let Some(resource) = resource
            && !found
                .iter()
                .any(|other| other.qualified() == resource.qualified())
        {
            found.push(resource);
        }
    }
    found
}

/// What the objects use of what the quota limits.
fn recount(quota: &Value, objects: &[(&Resource, Value)]) -> usage::Usage {
    let mut used: usage::Usage = hard(quota)
        .map(|name| (name.to_owned(), Quantity::default()))
        .collect();
    for (resource, object) in objects {
        if !scope::matches(quota, resource, object) {
            continue;
        }
        for (name, amount) in usage::of(resource, object) {
            if let Some(sum) = used.get_mut(&name) {
                *sum += amount;
            }
        }
    }
    used
}

fn is_same(quota: &Value, hard: &Value, used: &usage::Usage) -> bool {
    let recorded = quota["status"]["used"].as_object();
    let count = recorded.map_or(0, serde_json::Map::len);
    quota["status"]["hard"] == *hard
        && count == used.len()
        && used.iter().all(|(name, amount)| {
            recorded
                .and_then(|recorded| recorded.get(name))
                .is_some_and(|recorded| Quantity::of(recorded) == *amount)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_limited_and_in_scope() {
        let quota = json!({"spec": {"hard": {
            "pods": "5", "requests.cpu": "2", "services": "1", "count/deployments.apps": "3", "configmaps": "9",
        }}, "status": {}});
        let kinds: Vec<_> = counted(&quota)
            .iter()
            .map(|resource| resource.qualified())
            .collect();
        assert_eq!(
            kinds,
            ["configmaps", "deployments.apps", "pods", "services"]
        );
        let catalog = catalog::builtin();
        let pods = catalog.resource("", "v1", "pods").unwrap();
        let deployments = catalog.resource("apps", "v1", "deployments").unwrap();
        let pod = |cpu: &str, phase: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}});
        let objects = [
            (pods, pod("100m", "Running")),
            (pods, pod("200m", "Pending")),
            (pods, pod("400m", "Succeeded")),
            (deployments, json!({})),
        ];
        let used = recount(&quota, &objects);
        let text: BTreeMap<_, _> = used
            .iter()
            .map(|(name, amount)| (name.as_str(), amount.to_string()))
            .collect();
        let expected = [
            ("configmaps", "0"),
            ("count/deployments.apps", "1"),
            ("pods", "2"),
            ("requests.cpu", "300m"),
            ("services", "0"),
        ];
        assert_eq!(
            text,
            expected
                .map(|(name, amount)| (name, amount.to_owned()))
                .into()
        );
        let mut recorded = quota.clone();
        recorded["status"] = json!({"hard": quota["spec"]["hard"], "used": text});
        assert!(is_same(&recorded, &quota["spec"]["hard"], &used));
        recorded["status"]["used"]["requests.cpu"] = json!("0.3");
        assert!(
            is_same(&recorded, &quota["spec"]["hard"], &used),
            "the same amount in other words"
        );
        assert!(!is_same(&quota, &quota["spec"]["hard"], &used));
        assert!(!is_lower(&quota, &used) && !is_lower(&recorded, &used));
        recorded["status"]["used"]["pods"] = json!("3");
        assert!(is_lower(&recorded, &used));
        let mut scoped = quota;
        scoped["spec"]["scopes"] = json!(["NotBestEffort"]);
        assert_eq!(recount(&scoped, &objects)["pods"].to_string(), "2");
        scoped["spec"]["scopes"] = json!(["BestEffort"]);
        assert_eq!(recount(&scoped, &objects)["pods"].to_string(), "0");
    }

    #[test]
    fn binding_a_pod_uses_nothing_more() {
        let pod = |text: &str| crate::testing::pod(text);
        let free = pod("p Pending");
        assert!(!uses_other(&free, &pod("p Running node=n ready")));
        assert!(uses_other(&free, &pod("p Succeeded node=n")));
        let mut larger = free.clone();
        larger.spec.as_mut().unwrap().containers[0].resources =
            serde_json::from_value(json!({"requests": {"cpu": "1"}})).unwrap();
        assert!(uses_other(&free, &larger));
    }
}
