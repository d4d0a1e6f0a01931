//! `eviction`: a delete that disruption budgets may refuse.

use api::labels::Selector;
use api::meta;
use api::object::Object;
use api::resource::Subresource;
use api::status::{About, Status};
use api::strategy::Part;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::delete::{DeleteOptions, delete};
use crate::registry::update::{Change, update};
use crate::registry::{decode, respond, serialize};

/// `POST …/pods/NAME/eviction`.
pub async fn evict(
    call: &Call,
    subresource: &Subresource,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let catalog = call.server.catalog;
    let gvk = &subresource.body;
    let ty = catalog
        .type_of(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal("the type Eviction is missing"))?;
    let name = call.info.name.as_str();
    let write = call.write_options()?;
    let mut eviction = decode::body(call, gvk, &catalog.table, ty, body, write.field_validation)?;
    let sent = meta::name(&eviction);
    if !sent.is_empty() && sent != name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    super::admit(call, "eviction", write.dry_run, &mut eviction).await?;
    let mut options = DeleteOptions {
        admitted: true,
        dry_run: write.dry_run || eviction.texts("deleteOptions.dryRun").any(|d| d == "All"),
        grace_seconds: eviction.int("deleteOptions.gracePeriodSeconds"),
        ..DeleteOptions::default()
    };
    let text = |path: &str| {
        Some(eviction.text(path))
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
    };
    options.uid = text("deleteOptions.preconditions.uid");
    options.resource_version = text("deleteOptions.preconditions.resourceVersion");

    let key = call.endpoint.key(call.namespace(), name);
    let entry = call
        .server
        .store
        .get(&key)
        .ok_or_else(|| Status::not_found(&*call.endpoint.resource, name))?;
    let pod = serialize::live(&call.endpoint, &entry).await?;
    if !free_to_go(&pod) {
        budget(call, &pod, options.dry_run).await?;
    }
    if !options.dry_run {
        mark(call, name, &options).await?;
    }
    delete(call, name, &options).await?;
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    respond::encode(call, StatusCode::CREATED, &value)
}

/// Says in the pod's status why it goes, under the delete's own preconditions.
async fn mark(call: &Call, name: &str, options: &DeleteOptions) -> Result<(), Status> {
    let resource = &*call.endpoint.resource;
    let own = Call::internal(&call.server, call.endpoint.clone(), call.namespace());
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let live = live.ok_or_else(|| Status::not_found(resource, name))?;
            let failed = |what: &str, wanted: &str, held: &str| {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({held}). The object might have been deleted and then recreated"
                );
                Err(Status::conflict(resource, name, why))
            };
            match (&options.uid, &options.resource_version) {
                (Some(uid), _) if uid != meta::uid(live) => failed("UID", uid, meta::uid(live)),
                (_, Some(revision)) if revision != meta::resource_version(live) => {
                    failed("ResourceVersion", revision, meta::resource_version(live))
                }
                _ => Ok(disrupted(live, call.now)),
            }
        }),
    };
    let write = WriteOptions {
        field_manager: "corten".to_owned(),
        ..WriteOptions::default()
    };
    update(&own, name, change, &write).await.map(|_| ())
}

/// The pod with the condition that an eviction leaves.
fn disrupted(pod: &Value, now: jiff::Timestamp) -> Value {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": api::clock::rfc3339(now),
    });
    condition["observedGeneration"] = meta::generation(pod).into();
    let mut pod = pod.clone();
    let mut conditions = pod.list("status.conditions").to_vec();
    match conditions
        .iter_mut()
        .find(|c| c.text("type") == "DisruptionTarget")
    {
        Some(held) => {
            if held.text("status") == "True" {
                condition.restore("lastTransitionTime", held);
            }
            *held = condition;
        }
        None => conditions.push(condition),
    }
    pod.set("status.conditions", conditions);
    pod
}

/// Pods that are over, not started or going already disrupt nothing.
fn free_to_go(pod: &Value) -> bool {
    matches!(pod.text("status.phase"), "Succeeded" | "Failed" | "Pending")
        || meta::is_terminating(pod)
}

/// Takes one disruption from the pod's budget, or refuses.
async fn budget(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let namespace = meta::namespace(pod);
    let mut budgets = call
        .server
        .objects
        .values("policy", "poddisruptionbudgets", Some(namespace));
    budgets.retain(|budget| {
        Selector::from_label_selector(budget.at("spec.selector"))
            .is_ok_and(|s| s.matches_object(pod))
    });
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let ready = meta::condition(pod, "Ready").is_some_and(|c| c.text("status") == "True");
    let always = budget.text("spec.unhealthyPodEvictionPolicy") == "AlwaysAllow";
    let healthy_enough = budget.int("status.currentHealthy").unwrap_or(0)
        >= budget.int("status.desiredHealthy").unwrap_or(0)
        && budget.int("status.desiredHealthy").unwrap_or(0) > 0;
    if !ready && (always || healthy_enough) {
        return Ok(());
    }
    let endpoint = call
        .server
        .endpoints
        .get("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(|| Status::internal("disruption budgets are not served"))?;
    let own = Call::internal(&call.server, endpoint, namespace);
    let name = meta::name(budget);
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let live = live.ok_or_else(|| {
                Status::not_found(About::new("policy", "poddisruptionbudgets"), name)
            })?;
            take(live, meta::name(pod), call.now)
        }),
    };
    let options = WriteOptions {
        dry_run,
        field_manager: "corten".to_owned(),
        ..WriteOptions::default()
    };
    update(&own, name, change, &options).await.map(|_| ())
}

/// Pods in `status.disruptedPods`; a controller empties it.
const MAX_DISRUPTED: usize = 2000;

/// The budget with one disruption fewer, or why there is none.
fn take(budget: &Value, pod: &str, now: jiff::Timestamp) -> Result<Value, Status> {
    let name = meta::name(budget);
    let refuse = |why: String| {
        Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            0,
        )
        .with_cause("DisruptionBudget", why, "")
    };
    if budget.int("status.observedGeneration").unwrap_or(0) < meta::generation(budget) {
        return Err(refuse(format!(
            "The disruption budget {name} is still being processed by the server."
        )));
    }
    let allowed = budget.int("status.disruptionsAllowed").unwrap_or(0);
    if allowed < 0 {
        return Err(Status::forbidden(
            About::new("policy", "poddisruptionbudgets"),
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    if budget.map("status.disruptedPods").map_or(0, |m| m.len()) > MAX_DISRUPTED {
        return Err(Status::forbidden(
            About::new("policy", "poddisruptionbudgets"),
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let healthy = budget.int("status.currentHealthy").unwrap_or(0);
        let desired = budget.int("status.desiredHealthy").unwrap_or(0);
        return Err(refuse(format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )));
    }
    let mut budget = budget.clone();
    budget.set("status.disruptionsAllowed", allowed - 1);
    meta::map_mut(budget.place("status.disruptedPods"))
        .insert(pod.to_owned(), api::clock::rfc3339(now).into());
    Ok(budget)
}
