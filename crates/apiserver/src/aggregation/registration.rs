//! The APIServices that stand for what this server serves itself: its own groups at every start, and
//! those of custom resources as their definitions come and go. Names, priorities and labels are
//! upstream's; clients order groups by them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::serving::Serving;
use api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::GROUP;
use crate::bootstrap::follow::Follower;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{DeleteOptions, create, delete};
use crate::server::{ApiServer, StartError};

/// Says that this server looks after the APIService: `onstart` for its own groups, `true` for those of
/// custom resources.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// `groupPriorityMinimum` of this server's groups.
const GROUPS: [(&str, i64); 23] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("storagemigration.k8s.io", 15800),
    ("imagepolicy.k8s.io", 15700),
];

/// `versionPriority` where it is not 15 for a stable version, 9 for a beta and 1 for an alpha.
const VERSIONS: [(&str, &str, i64); 14] = [
    ("", "v1", 1),
    ("autoscaling", "v2", 30),
    ("admissionregistration.k8s.io", "v1beta1", 12),
    ("admissionregistration.k8s.io", "v1alpha1", 9),
    ("coordination.k8s.io", "v1beta1", 13),
    ("coordination.k8s.io", "v1alpha2", 12),
    ("discovery.k8s.io", "v1beta1", 12),
    ("events.k8s.io", "v1beta1", 5),
    ("flowcontrol.apiserver.k8s.io", "v1", 21),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", 18),
    ("internal.apiserver.k8s.io", "v1alpha1", 9),
    ("resource.k8s.io", "v1", 21),
    ("resource.k8s.io", "v1beta2", 15),
    ("scheduling.k8s.io", "v1alpha2", 2),
];

fn priorities(group: &str, version: &str) -> Option<(i64, i64)> {
    let (_, minimum) = GROUPS.iter().find(|(name, _)| *name == group)?;
    let own = VERSIONS
        .iter()
        .find(|(g, v, _)| *g == group && *v == version)
        .map(|(_, _, priority)| *priority);
    let usual = if version.contains("alpha") {
        1
    } else if version.contains("beta") {
        9
    } else {
        15
    };
    Some((*minimum, own.unwrap_or(usual)))
}

fn object(group: &str, version: &str, priorities: (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": version,
        "groupPriorityMinimum": priorities.0,
        "versionPriority": priorities.1,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": spec,
    })
}

/// The APIServices of this server's own groups but the aggregator's, which has none.
fn builtin(serving: &Serving) -> Vec<Value> {
    let versions = serving
        .groups()
        .iter()
        .filter(|group| &*group.name != GROUP)
        .flat_map(|group| group.versions.iter().map(|v| (&*group.name, &**v)));
    versions
        .filter_map(|(group, version)| {
            Some(object(
                group,
                version,
                priorities(group, version)?,
                "onstart",
            ))
        })
        .collect()
}

/// Makes the APIServices of this server's own groups where they are missing, and takes away those of
/// versions that an earlier start served and this one does not.
pub async fn ensure(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let wanted = builtin(&server.serving);
    let held = server.objects.values(GROUP, "apiservices", None);
    let gone = held.iter().filter(|object| {
        meta::label(object, MANAGED) == Some("onstart")
            && !wanted.iter().any(|w| meta::name(w) == meta::name(object))
    });
    for object in gone {
        take(server, object)
            .await
            .map_err(|status| failed(object, status))?;
    }
    let missing = wanted.into_iter().filter(|object| {
        let name = meta::name(object);
        !held.iter().any(|held| meta::name(held) == name)
    });
    let writes = missing.map(|object| async move {
        make(server, object.clone())
            .await
            .map_err(|status| failed(&object, status))
    });
    futures::future::try_join_all(writes).await.map(|_| ())
}

fn failed(object: &Value, status: Status) -> StartError {
    StartError::Bootstrap {
        what: format!("apiservice {}", meta::name(object)),
        reason: status.message,
    }
}

fn call(server: &Arc<ApiServer>) -> Result<Call, Status> {
    let endpoint = server.endpoints.get(GROUP, "v1", "apiservices");
    let endpoint = endpoint.ok_or_else(|| Status::internal("APIServices are not served"))?;
    Ok(Call::internal(server, endpoint, ""))
}

async fn make(server: &Arc<ApiServer>, object: Value) -> Result<(), Status> {
    let options = WriteOptions {
        field_manager: "corten-apiserver".to_owned(),
        ..WriteOptions::default()
    };
    match create(&call(server)?, object, &options).await {
        Ok(_) => Ok(()),
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        Err(status) => Err(status),
    }
}

/// The names of the APIServices that a definition asks for: one per served version.
fn wanted_by(definition: &Value) -> BTreeSet<(String, String)> {
    let group = definition.text("spec.group");
    definition
        .list("spec.versions")
        .iter()
        .filter(|version| version.flag("served"))
        .map(|version| (group.to_owned(), version.text("name").to_owned()))
        .collect()
}

/// Keeps an APIService for every served version of custom resources, in a task of its own.
pub(super) fn follow_definitions(server: &Arc<ApiServer>) {
    type Wanted = HashMap<String, BTreeSet<(String, String)>>;
    let wanted: Arc<Mutex<Wanted>> = Arc::default();
    let changed = Arc::new(Notify::new());
    let seen = {
        let (wanted, changed) = (wanted.clone(), changed.clone());
        move |_: &str, name: &str, object: Option<&Value>| {
            let now = object.map(wanted_by).filter(|set| !set.is_empty());
            let mut wanted = wanted.lock();
            let before = match &now {
                Some(set) => wanted.insert(name.to_owned(), set.clone()),
                None => wanted.remove(name),
            };
            if before != now {
                changed.notify_one();
            }
        }
    };
    // At start too: what went while nobody looked is taken away.
    changed.notify_one();
    let follower = Follower::new(
        server.store.clone(),
        "apiextensions.k8s.io",
        "customresourcedefinitions",
    );
    follower.start(seen, server.ending.clone());
    let (weak, ending) = (Arc::downgrade(server), server.ending.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = changed.notified() => {}
            }
            let Some(server) = weak.upgrade() else { return };
            let all: BTreeSet<(String, String)> =
                wanted.lock().values().flatten().cloned().collect();
            if let Err(status) = settle(&server, &all).await {
                tracing::warn!(%status, "keep the APIServices of custom resources");
                // Tried again with the next change, and at the next start.
            }
        }
    });
}

/// Makes the APIServices that are wanted and missing, and takes away those that are no longer.
async fn settle(
    server: &Arc<ApiServer>,
    wanted: &BTreeSet<(String, String)>,
) -> Result<(), Status> {
    let held = server.objects.values(GROUP, "apiservices", None);
    for (group, version) in wanted {
        let name = format!("{version}.{group}");
        if !held.iter().any(|object| meta::name(object) == name) {
            make(server, object(group, version, (1000, 100), "true")).await?;
        }
    }
    for object in held {
        let key = (
            object.text("spec.group").to_owned(),
            object.text("spec.version").to_owned(),
        );
        if meta::label(&object, MANAGED) == Some("true") && !wanted.contains(&key) {
            take(server, &object).await?;
        }
    }
    Ok(())
}

/// Deletes an APIService, unless it is another one by now.
async fn take(server: &Arc<ApiServer>, object: &Value) -> Result<(), Status> {
    let options = DeleteOptions {
        uid: Some(meta::uid(object).to_owned()),
        ..DeleteOptions::default()
    };
    match delete(&call(server)?, meta::name(object), &options).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_this_server_has_its_place() {
        let serving = Serving::all(api::catalog::builtin());
        let made = builtin(&serving);
        let versions: usize = serving
            .groups()
            .iter()
            .filter(|g| &*g.name != GROUP)
            .map(|g| g.versions.len())
            .sum();
        assert_eq!(made.len(), versions);
        let find = |name: &str| made.iter().find(|o| meta::name(o) == name).unwrap();
        assert_eq!(
            find("v1.")["spec"],
            json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1})
        );
        assert_eq!(find("v2.autoscaling")["spec"]["versionPriority"], 30);
        assert_eq!(find("v1.apps")["metadata"]["labels"][MANAGED], "onstart");
    }

    #[test]
    fn a_definition_asks_for_its_served_versions() {
        let definition = json!({"spec": {"group": "example.com", "versions": [
            {"name": "v1", "served": true}, {"name": "v1alpha1", "served": false}]}});
        let wanted: Vec<_> = wanted_by(&definition).into_iter().collect();
        assert_eq!(wanted, [("example.com".to_owned(), "v1".to_owned())]);
    }
}
