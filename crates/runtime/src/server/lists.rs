//! What the list calls answer, at once or streamed: each list is made in one place for both.

use std::{collections::HashMap, sync::Arc};

use cri::v1;
use futures::stream::{self, BoxStream};
use tonic::{Response, Status};

use super::serve::Services;
use crate::{container::record::Container, sandbox::record::Sandbox};

/// Items in one message of a streamed list.
const BATCH: usize = 256;

/// A streamed answer.
pub(super) type Streamed<T> = BoxStream<'static, Result<T, Status>>;

/// Cuts a list into messages, which are made as the caller takes them.
pub(super) fn batches<T, M>(
    items: Vec<T>,
    message: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Result<Response<Streamed<M>>, Status>
where
    T: Send + 'static,
    M: Send + 'static,
{
    let mut items = items.into_iter();
    let list = std::iter::from_fn(move || {
        let batch: Vec<T> = items.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then(|| Ok(message(batch)))
    });
    Ok(Response::new(Box::pin(stream::iter(list))))
}

/// The beginning of an id and the labels that a list is narrowed down to. Empty ones fit all.
struct Narrowing {
    id: String,
    sandbox: String,
    labels: HashMap<String, String>,
}

impl Narrowing {
    fn fits(&self, id: &str, sandbox: &str, labels: &HashMap<String, String>) -> bool {
        id.starts_with(&self.id)
            && sandbox.starts_with(&self.sandbox)
            && (self.labels.iter()).all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl Services {
    fn narrowed_sandboxes(&self, to: &Narrowing) -> Vec<Arc<Sandbox>> {
        let sandboxes = self.runtime().sandboxes.read();
        let fits = |s: &&Arc<Sandbox>| to.fits(&s.id, "", &s.config.lock().labels);
        sandboxes.values().filter(fits).cloned().collect()
    }

    fn narrowed_containers(&self, to: &Narrowing) -> Vec<Arc<Container>> {
        let containers = self.runtime().containers.read();
        let fits = |c: &&Arc<Container>| to.fits(&c.id, &c.sandbox, &c.config.lock().labels);
        containers.values().filter(fits).cloned().collect()
    }

    pub(super) fn sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Vec<v1::PodSandbox> {
        let filter = filter.unwrap_or_default();
        let state = filter.state.map(|wanted| wanted.state);
        let narrowing = Narrowing {
            id: filter.id,
            sandbox: String::new(),
            labels: filter.label_selector,
        };
        self.narrowed_sandboxes(&narrowing)
            .iter()
            .map(|s| self.runtime().sandbox_summary(s))
            .filter(|s| state.is_none_or(|wanted| wanted == s.state))
            .collect()
    }

    pub(super) fn containers(&self, filter: Option<v1::ContainerFilter>) -> Vec<v1::Container> {
        let filter = filter.unwrap_or_default();
        let state = filter.state.map(|wanted| wanted.state);
        let narrowing = Narrowing {
            id: filter.id,
            sandbox: filter.pod_sandbox_id,
            labels: filter.label_selector,
        };
        self.narrowed_containers(&narrowing)
            .iter()
            .map(|c| self.runtime().container_summary(c))
            .filter(|c| state.is_none_or(|wanted| wanted == c.state))
            .collect()
    }

    pub(super) fn containers_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Vec<v1::ContainerStats> {
        let filter = filter.unwrap_or_default();
        let narrowing = Narrowing {
            id: filter.id,
            sandbox: filter.pod_sandbox_id,
            labels: filter.label_selector,
        };
        self.narrowed_containers(&narrowing)
            .iter()
            .filter(|c| c.is_running())
            .map(|c| self.runtime().container_stats(c))
            .collect()
    }

    pub(super) fn sandboxes_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Vec<v1::PodSandboxStats> {
        let filter = filter.unwrap_or_default();
        let narrowing = Narrowing {
            id: filter.id,
            sandbox: String::new(),
            labels: filter.label_selector,
        };
        self.narrowed_sandboxes(&narrowing)
            .iter()
            .filter(|s| s.is_ready())
            .map(|s| self.runtime().sandbox_stats(s))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn long_lists_come_in_several_messages() {
        for (count, messages) in [(0, 0), (1, 1), (256, 1), (257, 2), (600, 3)] {
            let items: Vec<usize> = (0..count).collect();
            let stream = batches(items.clone(), |batch| batch).unwrap().into_inner();
            let told: Vec<Vec<usize>> = stream.map(Result::unwrap).collect().await;
            assert_eq!(told.len(), messages);
            assert_eq!(told.concat(), items);
        }
    }
}
