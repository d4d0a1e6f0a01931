//! The end of a definition: its objects go first, finalizers and all, and then itself.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::custom::{CLEANUP, conditions};
use api::meta;
use api::object::Object;
use api::status::Status;
use parking_lot::Mutex;
use serde_json::Value;
use store::{Entry, Key, Scope};

use super::{definition, write_status};
use crate::registry::call::Call;
use crate::registry::{DeleteOptions, delete};
use crate::server::ApiServer;

/// Objects whose finalizers hold them are looked at again this often, if no change comes before.
const LOOK: Duration = Duration::from_secs(30);

/// Begins to clean up, unless that has begun. One task per definition that is going.
pub fn begin(server: &Arc<ApiServer>, name: &str, cleaning: &Arc<Mutex<HashSet<String>>>) {
    if !cleaning.lock().insert(name.to_owned()) {
        return;
    }
    let (server, name, cleaning) = (Arc::downgrade(server), name.to_owned(), cleaning.clone());
    tokio::spawn(async move {
        run(&server, &name).await;
        cleaning.lock().remove(&name);
    });
}

/// What is to be done next.
enum Step {
    /// Nothing: it is gone, or not ours to remove.
    Done,
    /// Look again when something has changed.
    Wait(String),
    /// Look again a little later.
    Retry,
}

async fn run(server: &Weak<ApiServer>, name: &str) {
    loop {
        let Some(strong) = server.upgrade() else {
            return;
        };
        let ending = strong.ending.clone();
        // What the step itself deletes is among the changes that end the wait.
        let from = strong.store.revision();
        let next = match step(&strong, name).await {
            Ok(step) => step,
            Err(status) => {
                tracing::warn!(definition = name, error = status.message, "clean up");
                Step::Retry
            }
        };
        let mut changes = match &next {
            Step::Done => return,
            Step::Wait(prefix) => strong.store.watch(prefix, from, Scope::default()).ok(),
            Step::Retry => None,
        };
        drop(strong);
        let pause = match &next {
            Step::Retry => Duration::from_secs(1),
            _ => LOOK,
        };
        tokio::select! {
            _ = async {
                match &mut changes {
                    Some(changes) => { changes.next().await; }
                    None => std::future::pending().await,
                }
            } => {}
            () = tokio::time::sleep(pause) => {}
            () = ending.cancelled() => return,
        }
    }
}

async fn step(server: &Arc<ApiServer>, name: &str) -> Result<Step, Status> {
    let Some(mut live) = definition(server, name) else {
        return Ok(Step::Done);
    };
    if !meta::is_terminating(&live) || !meta::finalizers(&live).any(|f| f == CLEANUP) {
        return Ok(Step::Done);
    }
    let now = server.clock.now();
    let established = conditions::is_true(&live, "Established");
    let (group, plural) = (
        live.text("spec.group").to_owned(),
        live.text("status.acceptedNames.plural").to_owned(),
    );
    if !established {
        let (reason, message) = ("NeverEstablished", "resource was never established");
        return finish(server, live, reason, message).await;
    }
    let entries = server.objects.list(&group, &plural, None);
    if entries.is_empty() {
        let (reason, message) = ("InstanceDeletionCompleted", "removed all instances");
        return finish(server, live, reason, message).await;
    }
    let begun = meta::condition(&live, "Terminating")
        .is_some_and(|c| c.text("reason") == "InstanceDeletionInProgress");
    if !begun {
        let (reason, message) = (
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
        );
        conditions::set(&mut live, "Terminating", "True", reason, message, now);
        match write_status(server, live.clone()).await {
            Err(status) if status.code != 409 => return Err(status),
            _ => {}
        }
    }
    let endpoint = server
        .endpoints
        .all()
        .into_iter()
        .find(|e| *e.resource.storage_group == *group && *e.resource.plural == *plural);
    let Some(endpoint) = endpoint else {
        // No version is served: the objects go past the request path.
        for entry in &entries {
            let _ = server
                .store
                .delete(entry.key.clone(), store::Expect::At(entry.revision))
                .await;
        }
        return Ok(Step::Retry);
    };
    for entry in &entries {
        delete_one(server, &endpoint, entry).await?;
    }
    Ok(Step::Wait(Key::prefix_of(&group, &plural)))
}

async fn delete_one(
    server: &Arc<ApiServer>,
    endpoint: &Arc<crate::endpoint::Endpoint>,
    entry: &Entry,
) -> Result<(), Status> {
    let namespace = entry.key.namespace().unwrap_or("");
    let mut call = Call::internal(server, endpoint.clone(), namespace);
    call.info.verb = "delete";
    call.info.name = entry.key.name().to_owned();
    match delete(&call, entry.key.name(), &DeleteOptions::default()).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

async fn finish(
    server: &Arc<ApiServer>,
    mut live: Value,
    reason: &str,
    message: &str,
) -> Result<Step, Status> {
    let now = server.clock.now();
    conditions::set(&mut live, "Terminating", "False", reason, message, now);
    if let Some(Value::Array(list)) = live.at_mut("metadata.finalizers") {
        list.retain(|finalizer| finalizer != CLEANUP);
    }
    match write_status(server, live).await {
        Ok(()) => Ok(Step::Done),
        Err(status) if status.code == 404 => Ok(Step::Done),
        Err(status) if status.code == 409 => Ok(Step::Retry),
        Err(status) => Err(status),
    }
}
