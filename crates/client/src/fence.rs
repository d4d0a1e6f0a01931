//! The right to write, for as long as a Lease surely holds.
//!
//! A process may be stopped for any time between any two of its steps: by a debugger, by a machine that
//! swaps or is moved. When it goes on it still thinks that it leads, and would send what it had
//! planned. So each write asks here at the last moment, by a clock that went on meanwhile.

use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::transport::with_look;

/// Shared between the one that renews a Lease and those that write because of it.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    /// None while the Lease is not held.
    until: Arc<Mutex<Option<Instant>>>,
}

/// A write that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease to write by is not held any more")]
pub struct Closed;

impl Fence {
    /// The Lease was renewed, and holds until then.
    pub(crate) fn open(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    pub(crate) fn close(&self) {
        *self.until.lock() = None;
    }

    fn admits(&self, method: &Method) -> bool {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        reads
            || self
                .until
                .lock()
                .is_some_and(|until| Instant::now() < until)
    }

    /// The client behind the fence: reads pass, writes only while the Lease holds.
    #[must_use]
    pub fn guard(&self, client: kube::Client) -> kube::Client {
        let fence = self.clone();
        with_look(client, move |request| {
            match fence.admits(request.method()) {
                true => Ok(()),
                false => Err(Closed.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, PostParams};
    use kube::client::Body;
    use tower::BoxError;

    use super::*;
    use crate::transport::in_process;

    #[tokio::test(start_paused = true)]
    async fn writes_pass_only_while_the_lease_holds() {
        let answer = |_: http::Request<Body>| async {
            let map = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#;
            let body = Body::from(map.as_bytes().to_vec());
            Ok::<_, BoxError>(http::Response::new(body))
        };
        let fence = Fence::default();
        let client = fence.guard(in_process(tower::service_fn(answer)));
        let maps: Api<ConfigMap> = Api::namespaced(client, "ns");
        let write = async || {
            let map = ConfigMap::default();
            let created = maps.create(&PostParams::default(), &map).await.is_ok();
            let deleted = maps.delete("a", &DeleteParams::default()).await.is_ok();
            assert_eq!(created, deleted);
            created
        };
        assert!(!write().await, "before the lease is held");
        assert!(maps.get("a").await.is_ok(), "reading is free");
        fence.open(Instant::now() + Duration::from_secs(10));
        assert!(write().await);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(write().await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!write().await, "its time is over");
        fence.open(Instant::now() + Duration::from_secs(10));
        assert!(write().await);
        fence.close();
        assert!(!write().await, "somebody else has it");
    }
}
