//! Custom resources: definitions are followed, their names accepted, their versions served as
//! endpoints like any other, and their objects cleaned away when they go. Beyond this folder nothing
//! knows which resources are custom.
//!
//! One task looks at one definition at a time, by name, whatever changed: [`plan`] says what its
//! status should be, and what is to be done is done before the status says so.

mod cleanup;
mod convert;
mod install;
mod plan;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::custom::{self, DEFINITIONS};
use api::meta;
use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bootstrap::follow::Follower;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, update};
use crate::server::{ApiServer, StartError};
use install::Installed;

/// How long a definition that could not be dealt with waits.
const RETRY: Duration = Duration::from_secs(1);

/// Names of definitions to look at; at most as many as there are definitions.
#[derive(Default)]
struct Dirty {
    names: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Dirty {
    fn add(&self, name: &str) {
        self.names.lock().insert(name.to_owned());
        self.news.notify_one();
    }
}

/// Serves what there are definitions of, and from then on follows them.
pub async fn start(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let mut worker = Worker {
        names: BTreeMap::new(),
        installed: BTreeMap::new(),
        cleaning: Arc::default(),
        dirty: Arc::default(),
    };
    for entry in server.objects.list(DEFINITIONS.0, DEFINITIONS.1, None) {
        let Ok(definition) = serde_json::from_slice::<Value>(&entry.json) else {
            continue;
        };
        let name = entry.key.name();
        worker.names.insert(name.to_owned(), names(&definition));
        if custom::served(&definition) {
            worker.install(server, name, &definition).await?;
        }
    }
    let dirty = worker.dirty.clone();
    let follower = Follower::new(server.store.clone(), DEFINITIONS.0, DEFINITIONS.1);
    let seen = move |_: &str, name: &str, _: Option<&Value>| dirty.add(name);
    follower.start(seen, server.ending.clone());
    tokio::spawn(worker.run(Arc::downgrade(server)));
    Ok(())
}

/// A definition as it is now. Parsed for the moment: definitions are large and rarely looked at.
fn definition(server: &ApiServer, name: &str) -> Option<Value> {
    let entry = server
        .objects
        .entry(DEFINITIONS.0, DEFINITIONS.1, "", name)?;
    serde_json::from_slice(&entry.json).ok()
}

/// What other definitions need to know of one.
fn names(definition: &Value) -> Value {
    json!({
        "metadata": {"name": meta::name(definition)},
        "spec": {"group": definition.at("spec.group"), "names": definition.at("spec.names")},
        "status": {"acceptedNames": definition.at("status.acceptedNames")},
    })
}

struct Worker {
    /// The names of every definition.
    names: BTreeMap<String, Value>,
    installed: BTreeMap<String, Installed>,
    /// Definitions whose objects are being deleted.
    cleaning: Arc<Mutex<HashSet<String>>>,
    dirty: Arc<Dirty>,
}

impl Worker {
    async fn run(mut self, server: Weak<ApiServer>) {
        let Some(ending) = server.upgrade().map(|server| server.ending.clone()) else {
            return;
        };
        loop {
            tokio::select! {
                () = self.dirty.news.notified() => {}
                () = ending.cancelled() => return,
            }
            loop {
                let Some(name) = self.dirty.names.lock().pop_first() else {
                    break;
                };
                // The server may go while nothing is to be done.
                let Some(server) = server.upgrade() else {
                    return;
                };
                if let Err(error) = self.sync(&server, &name).await {
                    tracing::warn!(definition = name, error, "a custom resource is not served");
                    let dirty = self.dirty.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(RETRY).await;
                        dirty.add(&name);
                    });
                }
            }
        }
    }

    /// Brings what is served and what the definition says of itself in line with it.
    async fn sync(&mut self, server: &Arc<ApiServer>, name: &str) -> Result<(), String> {
        let Some(live) = definition(server, name) else {
            if let Some(gone) = self.installed.remove(name) {
                gone.uninstall(server);
            }
            if let Some(gone) = self.names.remove(name) {
                self.look_at_group(gone.text("spec.group"));
            }
            return Ok(());
        };
        let wanted = plan::plan(&live, self.names.values(), server.clock.now());
        self.names.insert(name.to_owned(), names(&wanted));
        if custom::served(&wanted) {
            let outcome = self.install(server, name, &wanted).await;
            outcome.map_err(|error| error.to_string())?;
        }
        if meta::is_terminating(&live) {
            cleanup::begin(server, name, &self.cleaning);
            return Ok(());
        }
        if wanted.at("status") == live.at("status") {
            return Ok(());
        }
        let freed = live.at("status.acceptedNames") != wanted.at("status.acceptedNames");
        match write_status(server, wanted).await {
            Ok(()) => {}
            // It changed meanwhile, and is looked at again.
            Err(status) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(status) => return Err(status.message),
        }
        if freed {
            self.look_at_group(live.text("spec.group"));
        }
        Ok(())
    }

    async fn install(
        &mut self,
        server: &Arc<ApiServer>,
        name: &str,
        definition: &Value,
    ) -> Result<(), StartError> {
        let before = self.installed.remove(name);
        let now = install::install(server, name, definition, before).await?;
        self.installed.insert(name.to_owned(), now);
        Ok(())
    }

    /// Names may have come free: definitions that want them look again.
    fn look_at_group(&self, group: &str) {
        for (name, other) in &self.names {
            if other.text("spec.group") == group
                && other.at("spec.names") != other.at("status.acceptedNames")
            {
                self.dirty.add(name);
            }
        }
    }
}

fn call(server: &Arc<ApiServer>) -> Result<Call, Status> {
    let endpoint = server
        .endpoints
        .get(DEFINITIONS.0, "v1", DEFINITIONS.1)
        .ok_or_else(|| Status::internal("definitions are not served"))?;
    Ok(Call::internal(server, endpoint, ""))
}

/// Writes a definition's status (and finalizers), unless it has changed.
async fn write_status(server: &Arc<ApiServer>, definition: Value) -> Result<(), Status> {
    let call = call(server)?;
    let options = WriteOptions {
        field_manager: "corten-apiserver".to_owned(),
        ..WriteOptions::default()
    };
    let name = meta::name(&definition).to_owned();
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(move |_| Ok(definition.clone())),
    };
    update(&call, &name, change, &options).await.map(|_| ())
}
