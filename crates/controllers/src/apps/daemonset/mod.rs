//! DaemonSet: one pod on every node that fits.

mod fit;
mod plan;
mod surge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::backoff::Backoff;
use client::controller::Requeue;
use client::events::{EventType, reference};
use client::{Change, Informer, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::core::Selector;
use parking_lot::Mutex;

use self::plan::Plan;
use crate::apps::history::{self, History, Revised};
use crate::error::Error;
use crate::expectations::Expectations;
use crate::kit::{Kit, requeue, sooner, until};
use crate::owner::{self, Owner};
use crate::pods;
use crate::write;

/// Between attempts on a node where the pod keeps failing.
const RETRY: Backoff = Backoff {
    initial: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(900),
    jitter: 0.0,
};

impl Owner for DaemonSet {
    fn selector(&self) -> Option<Selector> {
        owner::selector_of(&self.spec.as_ref()?.selector)
    }
}

impl Revised for DaemonSet {
    const LABEL: &'static str = history::HASH_LABEL;
}

/// By node: failures in a row, and when to try again.
type Failures = BTreeMap<String, (u32, Timestamp)>;

struct Controller {
    kit: Kit,
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    revisions: Informer<ControllerRevision>,
    pod_writes: Expectations,
    revision_writes: Expectations,
    /// By DaemonSet. An entry goes with its
    /// DaemonSet, or when the pod of its node runs.
    failures: Mutex<HashMap<Key, Failures>>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let sets = kit.informers.get::<DaemonSet>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let revisions = kit.informers.get::<ControllerRevision>(Scope::All);
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&sets).await
        && kit.synced(&nodes).await
        && kit.synced(&pods).await
        && kit.synced(&revisions).await;
    if !synced {
        return;
    }
    kit.follow_own(&sets, &queue);
    let owners = sets.store().clone();
    kit.follow(&pods, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let owners = sets.store().clone();
    kit.follow(&revisions, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let all = sets.store().clone();
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let fits = |node: &Node| {
            (
                node.metadata.labels.clone(),
                node.spec.as_ref().and_then(|spec| spec.taints.clone()),
            )
        };
        let same = change
            .old()
            .is_some_and(|old| fits(old) == fits(change.object()));
        let sets = if same { Vec::new() } else { all.list() };
        sets.iter().map(|set| Key::of(&**set)).collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        sets,
        nodes,
        pods,
        revisions,
        pod_writes: Expectations::default(),
        revision_writes: Expectations::default(),
        failures: Mutex::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(set) = self.sets.store().get_key(key) else {
            self.pod_writes.forget(key);
            self.revision_writes.forget(key);
            self.failures.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let Some(selector) = set.selector() else {
            let message =
                "This daemon set is selecting all pods. A non-empty selector is required.";
            self.kit
                .recorder
                .on(&*set, EventType::Warning, "SelectingAll", message);
            return Ok(Requeue::OnChange);
        };
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let now = self.kit.now();
        if let Some(wait) = self
            .revision_writes
            .outstanding(key, self.revisions.store(), now)
        {
            return Ok(Requeue::After(wait));
        }
        if let Some(wait) = self.pod_writes.outstanding(key, self.pods.store(), now) {
            return Ok(Requeue::After(wait));
        }
        let Some(spec) = &set.spec else {
            return Ok(Requeue::OnChange);
        };
        let collisions = set
            .status
            .as_ref()
            .and_then(|status| status.collision_count);
        let history = history::sync(
            &self.kit,
            &*set,
            &selector,
            &spec.template,
            collisions,
            self.revisions.store(),
            &self.revision_writes,
        )
        .await?;
        let Some(history) = history else {
            return Ok(Requeue::OnChange);
        };
        let pods = owner::claimed(&self.kit, &*set, &selector, self.pods.store()).await?;
        let hash = history::hash_of::<DaemonSet>(&history.current)
            .unwrap_or_default()
            .to_owned();
        let mut plan = plan::plan(&set, &self.nodes.store().list(), &pods, &hash, now);
        if history.collisions.is_some() {
            // Another template has this hash: first the count that changes ours, then pods.
            plan = Plan {
                status: plan.status,
                ..Plan::default()
            };
            plan.status.collision_count = history.collisions;
        }
        self.execute(key, &set, plan, &hash, &history, &pods).await
    }

    async fn execute(
        &self,
        key: &Key,
        set: &DaemonSet,
        mut plan: Plan,
        hash: &str,
        history: &History,
        pods: &[Arc<Pod>],
    ) -> Result<Requeue, Error> {
        let retry = self.retry_ended(key, set, &mut plan, pods);
        let about = reference(set);
        let delete = |pod: Arc<Pod>| {
            let about = &about;
            async move {
                pods::delete(&self.kit, about, &pod).await?;
                self.pod_writes.deleted(key, &*pod, self.kit.now());
                Ok::<_, Error>(())
            }
        };
        let deleted = futures::future::join_all(plan.delete.into_iter().map(delete)).await;
        let create = |node: String| {
            let about = &about;
            async move {
                let Some(pod) = daemon(set, &node, hash) else {
                    return Ok(());
                };
                let created = pods::create(&self.kit, about, &pod).await?;
                self.pod_writes.wrote(key, &created, self.kit.now());
                Ok(())
            }
        };
        let failed = pods::slow_start(plan.create, create).await.1;
        let api: Api<DaemonSet> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, set, &set.status, &Some(plan.status)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let limit = set
            .spec
            .as_ref()
            .and_then(|spec| spec.revision_history_limit)
            .unwrap_or(10);
        let in_use = |revision: &ControllerRevision| {
            let hash = history::hash_of::<DaemonSet>(revision);
            pods.iter().any(|pod| {
                let labels = pod.metadata.labels.as_ref();
                labels
                    .and_then(|labels| labels.get(history::HASH_LABEL))
                    .map(String::as_str)
                    == hash
            })
        };
        history::prune(&self.kit, &key.namespace, &history.old, limit, true, in_use).await?;
        for result in deleted {
            result?;
        }
        match failed {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(requeue(sooner(plan.again, retry))),
        }
    }

    /// Lets ended pods be deleted (and so replaced) at a slowing pace per node.
    fn retry_ended(
        &self,
        key: &Key,
        set: &DaemonSet,
        plan: &mut Plan,
        pods: &[Arc<Pod>],
    ) -> Option<Duration> {
        let now = self.kit.now();
        let mut all = self.failures.lock();
        let failures = all.entry(key.clone()).or_default();
        for pod in pods.iter().filter(|pod| pods::is_ready(pod)) {
            failures.remove(fit::node_of(pod).unwrap_or_default());
        }
        let mut again = None;
        for (pod, node) in std::mem::take(&mut plan.ended) {
            let (attempts, next) = failures.get(&node).copied().unwrap_or((0, now));
            if next > now {
                again = sooner(again, Some(until(next, now)));
                continue;
            }
            let delay = RETRY.delay(attempts, &*self.kit.random);
            let later = jiff::SignedDuration::try_from(delay)
                .ok()
                .and_then(|delay| now.checked_add(delay).ok());
            failures.insert(node.clone(), (attempts + 1, later.unwrap_or(now)));
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let (kind, reason, what) = match pods::phase(&pod) {
                "Succeeded" => (EventType::Normal, "SucceededDaemonPod", "succeeded"),
                _ => (EventType::Warning, "FailedDaemonPod", "failed"),
            };
            let message = format!(
                "Found {what} daemon pod {}/{name} on node {node}, will try to {} it",
                key.namespace,
                if what == "failed" { "kill" } else { "delete" }
            );
            self.kit.recorder.on(set, kind, reason, message);
            plan.delete.push(pod);
        }
        if failures.is_empty() {
            all.remove(key);
        }
        again
    }
}

/// The pod for a node.
fn daemon(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let template = &set.spec.as_ref()?.template;
    let name = set.metadata.name.as_deref()?;
    let namespace = set.metadata.namespace.as_deref()?;
    let mut pod = pods::from_template(
        template,
        namespace,
        &pods::name_prefix(name),
        owner::controller_ref(set),
    );
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(history::HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = plan::generation(set) {
        labels.insert(plan::GENERATION_LABEL.to_owned(), generation.to_owned());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(fit::with_daemon_tolerations(spec));
    fit::tie(spec, node);
    Some(pod)
}
