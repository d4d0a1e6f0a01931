//! API aggregation: groups that another server serves. An APIService that names a Service makes this
//! server pass requests for its group and version on, as the user it has authenticated, proved by the
//! front-proxy certificate; APIServices without one stand for what is served here.
//!
//! [`worker`] keeps an APIService's `Available` condition and what the server tells of itself;
//! [`forward`] passes requests on; [`documents`] puts discovery together; [`registration`] makes the
//! APIServices of this server's own groups.

pub mod availability;
pub mod documents;
pub mod forward;
pub mod openapi;
pub mod registration;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use api::meta;
use api::object::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::follow::Follower;
use crate::outbound::{Place, ServiceTarget, Tls, Trust};
use crate::pki::Identity;
use crate::server::ApiServer;
pub use documents::Told;

/// The group of APIServices.
pub const GROUP: &str = "apiregistration.k8s.io";

/// A server that serves one version of a group in this one's place.
pub struct Backend {
    /// `v1.example.com`.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Where it is.
    pub place: Place,
    /// How it is reached; none where its certificates cannot be used.
    tls: Result<Tls, String>,
    caller: Caller,
    /// `groupPriorityMinimum` and `versionPriority`.
    pub priorities: (i64, i64),
    available: bool,
    ending: CancellationToken,
}

/// What a connection depends on: while it stays, connections are kept.
#[derive(Clone, PartialEq, Eq)]
struct Caller {
    target: ServiceTarget,
    bundle: String,
    insecure: bool,
}

impl Caller {
    fn read(spec: &Value) -> Caller {
        Caller {
            target: ServiceTarget::read(spec.at("service")),
            bundle: spec.text("caBundle").to_owned(),
            insecure: spec.flag("insecureSkipTLSVerify"),
        }
    }

    fn tls(&self, identity: Option<&Identity>) -> Result<Tls, String> {
        let trust = if self.insecure {
            Trust::Unchecked
        } else if self.bundle.is_empty() {
            Trust::System
        } else {
            let pem = STANDARD.decode(&self.bundle).map_err(|e| e.to_string())?;
            Trust::Bundle(pem.into())
        };
        Tls::new(&trust, identity).map_err(|e| e.to_string())
    }
}

#[derive(Default)]
struct State {
    backends: HashMap<String, Arc<Backend>>,
    told: HashMap<String, Arc<Told>>,
    /// Moves with every change of what the documents are made of.
    generation: u64,
}

/// Servers with what they have told of themselves.
type Known = Vec<(Arc<Backend>, Option<Arc<Told>>)>;

/// The aggregated servers.
pub struct Aggregation {
    identity: Option<Identity>,
    state: RwLock<State>,
    openapi: openapi::Merged,
}

impl Aggregation {
    /// None known yet; `identity` proves to them who asks.
    pub fn new(identity: Option<Identity>) -> Aggregation {
        Aggregation {
            identity,
            state: RwLock::default(),
            openapi: openapi::Merged::default(),
        }
    }

    /// The server of a version of a group; none where this one serves it.
    pub fn get(&self, group: &str, version: &str) -> Option<Arc<Backend>> {
        // The core group is never given away.
        if group.is_empty() {
            return None;
        }
        let state = self.state.read();
        if state.backends.is_empty() {
            return None;
        }
        state.backends.get(&format!("{version}.{group}")).cloned()
    }

    /// The server of `/apis/GROUP/VERSION`.
    pub fn of_path(&self, path: &str) -> Option<Arc<Backend>> {
        let mut segments = path.trim_matches('/').split('/');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some("apis"), Some(group), Some(version), None) => self.get(group, version),
            _ => None,
        }
    }

    /// All servers, with what they have told of themselves, and the state this is of; none where
    /// there are none.
    fn all(&self) -> Option<(u64, Known)> {
        let state = self.state.read();
        if state.backends.is_empty() {
            return None;
        }
        let mut all: Vec<_> = state
            .backends
            .values()
            .map(|b| (b.clone(), state.told.get(&b.name).cloned()))
            .collect();
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Some((state.generation, all))
    }

    fn named(&self, name: &str) -> Option<Arc<Backend>> {
        self.state.read().backends.get(name).cloned()
    }

    fn told(&self, name: &str) -> Option<Arc<Told>> {
        self.state.read().told.get(name).cloned()
    }

    fn tell(&self, name: &str, told: Told) {
        let mut state = self.state.write();
        if state.backends.contains_key(name) {
            state.told.insert(name.to_owned(), Arc::new(told));
            state.generation += 1;
        }
    }

    /// Takes notice of an APIService as it is now, or of its end.
    fn observe(&self, server: &Weak<ApiServer>, name: &str, object: Option<&Value>) {
        let remote = object.filter(|o| o.has("spec.service"));
        let mut state = self.state.write();
        let held = state.backends.get(name).cloned();
        let Some(object) = remote else {
            if let Some(held) = held {
                held.ending.cancel();
                state.backends.remove(name);
                state.told.remove(name);
                state.generation += 1;
            }
            return;
        };
        let spec = object.at("spec");
        let caller = Caller::read(spec);
        let same = held.as_ref().filter(|held| held.caller == caller);
        let (tls, ending) = match same {
            Some(held) => (held.tls.clone(), held.ending.clone()),
            None => (caller.tls(self.identity.as_ref()), CancellationToken::new()),
        };
        let fresh = same.is_none();
        if fresh && let Some(held) = &held {
            held.ending.cancel();
            state.told.remove(name);
        }
        let available =
            meta::condition(object, "Available").is_some_and(|c| c.text("status") == "True");
        let backend = Backend {
            name: name.to_owned(),
            group: spec.text("group").to_owned(),
            version: spec.text("version").to_owned(),
            place: Place::Service(caller.target.clone()),
            tls,
            caller,
            priorities: (
                spec.int("groupPriorityMinimum").unwrap_or(0),
                spec.int("versionPriority").unwrap_or(0),
            ),
            available,
            ending: ending.clone(),
        };
        let changed = fresh
            || held.is_none_or(|h| h.priorities != backend.priorities || h.available != available);
        if changed {
            state.generation += 1;
        }
        state.backends.insert(name.to_owned(), Arc::new(backend));
        drop(state);
        if fresh {
            worker::start(server.clone(), name.to_owned(), ending);
        }
    }
}

/// Follows APIServices from now on, and keeps those of this server's own custom resources.
pub fn start(server: &Arc<ApiServer>) {
    let follower = Follower::new(server.store.clone(), GROUP, "apiservices");
    let weak = Arc::downgrade(server);
    let seen = move |_: &str, name: &str, object: Option<&Value>| {
        if let Some(server) = weak.upgrade() {
            server.aggregation.observe(&weak, name, object);
        }
    };
    follower.start(seen, server.ending.clone());
    registration::follow_definitions(server);
}
