//! What is known of one request so far, and its events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::clock::{Clock, rfc3339_micro};
use api::object::Object;
use api::status::Status;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, Response, header};
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::log::Log;
use super::policy::{Level, Ruling, Stage};
use super::{Annotations, object};
use crate::authentication::{Peer, UserInfo};
use crate::http::body::{Body, BoxError, Pieces};
use crate::request::info::RequestInfo;

/// The longest user agent that is told of.
const MAX_AGENT: usize = 1024;
/// Says that an object was too large to be told of.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// Where a request came from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What it asks for.
    pub info: &'a RequestInfo,
    /// Path and query as they were sent.
    pub uri: &'a http::Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The other end.
    pub peer: &'a Peer,
    /// Its identifier.
    pub id: &'a str,
    /// When it came in.
    pub received: Timestamp,
}

/// What becomes known on the way.
#[derive(Default)]
struct Known {
    impersonated: Option<Value>,
    reference: Option<Map<String, Value>>,
    request: Option<Value>,
    response: Option<Value>,
    status: Option<Value>,
}

/// One request, as its events tell of it.
pub struct Trail {
    log: Arc<Log>,
    events: Counter,
    clock: Arc<dyn Clock>,
    ruling: Ruling,
    id: String,
    uri: String,
    verb: &'static str,
    user: Value,
    sources: Vec<String>,
    agent: String,
    received: String,
    long: bool,
    known: Mutex<Known>,
    annotations: Arc<Annotations>,
}

/// An event, in upstream's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<&'a Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[String]>::is_empty")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a Value>,
    request_received_timestamp: &'a str,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Value>,
}

/// The addresses a request names and comes from, without repetition.
fn sources(headers: &HeaderMap, peer: &Peer) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        if let Ok(address) = text.trim().parse::<std::net::IpAddr>() {
            let text = address.to_string();
            if !list.contains(&text) {
                list.push(text);
            }
        }
    };
    for name in ["x-forwarded-for", "x-real-ip"] {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or_default();
            text.split(',').for_each(&mut add);
        }
    }
    if let Peer::Remote { address, .. } = peer {
        add(&address.ip().to_canonical().to_string());
    }
    list
}

fn agent(headers: &HeaderMap) -> String {
    let text = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok());
    let text = text.unwrap_or_default();
    if text.len() <= MAX_AGENT {
        return text.to_owned();
    }
    format!("{}...TRUNCATED", &text[..MAX_AGENT])
}

/// Does the request take long by its nature?
fn is_long(info: &RequestInfo) -> bool {
    info.verb == "watch"
        || matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "proxy" | "log" | "portforward"
        )
}

fn reference(info: &RequestInfo) -> Option<Map<String, Value>> {
    let fields = [
        ("resource", &info.resource),
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("apiVersion", &info.version),
        ("subresource", &info.subresource),
    ];
    info.is_resource.then(|| {
        let given = fields.into_iter().filter(|(_, text)| !text.is_empty());
        given
            .map(|(name, text)| (name.to_owned(), text.as_str().into()))
            .collect()
    })
}

impl Trail {
    pub(super) fn new(
        log: Arc<Log>,
        events: Counter,
        clock: Arc<dyn Clock>,
        ruling: Ruling,
        user: Option<&UserInfo>,
        source: Source<'_>,
        annotations: Arc<Annotations>,
    ) -> Trail {
        let Source { info, headers, .. } = source;
        Trail {
            log,
            events,
            clock,
            ruling,
            id: source.id.to_owned(),
            uri: source
                .uri
                .path_and_query()
                .map_or_else(|| info.path.clone(), ToString::to_string),
            verb: info.verb,
            user: user.map_or_else(|| json!({}), |user| json!(user)),
            sources: sources(headers, source.peer),
            agent: agent(headers),
            received: rfc3339_micro(source.received),
            long: is_long(info),
            known: Mutex::new(Known {
                reference: reference(info),
                ..Known::default()
            }),
            annotations,
        }
    }

    /// At which level the request is told of.
    pub fn level(&self) -> Level {
        self.ruling.level
    }

    /// The request goes on as another user.
    pub fn impersonated(&self, user: &UserInfo) {
        self.known.lock().impersonated = Some(json!(user));
    }

    /// Whether the request was authorized, and why.
    pub fn decided(&self, decision: &'static str, reason: String) {
        self.annotations
            .add("authorization.k8s.io/decision", decision);
        self.annotations.add("authorization.k8s.io/reason", reason);
    }

    /// What was sent. Of a new object it says the name, which its path does not.
    pub fn request(&self, content_type: &str, body: &[u8]) {
        if body.is_empty() {
            return;
        }
        if body.len() > object::MAX_BODY {
            self.annotations.add(TRUNCATED, "true");
            return;
        }
        let Some(mut object) = object::decode(content_type, body) else {
            return;
        };
        if self.ruling.omit_managed_fields {
            object::without_managed_fields(&mut object);
        }
        let mut known = self.known.lock();
        if matches!(self.verb, "create" | "update")
            && let Some(reference) = &mut known.reference
        {
            for name in ["namespace", "name", "uid", "resourceVersion"] {
                let text = object.text(&format!("metadata.{name}"));
                if !text.is_empty() && !reference.contains_key(name) {
                    reference.insert(name.to_owned(), text.into());
                }
            }
        }
        if self.ruling.level >= Level::Request {
            known.request = Some(object);
        }
    }

    /// The answer. A long one is told of twice: now, and when its body has ended.
    pub fn answered(
        self: Arc<Self>,
        response: Response<Body>,
        failure: Option<&Status>,
    ) -> Response<Body> {
        self.note(&response, failure);
        if !self.long {
            self.tell(Stage::ResponseComplete);
            return response;
        }
        self.tell(Stage::ResponseStarted);
        let (parts, body) = response.into_parts();
        let body = match body {
            Body::Stream(pieces) => Body::stream(Told {
                pieces,
                trail: self,
            }),
            whole => {
                self.tell(Stage::ResponseComplete);
                whole
            }
        };
        Response::from_parts(parts, body)
    }

    /// Nobody proved to be anybody: the answer is all there is to tell of.
    pub fn refused(&self, status: &Status) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        self.note(&response, Some(status));
        self.tell(Stage::ResponseStarted);
    }

    /// The handler failed.
    pub fn panicked(&self, what: &str) {
        self.known.lock().status = Some(json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("APIServer panic'd: {what}"),
        }));
        self.tell(Stage::Panic);
    }

    fn note(&self, response: &Response<Body>, failure: Option<&Status>) {
        let body = response.body();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let wanted = self.ruling.level >= Level::RequestResponse;
        let size = http_body::Body::size_hint(body).exact().unwrap_or(0);
        // A deletion is answered by a Status, which is told of at every level.
        let deletion = self.verb.starts_with("delete") && size < 4096;
        let mut object = None;
        if failure.is_none() && (wanted || deletion) {
            if size > object::MAX_BODY as u64 {
                self.annotations.add(TRUNCATED, "true");
            } else if let Some(bytes) = body.bytes() {
                object = object::decode(kind, &bytes);
            }
        }
        let given = failure.map(Status::to_value);
        let status = given.as_ref().or(object
            .as_ref()
            .filter(|object| object.text("kind") == "Status"));
        let mut told = json!({"metadata": {}});
        for name in ["status", "message", "reason", "details"] {
            if let Some(value) = status.and_then(|status| status.get(name)) {
                told[name] = value.clone();
            }
        }
        told["code"] = response.status().as_u16().into();
        let mut known = self.known.lock();
        known.status = Some(told);
        if wanted {
            known.response = given.or(object);
            if self.ruling.omit_managed_fields
                && let Some(object) = &mut known.response
            {
                object::without_managed_fields(object);
            }
        }
    }

    /// Writes the event of a stage, unless the policy leaves it out.
    pub(super) fn tell(&self, stage: Stage) {
        if self.ruling.omitted.has(stage) {
            return;
        }
        let notes = self.annotations.0.lock();
        let annotations = (!notes.is_empty()).then(|| json!(&*notes));
        drop(notes);
        let known = self.known.lock();
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.ruling.level.name(),
            audit_id: &self.id,
            stage: stage.name(),
            request_uri: &self.uri,
            verb: self.verb,
            user: &self.user,
            impersonated_user: known.impersonated.as_ref(),
            source_ips: &self.sources,
            user_agent: &self.agent,
            object_ref: known.reference.as_ref(),
            response_status: known.status.as_ref(),
            request_object: known.request.as_ref(),
            response_object: known.response.as_ref(),
            request_received_timestamp: &self.received,
            stage_timestamp: rfc3339_micro(self.clock.now()),
            annotations,
        };
        match serde_json::to_string(&event) {
            Ok(line) => {
                self.events.inc();
                self.log.append(line);
            }
            Err(error) => tracing::error!(%error, "encode an audit event"),
        }
    }
}

/// A long answer, whose end is told of, whoever ended it.
struct Told {
    pieces: Pieces,
    trail: Arc<Trail>,
}

impl Stream for Told {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().pieces.as_mut().poll_next(cx)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.trail.tell(Stage::ResponseComplete);
    }
}
