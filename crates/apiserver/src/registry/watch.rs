//! Watch: what is there now when asked for, then every change, in JSON lines, YAML documents or
//! protobuf frames. The usual frame of a change is made once and shared by all who watch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use store::{Entry, Event, EventKind, ListOptions, Revision, Scope, WatchError, WatchStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::call::Call;
use super::read::no_number;
use super::selection::Selection;
use super::{read, respond, serialize};
use crate::http::body::{Body, BoxError};
use crate::request::accept::{Encoding, Shape};

/// A watch that names no time-out ends after this long and up to twice it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// How often a quiet watch is told how far it has come.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Frames are put together up to about this size.
const FRAME: usize = 64 * 1024;
/// What marks the end of the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

struct Watch {
    call: Call,
    selection: Selection,
    stream: WatchStream,
    /// Initial events not sent yet.
    initial: VecDeque<Arc<Entry>>,
    /// The bookmark that ends them is still to be sent, with this revision.
    initial_end: Option<Revision>,
    bookmarks: Option<Interval>,
    bookmarked: Revision,
    // Both are registered once for the whole watch, not anew with every event.
    ends: Pin<Box<Sleep>>,
    server_ends: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Events are sent as they are stored: unselected, unconverted, untransformed.
    plain: bool,
    sent_header: bool,
    ended: bool,
    _gauge: crate::metrics::Watching,
}

/// Begins a watch.
pub async fn watch(call: Call) -> Result<Response<Body>, Status> {
    let selection = Selection::read(&call)?;
    let initial = initial_events(&call)?;
    let namespace = call.namespace();
    let scope = Scope {
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: selection.name.clone(),
        field: selection
            .exact_field(call.endpoint.resource.strategy.field_names())
            .map(|(field, value)| (field, value.to_owned())),
    };
    let asked = read::revision(&call)?;
    if let Some(revision) = asked {
        read::fresh(&call, revision).await?;
    }
    let store = call.server.store.clone();
    let (from, items) = if initial || asked.is_none() {
        let labels = selection.exact_labels();
        let options = ListOptions {
            namespace: scope.namespace.as_deref(),
            field: scope
                .field
                .as_ref()
                .map(|(field, value)| (*field, value.as_str())),
            labels: &labels,
            ..ListOptions::default()
        };
        let matches = |entry: &Entry| selection.matches(entry);
        let list = store
            .list(&call.endpoint.prefix, &options, Some(&matches))
            .await
            .map_err(Status::internal)?;
        let items = selection.narrow(&call.endpoint, list.items).await?;
        (list.revision, items)
    } else {
        (asked.unwrap_or_default(), Vec::new())
    };
    let content_type = if call.accept.encoding == Encoding::Json {
        "application/json"
    } else {
        call.accept.encoding.watch_type()
    };
    let stream = match store.watch(&call.endpoint.prefix, from, scope) {
        Ok(stream) => stream,
        Err(error) => {
            // As upstream: the watch begins, and its one event says why it ends.
            let frame = error_frame(&call, &watch_status(&error))?;
            return Ok(respond::response(
                &call,
                StatusCode::OK,
                content_type,
                Body::full(frame),
            ));
        }
    };
    let seconds = match call.query.get("timeoutSeconds") {
        Some(text) => Some(text.parse::<i64>().map_err(|_| no_number(text))?),
        None => None,
    };
    let seconds = seconds
        .and_then(|s| u64::try_from(s).ok())
        .filter(|s| *s > 0);
    let timeout = seconds.map_or_else(|| DEFAULT_TIMEOUT + jitter(&call), Duration::from_secs);
    let bookmarks = call.query.flag("allowWatchBookmarks").then(|| {
        let mut interval = tokio::time::interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    let plain = selection_is_scope(&selection)
        && !call.endpoint.converts
        && call.accept.shape == Shape::Object
        && call.accept.encoding != Encoding::Yaml
        && !respond::pretty(&call);
    let gauge = call.server.metrics.watching(&call.endpoint);
    let head = respond::response(&call, StatusCode::OK, content_type, Body::empty());
    let watch = Watch {
        initial_end: (initial && bookmarks.is_some()).then_some(from),
        ends: Box::pin(tokio::time::sleep(timeout)),
        server_ends: Box::pin(call.server.ending.clone().cancelled_owned()),
        stream,
        initial: items.into(),
        bookmarked: from,
        bookmarks,
        plain,
        sent_header: false,
        ended: false,
        selection,
        _gauge: gauge,
        call,
    };
    let frames = futures::stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((Ok::<Bytes, BoxError>(frame), watch))
    });
    Ok(head.map(|_| Body::stream(frames)))
}

/// May every event of the store's scope be sent as it is? Only where the scope alone selects.
fn selection_is_scope(selection: &Selection) -> bool {
    selection.is_everything()
}

/// Is the client to be sent what is there now, in order to leave out a list?
fn initial_events(call: &Call) -> Result<bool, Status> {
    use schema::field_error::FieldError;
    let rule = call.query.get("resourceVersionMatch");
    let about = api::status::About::new("meta.k8s.io", "ListOptions");
    match call.query.optional_flag("sendInitialEvents") {
        None => match rule {
            None => Ok(false),
            Some(_) => Err(Status::invalid(
                about,
                "",
                vec![FieldError::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )],
            )),
        },
        Some(_) if rule != Some("NotOlderThan") => Err(Status::invalid(
            about,
            "",
            vec![FieldError::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )],
        )),
        Some(wanted) => Ok(wanted),
    }
}

fn jitter(call: &Call) -> Duration {
    let mut bytes = [0u8; 2];
    (call.server.config.random)(&mut bytes);
    DEFAULT_TIMEOUT.mul_f64(f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX))
}

fn watch_status(error: &WatchError) -> Status {
    match error {
        WatchError::Expired { .. } => Status::expired(error.to_string()),
        WatchError::Closed => Status::service_unavailable("the server is going down"),
        error => Status::internal(error),
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(frame) = self.beginning().await {
                return frame.map_or_else(|status| self.fail(&status), Some);
            }
            tokio::select! {
                biased;
                batch = self.stream.next() => match batch? {
                    Ok(events) => match self.events(&events).await {
                        Ok(frame) if frame.is_empty() => {}
                        Ok(frame) => return Some(frame),
                        Err(status) => return self.fail(&status),
                    },
                    // The client resumes from what it has seen.
                    Err(WatchError::Slow | WatchError::Closed) => return None,
                    Err(error) => return self.fail(&watch_status(&error)),
                },
                () = &mut self.ends => return None,
                () = &mut self.server_ends => return None,
                () = tick(&mut self.bookmarks) => {
                    let progress = self.stream.progress();
                    if progress > self.bookmarked {
                        self.bookmarked = progress;
                        return bookmark(&self.call, progress, false)
                            .map_or_else(|status| self.fail(&status), Some);
                    }
                }
            }
        }
    }

    /// What comes before the first change.
    async fn beginning(&mut self) -> Option<Result<Bytes, Status>> {
        if !self.initial.is_empty() {
            let mut out = BytesMut::new();
            while out.len() < FRAME {
                let Some(entry) = self.initial.pop_front() else {
                    break;
                };
                if let Err(status) = self.write(&mut out, "ADDED", &entry).await {
                    return Some(Err(status));
                }
            }
            return Some(Ok(out.freeze()));
        }
        let revision = self.initial_end.take()?;
        Some(bookmark(&self.call, revision, true))
    }

    fn fail(&mut self, status: &Status) -> Option<Bytes> {
        self.ended = true;
        error_frame(&self.call, status).ok()
    }

    async fn events(&mut self, events: &[Arc<Event>]) -> Result<Bytes, Status> {
        if let [event] = events
            && self.plain
        {
            return self.shared(event).await;
        }
        let mut out = BytesMut::new();
        for event in events {
            if self.plain {
                out.put(self.shared(event).await?);
                continue;
            }
            let after = event.kind == EventKind::Put && self.selects(&event.entry).await?;
            let before = match &event.previous {
                Some(previous) => self.selects(previous).await?,
                None => false,
            };
            match (before, after) {
                (false, true) => self.write(&mut out, "ADDED", &event.entry).await?,
                (true, true) => self.write(&mut out, "MODIFIED", &event.entry).await?,
                (true, false) if event.kind == EventKind::Delete => {
                    self.write(&mut out, "DELETED", &event.entry).await?;
                }
                // It left the selection: the client is shown what it knew, at the new revision.
                (true, false) => {
                    if let Some(previous) = &event.previous {
                        let last = previous.at(event.revision());
                        self.write(&mut out, "DELETED", &last).await?;
                    }
                }
                (false, false) => {}
            }
        }
        Ok(out.freeze())
    }

    async fn selects(&mut self, entry: &Arc<Entry>) -> Result<bool, Status> {
        self.selection.selects(&self.call.endpoint, entry).await
    }

    /// The frame of a change as everybody sees it who selects everything.
    async fn shared(&mut self, event: &Event) -> Result<Bytes, Status> {
        let kind = match (event.kind, &event.previous) {
            (EventKind::Delete, _) => "DELETED",
            (EventKind::Put, None) => "ADDED",
            (EventKind::Put, Some(_)) => "MODIFIED",
        };
        let cell = match self.call.accept.encoding {
            Encoding::Protobuf => &event.protobuf_frame,
            _ if self.call.without_managers => &event.json_frame_without_managers,
            _ => &event.json_frame,
        };
        if let Some(frame) = cell.get() {
            return Ok(frame);
        }
        let mut out = BytesMut::new();
        self.write(&mut out, kind, &event.entry).await?;
        let frame = out.freeze();
        cell.hold(frame.clone());
        Ok(frame)
    }

    async fn write(&mut self, out: &mut BytesMut, kind: &str, entry: &Entry) -> Result<(), Status> {
        let call = &self.call;
        let endpoint = &call.endpoint;
        let (shape, encoding) = (call.accept.shape, call.accept.encoding);
        if (shape, encoding) == (Shape::Metadata, Encoding::Json)
            && !endpoint.is_converted_elsewhere()
            && let Some((start, end)) = metadata(entry, call.without_managers)
        {
            let version = call.accept.meta_version();
            let head = format!(
                "{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":"
            );
            out.put_slice(head.as_bytes());
            out.put_slice(start);
            out.put_slice(end);
            out.put_slice(b"}}\n");
            return Ok(());
        }
        match (shape, encoding) {
            (Shape::Object, Encoding::Protobuf) => {
                let raw = respond::raw(call, entry)?;
                let gvk = &endpoint.resource.gvk;
                let wrapped = schema::proto::envelope::wrap(&endpoint.api_version, &gvk.kind, &raw);
                put_frame(out, kind, &wrapped);
                Ok(())
            }
            (Shape::Object, Encoding::Json) if !endpoint.converts => {
                let known = entry.without_managers();
                let (start, end) = known
                    .filter(|_| call.without_managers)
                    .unwrap_or((&entry.json, b""));
                out.reserve(start.len() + end.len() + 40);
                out.put_slice(b"{\"type\":\"");
                out.put_slice(kind.as_bytes());
                out.put_slice(b"\",\"object\":");
                out.put_slice(start);
                out.put_slice(end);
                out.put_slice(b"}\n");
                Ok(())
            }
            (shape, _) => {
                let object = serialize::live(endpoint, entry).await?;
                let object = match shape {
                    Shape::Table => {
                        let metadata = json!({"resourceVersion": entry.revision.to_string()});
                        // The columns are described once.
                        let headers = !std::mem::replace(&mut self.sent_header, true);
                        respond::table(&self.call, vec![object], metadata, headers)
                    }
                    Shape::Metadata => respond::metadata(&self.call, object),
                    _ => object,
                };
                put_value(&self.call, out, kind, &object)
            }
        }
    }
}

/// The object's metadata, in two parts.
fn metadata(entry: &Entry, without_managers: bool) -> Option<(&[u8], &[u8])> {
    let short = without_managers.then(|| entry.metadata_without_managers());
    short
        .flatten()
        .or_else(|| entry.metadata().map(|whole| (whole, &b""[..])))
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// One protobuf frame: four bytes of length, then a bare `WatchEvent` around the enveloped object.
fn put_frame(out: &mut BytesMut, kind: &str, object: &[u8]) {
    let field = |tag: u8, length: usize| {
        let mut head = vec![tag << 3 | 2];
        let mut left = length;
        while left >= 0x80 {
            head.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        head.push(left as u8);
        head
    };
    let inner = field(1, object.len());
    let outer = field(2, inner.len() + object.len());
    let name = field(1, kind.len());
    let length = name.len() + kind.len() + outer.len() + inner.len() + object.len();
    out.reserve(length + 4);
    out.put_u32(length as u32);
    for part in [&name[..], kind.as_bytes(), &outer, &inner, object] {
        out.put_slice(part);
    }
}

fn put_value(call: &Call, out: &mut BytesMut, kind: &str, object: &Value) -> Result<(), Status> {
    match call.accept.encoding {
        Encoding::Protobuf => {
            let wrapped = respond::protobuf(call, object)?
                .ok_or_else(|| Status::internal("an event's object has no protobuf form"))?;
            put_frame(out, kind, &wrapped);
        }
        _ => {
            // The type first, as upstream has it: clients decode the object as it comes then.
            out.put_slice(b"{\"type\":\"");
            out.put_slice(kind.as_bytes());
            out.put_slice(b"\",\"object\":");
            serde_json::to_writer((&mut *out).writer(), object).map_err(Status::internal)?;
            out.put_slice(b"}\n");
        }
    }
    Ok(())
}

fn error_frame(call: &Call, status: &Status) -> Result<Bytes, Status> {
    let mut out = BytesMut::new();
    put_value(call, &mut out, "ERROR", &status.to_value())?;
    Ok(out.freeze())
}

fn bookmark(call: &Call, revision: Revision, initial_end: bool) -> Result<Bytes, Status> {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({ INITIAL_END: "true" });
    }
    let endpoint = &call.endpoint;
    let object = match call.accept.shape {
        Shape::Table => json!({
            "kind": "Table", "apiVersion": call.accept.meta_version(), "metadata": metadata,
            "columnDefinitions": [], "rows": [],
        }),
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": call.accept.meta_version(), "metadata": metadata,
        }),
        _ => json!({
            "kind": endpoint.resource.gvk.kind, "apiVersion": endpoint.api_version, "metadata": metadata,
        }),
    };
    let mut out = BytesMut::new();
    put_value(call, &mut out, "BOOKMARK", &object)?;
    Ok(out.freeze())
}
