//! The objects that a pod's volumes name, watched until the volumes can be set up.

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::projected;
use crate::{agent::Agent, pods::view::PodView};

/// Changes of one object, whatever its kind.
pub trait Follow: Send {
    /// Waits for the next change.
    fn next(&mut self) -> BoxFuture<'_, ()>;
}

impl<K: Send + Sync + 'static> Follow for client::Subscription<K> {
    fn next(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            client::Subscription::next(self).await;
        })
    }
}

/// The next change of the `index`th; the subscription comes back with it.
pub async fn follow(index: usize, mut object: Box<dyn Follow>) -> (usize, Box<dyn Follow>) {
    object.next().await;
    (index, object)
}

/// Changes of any of the objects.
pub struct Awaited {
    changes: FuturesUnordered<BoxFuture<'static, (usize, Box<dyn Follow>)>>,
}

impl Awaited {
    /// Watches what the pod's volumes name. A node may not watch claims: those are only asked for.
    pub fn new(agent: &Agent, pod: &PodView) -> Self {
        let informers = &agent.context.informers;
        let namespace = pod.namespace();
        let changes = FuturesUnordered::new();
        let add = |object: Box<dyn Follow>| {
            let change: BoxFuture<'static, _> = Box::pin(follow(0, object));
            changes.push(change);
        };
        for volume in pod.spec().volumes.iter().flatten() {
            if let Some(source) = projected::Source::of(volume) {
                for name in source.config_maps() {
                    let informer = informers.one::<ConfigMap>(namespace, name);
                    add(Box::new(informer.subscribe()));
                }
                for name in source.secrets() {
                    let informer = informers.one::<Secret>(namespace, name);
                    add(Box::new(informer.subscribe()));
                }
            }
        }
        Self { changes }
    }

    /// Waits for a change; forever where nothing is named.
    pub async fn changed(&mut self) {
        match self.changes.next().await {
            Some((index, object)) => self.changes.push(Box::pin(follow(index, object))),
            None => std::future::pending().await,
        }
    }
}
