//! The one order: request info → authenticate → audit → impersonate → flow-control → authorize →
//! the registry (decode → admit → validate → store → encode).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::status::Status;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use parking_lot::Mutex;

use super::accept::{self, Accept, Encoding, Shape};
use super::info::{self, RequestInfo};
use super::query::Query;
use crate::aggregation;
use crate::audit::{Annotations, Source, Trail};
use crate::authentication::service_account::Live;
use crate::authentication::{Peer, UserInfo, impersonation};
use crate::authorization::{self, Attributes, Decision};
use crate::endpoint::Endpoint;
use crate::flow::Class;
use crate::flow::estimate::{self, Work};
use crate::http::body::{self, Body, ReadError, RequestBody};
use crate::http::websocket;
use crate::registry::call::Call;
use crate::server::{ApiServer, new_uid};
use crate::{discovery, proxy, registry};

/// The largest request body, as upstream's.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// A body that takes longer to come is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// A request that does not wait by its nature (watch, proxy) is given up after this long.
pub(crate) const REQUEST_PATIENCE: Duration = Duration::from_secs(60);
const AUDIT_ID: header::HeaderName = header::HeaderName::from_static("audit-id");
/// Paths anybody may read.
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// What is told of a request when it is over.
#[derive(Default)]
struct Record {
    accept: Accept,
    /// The uids of FlowSchema and PriorityLevelConfiguration.
    flow: Option<(HeaderValue, HeaderValue)>,
    info: RequestInfo,
    annotations: Arc<Annotations>,
    /// For the audit log; none where nothing is told.
    trail: Option<Arc<Trail>>,
}

/// How a request came in.
struct Arrival<'a> {
    peer: &'a Peer,
    agent: &'a str,
    id: &'a str,
    received: jiff::Timestamp,
}

/// The longest identifier that a client may give its request.
const MAX_ID: usize = 64;

impl ApiServer {
    /// Deals with one request, whatever way it came in.
    pub fn handle(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let started = Instant::now();
            let id = match text(request.headers(), AUDIT_ID) {
                given if !given.is_empty() && given.len() <= MAX_ID => given.to_owned(),
                _ => new_uid(&self.config.random),
            };
            let agent = text(request.headers(), header::USER_AGENT).to_owned();
            let pretty = request
                .uri()
                .query()
                .is_some_and(|q| q.contains("pretty=true") || q.contains("pretty=1"));
            let zipped = text(request.headers(), header::ACCEPT_ENCODING).contains("gzip");
            let mut record = Record::default();
            let arrival = Arrival {
                peer: &peer,
                agent: &agent,
                id: &id,
                received: self.clock.now(),
            };
            let outcome = AssertUnwindSafe(self.steps(request, &arrival, &mut record))
                .catch_unwind()
                .await;
            let trail = record.trail.take();
            let mut response = match outcome {
                Ok(Ok(response)) => match trail {
                    Some(trail) => trail.answered(response, None),
                    None => response,
                },
                Ok(Err(status)) => {
                    let response = registry::failure(&status, record.accept, pretty);
                    match trail {
                        Some(trail) => trail.answered(response, Some(&status)),
                        None => response,
                    }
                }
                Err(panic) => {
                    let what = panic_text(&*panic);
                    tracing::error!(path = %record.info.path, what, "a handler panicked");
                    if let Some(trail) = trail {
                        trail.panicked(what);
                    }
                    registry::failure(
                        &Status::internal("the handler failed"),
                        record.accept,
                        pretty,
                    )
                }
            };
            let headers = response.headers_mut();
            if let Ok(id) = HeaderValue::from_str(&id) {
                headers.insert(AUDIT_ID, id);
            }
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-cache, private"));
            if let Some((schema, level)) = record.flow.take() {
                headers.insert("x-kubernetes-pf-flowschema-uid", schema);
                headers.insert("x-kubernetes-pf-prioritylevel-uid", level);
            }
            let code = response.status().as_u16();
            self.metrics.request(&record.info, code, started.elapsed());
            // Between processes of one machine the network is free and the processor is not.
            let far = matches!(&peer, Peer::Remote { address, .. } if !address.ip().is_loopback());
            if zipped && far {
                crate::http::body::zip(response)
            } else {
                response
            }
        })
    }

    async fn steps(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        arrival: &Arrival<'_>,
        record: &mut Record,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let query_text = parts.uri.query().unwrap_or("");
        if path.len() + query_text.len() > info::MAX_PATH {
            return Err(Status::other(
                414,
                "RequestURITooLong",
                "the request's URI is too long",
            ));
        }
        let query = Query::parse(query_text);
        let mut info = info::parse(&parts.method, path, &query);
        let endpoint = info
            .is_resource
            .then(|| {
                self.endpoints
                    .get(&info.group, &info.version, &info.resource)
            })
            .flatten();
        let shapes: &[Shape] = match &endpoint {
            _ if !info.is_resource => &[Shape::Discovery],
            // What does not rest has no columns and no metadata worth showing.
            Some(endpoint) if !endpoint.stored && info.verb == "create" => &[],
            _ => &[Shape::Table, Shape::Metadata],
        };
        let wanted = accept::negotiate(
            parts
                .headers
                .get(header::ACCEPT)
                .and_then(|v| v.to_str().ok()),
            shapes,
        );
        record.accept = wanted.unwrap_or_default();
        record.info = info.clone();

        let user = self.who(&parts, &info, arrival, record)?;
        let attributes = asked(&user, &info, query.get("fieldSelector").unwrap_or(""));
        let waits = waits(&info, &query);
        let writes = !matches!(info.verb, "get" | "list" | "watch" | "head" | "options");
        let place = if waits {
            None
        } else {
            let class = self.flow.classify(&attributes);
            record.flow = Some((class.schema_uid.clone(), class.level_uid.clone()));
            let work = self.work(&info, &query, endpoint.as_deref(), &class);
            Some(self.flow.enter(class, &attributes, work).await?)
        };
        self.authorize(&attributes, record.trail.as_deref())?;

        let elsewhere = if info.is_resource {
            self.aggregation.get(&info.group, &info.version)
        } else {
            self.aggregation.of_path(&info.path)
        };
        if let Some(backend) = elsewhere {
            let forwarded = aggregation::forward::forward(self, &backend, &user, parts, body);
            return Box::pin(forwarded).await;
        }
        if !info.is_resource {
            return Box::pin(discovery::answer(self, &parts, &info, &query, wanted)).await;
        }
        let endpoint = endpoint.ok_or_else(Status::no_resource)?;
        if endpoint.resource.namespaced
            && info.namespace.is_empty()
            && !matches!(info.verb, "list" | "watch" | "deletecollection")
        {
            return Err(Status::no_resource());
        }
        if !endpoint.resource.namespaced && info.resource != "namespaces" {
            if !info.namespace.is_empty() {
                return Err(Status::no_resource());
            }
            info.namespace.clear();
        }
        let wanted = match wanted {
            // Types made at run time have no protobuf form; their metadata has.
            Some(accept)
                if accept.encoding == Encoding::Protobuf
                    && accept.shape == Shape::Object
                    && info.subresource != "scale"
                    && !endpoint.resource.types.is_builtin() =>
            {
                accept::negotiate(accept::without_protobuf(&parts.headers).as_deref(), shapes)
            }
            wanted => wanted,
        };
        let accept = match wanted {
            Some(accept) => accept,
            // Logs and proxied answers are of any type.
            None if proxy::is_proxied(&info) => Accept::default(),
            None => {
                record.accept = Accept::default();
                let builtin = endpoint.resource.types.is_builtin();
                let supported = accept::SUPPORTED.split(", ");
                let supported = supported.filter(|media| builtin || !media.ends_with("protobuf"));
                return Err(Status::not_acceptable(&supported.collect::<Vec<_>>()));
            }
        };
        let call = Call {
            server: self.clone(),
            endpoint,
            info,
            query,
            user,
            accept,
            without_managers: parts.headers.contains_key(accept::WITHOUT_MANAGERS),
            content_type: text(&parts.headers, header::CONTENT_TYPE).to_owned(),
            user_agent: arrival.agent.to_owned(),
            now: self.clock.now(),
            deadline: crate::registry::call::deadline(),
            warnings: Mutex::default(),
            annotations: record.annotations.clone(),
        };
        if let Some(warning) = &call.endpoint.warning {
            call.annotations.add("k8s.io/deprecated", "true");
            call.warn(warning.clone());
        }
        if proxy::is_proxied(&call.info) {
            let request = Request::from_parts(parts, body);
            return Box::pin(proxy::forward(call, request)).await;
        }
        if call.info.verb == "watch" {
            if websocket::is_wanted(&parts.headers) {
                return Box::pin(socket(call, Request::from_parts(parts, body))).await;
            }
            return registry::dispatch(call, Bytes::new()).await;
        }
        let body = if writes {
            read_body(body).await?
        } else {
            Bytes::new()
        };
        if !writes {
            return registry::dispatch(call, body).await;
        }
        if let Some(trail) = &record.trail {
            trail.request(&call.content_type, &body);
        }
        // A write goes on when its client has gone: a task of its own, which nobody drops half-way.
        let work = tokio::spawn(async move {
            let _place = place;
            registry::dispatch(call, body).await
        });
        match tokio::time::timeout(REQUEST_PATIENCE, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(_)) => Err(Status::service_unavailable("the server is going down")),
            Err(_) => Err(Status::timeout(
                "request did not complete within the allotted timeout",
                0,
            )),
        }
    }

    /// The seats that a request takes.
    fn work(
        &self,
        info: &RequestInfo,
        query: &Query,
        endpoint: Option<&Endpoint>,
        class: &Class,
    ) -> Work {
        let looked_at = matches!(
            info.verb,
            "list" | "watch" | "create" | "update" | "patch" | "delete"
        );
        let Some(endpoint) = endpoint.filter(|_| looked_at) else {
            return Work::ONE;
        };
        let namespace = (!info.namespace.is_empty()).then_some(info.namespace.as_str());
        let (objects, watchers) = self.store.load(&endpoint.prefix, namespace);
        let widest = self.flow.widest(class);
        estimate::estimate(info, query, objects as u64, watchers as u64, widest)
    }

    /// Authentication and impersonation. The audit log is told in between: it is about who really
    /// asks.
    fn who(
        &self,
        parts: &http::request::Parts,
        info: &RequestInfo,
        arrival: &Arrival<'_>,
        record: &mut Record,
    ) -> Result<Arc<UserInfo>, Status> {
        let headers = &parts.headers;
        let live = Live {
            objects: &self.objects,
            now: self.clock.now(),
        };
        let source = Source {
            info,
            uri: &parts.uri,
            headers,
            peer: arrival.peer,
            id: arrival.id,
            received: arrival.received,
        };
        let user = match self
            .authenticator
            .authenticate(arrival.peer, headers, &live)
        {
            Ok(Some(user)) => user,
            Ok(None) if is_public(&info.path) => Arc::new(UserInfo::anonymous()),
            refused => {
                if let Err(error) = refused {
                    tracing::debug!(%error, path = %info.path, "authentication");
                }
                let status = Status::unauthorized();
                if let Some(trail) = self.audit.begin(None, source, &record.annotations) {
                    trail.refused(&status);
                }
                return Err(status);
            }
        };
        let attributes = asked(&user, info, "");
        record.trail = self
            .audit
            .begin(Some(&attributes), source, &record.annotations);
        match impersonation::wanted(headers).map_err(Status::internal)? {
            None => Ok(user),
            Some(wanted) => {
                for need in wanted.needs(&user) {
                    self.authorizer.require(&need)?;
                }
                let wanted = Arc::new(wanted.become_user());
                if let Some(trail) = &record.trail {
                    trail.impersonated(&wanted);
                }
                Ok(wanted)
            }
        }
    }

    /// Authorization; the audit log is told why.
    fn authorize(&self, attributes: &Attributes<'_>, trail: Option<&Trail>) -> Result<(), Status> {
        let decision = self.authorizer.decide(attributes);
        match (decision, trail) {
            (Decision::Allow(reason), Some(trail)) => trail.decided("allow", reason),
            (Decision::Allow(_), None) => {}
            (Decision::NoOpinion(reason), trail) => {
                let refusal = authorization::refusal(attributes, &reason);
                if let Some(trail) = trail {
                    trail.decided("forbid", reason);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }
}

/// What a request asks for, as authorizers see it.
fn asked<'a>(user: &'a UserInfo, info: &'a RequestInfo, field_selector: &'a str) -> Attributes<'a> {
    Attributes {
        user,
        verb: info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        namespace: &info.namespace,
        resource: &info.resource,
        subresource: &info.subresource,
        name: &info.name,
        path: &info.path,
        field_selector,
    }
}

/// A watch over WebSocket: each event is a message of text.
async fn socket(
    mut call: Call,
    mut request: Request<RequestBody>,
) -> Result<Response<Body>, Status> {
    call.accept.encoding = Encoding::Json;
    let (answer, _) = websocket::accept(request.headers(), &[])?;
    let events = registry::dispatch(call, Bytes::new()).await?;
    let stream = http_body_util::BodyDataStream::new(events.into_body());
    websocket::send(
        hyper::upgrade::on(&mut request),
        stream,
        websocket::Framing::Lines,
    );
    Ok(answer)
}

fn is_public(path: &str) -> bool {
    PUBLIC.iter().any(|public| {
        path.strip_prefix(public)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Does the request wait by its nature, beyond its beginning? (A watch begins like a list, and takes
/// seats for that alone.)
fn waits(info: &RequestInfo, query: &Query) -> bool {
    matches!(
        info.subresource.as_str(),
        "proxy" | "exec" | "attach" | "portforward"
    ) || (info.subresource == "log" && query.flag("follow"))
}

async fn read_body(body: RequestBody) -> Result<Bytes, Status> {
    match tokio::time::timeout(BODY_PATIENCE, body::read(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadError::TooLarge)) => Err(Status::too_large(format!("limit is {MAX_BODY}"))),
        Ok(Err(ReadError::Broken(error))) => Err(Status::bad_request(format!(
            "the request body cannot be read: {error}"
        ))),
        Err(_) => Err(Status::timeout(
            "the request body did not arrive in time",
            0,
        )),
    }
}

fn text(headers: &http::HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}
