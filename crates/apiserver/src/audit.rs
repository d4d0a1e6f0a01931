//! Audit: who did what with which outcome, at metadata level, appended to a file as JSON lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::authentication::UserInfo;
use crate::request::info::RequestInfo;

/// Events that wait for the disk; at the bound further ones are counted and left out.
const MAX_WAITING: usize = 10_000;

/// Where audit events go.
pub struct Audit {
    sender: Option<SyncSender<Value>>,
    dropped: AtomicU64,
}

/// What one event tells.
pub struct Outcome<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// Who really, when impersonating.
    pub real_user: Option<&'a UserInfo>,
    /// What.
    pub info: &'a RequestInfo,
    /// HTTP status.
    pub code: u16,
    /// When it came in.
    pub received: jiff::Timestamp,
    /// When it was answered.
    pub answered: jiff::Timestamp,
    /// Client address.
    pub source: Option<std::net::IpAddr>,
    /// Client program.
    pub user_agent: &'a str,
    /// Identifier of the request.
    pub id: &'a str,
    /// What admission noted.
    pub annotations: &'a Annotations,
}

/// Notes about one request, for its event.
#[derive(Default)]
pub struct Annotations(Mutex<BTreeMap<String, String>>);

/// Notes about one request; further ones are left out.
const MAX_ANNOTATIONS: usize = 100;

impl Annotations {
    /// Adds a note; the first under a key stays.
    pub fn add(&self, key: String, value: String) {
        let mut notes = self.0.lock();
        if notes.len() < MAX_ANNOTATIONS {
            notes.entry(key).or_insert(value);
        }
    }
}

impl Audit {
    /// Appends to `file`; without one, nothing is recorded.
    pub fn open(file: Option<&Path>) -> std::io::Result<Audit> {
        let Some(file) = file else {
            return Ok(Audit {
                sender: None,
                dropped: AtomicU64::new(0),
            });
        };
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)?;
        let (sender, receiver) = sync_channel::<Value>(MAX_WAITING);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                while let Ok(event) = receiver.recv() {
                    let mut text = event.to_string();
                    // Whatever else waits goes out in the same write.
                    while let Ok(event) = receiver.try_recv() {
                        text.push('\n');
                        text.push_str(&event.to_string());
                        if text.len() > 256 * 1024 {
                            break;
                        }
                    }
                    text.push('\n');
                    if let Err(error) = file.write_all(text.as_bytes()) {
                        tracing::warn!(%error, "write audit events");
                    }
                }
            })?;
        Ok(Audit {
            sender: Some(sender),
            dropped: AtomicU64::new(0),
        })
    }

    /// Is anything recorded?
    pub fn enabled(&self) -> bool {
        self.sender.is_some()
    }

    /// Events left out because the disk was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records one request.
    pub fn record(&self, outcome: &Outcome<'_>) {
        let Some(sender) = &self.sender else { return };
        let Outcome { user, info, .. } = outcome;
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": outcome.id,
            "stage": "ResponseComplete",
            "requestURI": info.path,
            "verb": info.verb,
            "user": user,
            "sourceIPs": outcome.source.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "userAgent": outcome.user_agent,
            "responseStatus": {"code": outcome.code},
            "requestReceivedTimestamp": api::clock::rfc3339_micro(outcome.received),
            "stageTimestamp": api::clock::rfc3339_micro(outcome.answered),
        });
        if let Some(real) = outcome.real_user {
            event["impersonatedUser"] = json!(user);
            event["user"] = json!(real);
        }
        if info.is_resource {
            event["objectRef"] = json!({
                "resource": info.resource, "namespace": info.namespace, "name": info.name,
                "apiGroup": info.group, "apiVersion": info.version, "subresource": info.subresource,
            });
        }
        let notes = outcome.annotations.0.lock();
        if !notes.is_empty() {
            event["annotations"] = json!(&*notes);
        }
        drop(notes);
        if let Err(TrySendError::Full(_)) = sender.try_send(event) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
