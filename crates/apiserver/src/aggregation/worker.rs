//! One task per APIService with a Service: looks whether it can be reached when anything about it
//! changes, and now and then besides, says so in its status, and asks what it serves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use futures::FutureExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use serde_json::Value;
use store::{Key, Scope, WatchStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::availability::{Verdict, concluded, judge};
use super::documents::Told;
use super::forward::prove;
use super::{Backend, GROUP};
use crate::authentication::UserInfo;
use crate::http::body::boxed;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, update};
use crate::server::ApiServer;

/// A server that can be reached is looked at again after this: nothing tells when it goes silently.
const AGAIN: Duration = Duration::from_secs(30);
/// One that cannot be reached is looked at again after this, then after twice as long, up to `AGAIN`.
const SOON: Duration = Duration::from_millis(500);
/// Many changes at once are looked at once.
const GATHER: Duration = Duration::from_millis(100);
/// A server that takes longer to tell what it serves is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests at one time that ask whether it is there: one that gets through counts.
const ATTEMPTS: usize = 5;
/// The most that is read of what it tells.
const MAX_TOLD: usize = 32 << 20;

/// Starts the task; it ends with the APIService or the server.
pub(super) fn start(server: Weak<ApiServer>, name: String, ending: CancellationToken) {
    tokio::spawn(async move {
        let mut wait = SOON;
        loop {
            let Some(held) = server.upgrade() else { return };
            let down = held.ending.clone();
            let Some(backend) = held.aggregation.named(&name) else {
                return;
            };
            // Before looking, so that no change in between is missed.
            let mut changes = Changes::of(&held, &backend);
            let available = tokio::select! {
                () = ending.cancelled() => return,
                () = down.cancelled() => return,
                available = look(&held, &backend) => available,
            };
            drop((held, backend));
            let pause = if available {
                wait = SOON;
                AGAIN
            } else {
                let pause = wait;
                wait = (wait * 2).min(AGAIN);
                pause
            };
            tokio::select! {
                () = ending.cancelled() => return,
                () = down.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = changes.next() => {
                    wait = SOON;
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    });
}

/// Changes of the Service and of its EndpointSlices.
struct Changes {
    service: Option<WatchStream>,
    slices: Option<WatchStream>,
    name: String,
    since: Instant,
}

impl Changes {
    fn of(server: &Arc<ApiServer>, backend: &Backend) -> Changes {
        let target = &backend.caller.target;
        let from = server.store.revision();
        let watch = |group: &str, plural: &str, name: Option<String>| {
            let scope = Scope {
                namespace: Some(target.namespace.clone()),
                name,
                ..Scope::default()
            };
            let prefix = Key::prefix_of(group, plural);
            server.store.watch(&prefix, from, scope).ok()
        };
        Changes {
            service: watch("", "services", Some(target.name.clone())),
            slices: watch("discovery.k8s.io", "endpointslices", None),
            name: target.name.clone(),
            since: Instant::now(),
        }
    }

    async fn next(&mut self) {
        // A watch that ended is as good as a change, but must not make the task spin.
        async fn ended(since: Instant) {
            tokio::time::sleep_until(since + Duration::from_secs(1)).await;
        }
        loop {
            let mine = tokio::select! {
                batch = next(&mut self.service) => match batch {
                    Some(_) => true,
                    None => { ended(self.since).await; true }
                },
                batch = next(&mut self.slices) => match batch {
                    Some(events) => events.iter().any(|event| {
                        event.entry.attributes.label("kubernetes.io/service-name") == Some(&self.name)
                    }),
                    None => { ended(self.since).await; true }
                },
            };
            if mine {
                return;
            }
        }
    }
}

async fn next(stream: &mut Option<WatchStream>) -> Option<Vec<Arc<store::Event>>> {
    match stream {
        Some(stream) => stream.next().await.and_then(Result::ok),
        None => None,
    }
}

/// Looks once; says whether the server can be reached.
async fn look(server: &Arc<ApiServer>, backend: &Arc<Backend>) -> bool {
    let objects = &server.objects;
    let Some(api_service) = objects.value(GROUP, "apiservices", "", &backend.name) else {
        return false;
    };
    let target = &backend.caller.target;
    let service = objects.value("", "services", &target.namespace, &target.name);
    let slices: Vec<Value> = objects
        .list(
            "discovery.k8s.io",
            "endpointslices",
            Some(&target.namespace),
        )
        .iter()
        .filter(|slice| slice.attributes.label("kubernetes.io/service-name") == Some(&target.name))
        .filter_map(|slice| serde_json::from_slice(&slice.json).ok())
        .collect();
    let verdict = match judge(&api_service, service.as_deref(), &slices) {
        Some(verdict) => verdict,
        None => {
            let address = service.as_ref().map_or("", |s| s.text("spec.clusterIP"));
            Verdict::of_probe(probe(server, backend, address).await)
        }
    };
    if verdict.available {
        let known = server.aggregation.told(&backend.name);
        let told = Told::ask(server, backend, known.as_deref()).await;
        if known.as_deref() != Some(&told) {
            server.aggregation.tell(&backend.name, told);
        }
    }
    if let Err(status) = conclude(server, backend, &verdict).await
        && status.code != 404
    {
        tracing::warn!(name = backend.name, %status, "write the availability of an APIService");
    }
    verdict.available
}

async fn conclude(
    server: &Arc<ApiServer>,
    backend: &Backend,
    verdict: &Verdict,
) -> Result<(), Status> {
    let endpoint = server.endpoints.get(GROUP, "v1", "apiservices");
    let endpoint = endpoint.ok_or_else(|| Status::internal("APIServices are not served"))?;
    let resource = endpoint.clone();
    let call = Call::internal(server, endpoint, "");
    let name = backend.name.as_str();
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let live = live.ok_or_else(|| Status::not_found(&*resource.resource, name))?;
            Ok(concluded(live, verdict, call.now).unwrap_or_else(|| live.clone()))
        }),
    };
    let options = WriteOptions {
        field_manager: "corten-apiserver".to_owned(),
        ..WriteOptions::default()
    };
    update(&call, name, change, &options).await.map(|_| ())
}

/// Asks for what any server of the group must serve.
async fn probe(
    server: &Arc<ApiServer>,
    backend: &Arc<Backend>,
    address: &str,
) -> Result<(), String> {
    let path = format!("/apis/{}/{}", backend.group, backend.version);
    let url = format!("https://{address}:{}{path}", backend.caller.target.port);
    let failing = |why: String| format!("failing or missing response from {url}: {why}");
    let attempts = (0..ATTEMPTS).map(|_| {
        async {
            let answer = ask(server, backend, &path, &[]).await.map_err(failing)?;
            match answer.code {
                200..=299 => Ok(()),
                code => Err(failing(format!("bad status from {url}: {code}"))),
            }
        }
        .boxed()
    });
    futures::future::select_ok(attempts).await.map(|_| ())
}

/// An answer of an aggregated server to this one.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: bytes::Bytes,
}

/// A GET in this server's own name.
pub(super) async fn ask(
    server: &Arc<ApiServer>,
    backend: &Backend,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Answer, String> {
    let tls = backend.tls.as_ref().map_err(Clone::clone)?;
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let empty = boxed(Empty::<bytes::Bytes>::new());
    let mut request = request.body(empty).map_err(|e| e.to_string())?;
    let user = UserInfo::new("system:kube-aggregator", &["system:masters"]);
    prove(&user, request.headers_mut());
    let work = async {
        let response = server
            .outbound
            .send(&backend.place, tls, request)
            .await
            .map_err(|e| e.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_TOLD).collect().await;
        Ok(Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: body.map_err(|e| e.to_string())?.to_bytes(),
        })
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(answer) => answer,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}
