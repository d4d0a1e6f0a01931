//! EndpointSlices of Services with a selector.

mod metrics;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use self::metrics::Counted;
use super::packing::Action;
use super::trigger::Triggers;
use super::{Slices, services_of_slice, slice_label, topology};
use crate::discovery;
use crate::error::Error;
use crate::expectations::Expectations;
use crate::kit::{GATHER, Kit};

struct Controller {
    kit: Kit,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    expectations: Expectations,
    triggers: Triggers,
    counted: Counted,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let services = kit.informers.get::<Service>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let slices = kit.informers.get::<EndpointSlice>(Scope::All);
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&services).await
        && kit.synced(&pods).await
        && kit.synced(&nodes).await
        && kit.synced(&slices).await;
    if !synced {
        return;
    }
    kit.follow_own(&services, &queue);
    let chosen = services.store().clone();
    kit.follow_within(GATHER, &pods, &queue, move |change| {
        discovery::services_of(&change, &chosen)
    });
    let hinted = services.store().clone();
    kit.follow_within(GATHER, &nodes, &queue, move |change| {
        let before = change.old().map(|node| topology::share_of(node));
        let after = match &change {
            Change::Applied { new, .. } => topology::share_of(new),
            Change::Deleted(_) => None,
        };
        let services = match before == Some(after) {
            true => Vec::new(),
            false => hinted.list(),
        };
        let services = services.into_iter().filter(|s| topology::is_wanted(s));
        services.map(|s| Key::of(&*s)).collect::<Vec<_>>()
    });
    kit.follow(&slices, &queue, |change: Change<EndpointSlice>| {
        services_of_slice(&change, plan::MANAGER)
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        services,
        pods,
        nodes,
        slices,
        expectations: Expectations::default(),
        triggers: Triggers::default(),
        counted: Counted::new(&kit.metrics),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(service) = self.services.store().get_key(key) else {
            // The garbage collector takes the slices.
            self.expectations.forget(key);
            self.triggers.forget(key);
            self.counted.forget(key);
            return Ok(Requeue::OnChange);
        };
        let has_selector = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.selector.is_some());
        if !has_selector || discovery::backends::is_external_name(&service) {
            self.counted.forget(key);
            return Ok(Requeue::OnChange);
        }
        if let Some(wait) = self
            .expectations
            .outstanding(key, self.slices.store(), self.kit.now())
        {
            return Ok(Requeue::After(wait));
        }
        let nodes = self.nodes.store();
        let (pods, lost): (Vec<_>, Vec<_>) = self
            .pods
            .store()
            .list_in(&key.namespace)
            .into_iter()
            .filter(|pod| discovery::chooses(&service, pod.metadata.labels.as_ref()))
            .partition(|pod| plan::is_placed(&service, pod, |node| nodes.get("", node).is_some()));
        let uid = service.metadata.uid.as_deref().unwrap_or_default();
        let existing: Vec<_> = self
            .slices
            .store()
            .owned_by(uid)
            .into_iter()
            .filter(|slice| {
                slice_label(slice, plan::MANAGER).is_some()
                    && slice.metadata.deletion_timestamp.is_none()
            })
            .collect();
        let zone = |node: &str| {
            let node = self.nodes.store().get("", node)?;
            node.metadata
                .labels
                .as_ref()?
                .get("topology.kubernetes.io/zone")
                .cloned()
        };
        let api: Api<EndpointSlice> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let writer = Slices {
            api,
            key,
            expectations: &self.expectations,
            now: self.kit.now(),
            trigger: Some(self.triggers.look(key, &service, &pods)),
        };
        let nodes = plan::Nodes {
            zone,
            ratios: match topology::is_wanted(&service) {
                true => {
                    let nodes = self.nodes.store().list();
                    topology::ratios(nodes.iter().filter_map(|node| topology::share_of(node)))
                }
                false => BTreeMap::new(),
            },
        };
        let plan::Plan {
            actions,
            notices,
            change,
        } = plan::plan(&service, &pods, &existing, &nodes);
        self.counted.looked(key, change);
        for notice in notices {
            let recorder = &self.kit.recorder;
            recorder.on(&*service, notice.kind, notice.reason, notice.message);
        }
        // A Service on its way out still has its endpoints told, but gets no new slices: the garbage
        // collector is taking those that are there.
        let going = service.metadata.deletion_timestamp.is_some();
        let creates = |action: &Action| matches!(action, Action::Create(_));
        for action in actions
            .into_iter()
            .filter(|action| !going || !creates(action))
        {
            if let Err(error) = writer.execute(action).await {
                if error.is_namespace_terminating() {
                    return Ok(Requeue::OnChange);
                }
                if !error.is_conflict() {
                    self.kit.recorder.on(
                        &*service,
                        EventType::Warning,
                        "FailedToUpdateEndpointSlices",
                        format!(
                            "Error updating Endpoint Slices for Service {key}: {}",
                            error.api_message()
                        ),
                    );
                }
                return Err(error);
            }
        }
        if !lost.is_empty() {
            // The node may be so new that it is not in the cache yet.
            return Ok(Requeue::Backoff);
        }
        Ok(Requeue::OnChange)
    }
}
