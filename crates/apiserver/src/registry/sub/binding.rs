//! `binding`: the scheduler's decision, written once.

use api::meta;
use api::object::Object;
use api::resource::Subresource;
use api::status::{About, Status};
use bytes::Bytes;
use http::{Response, StatusCode};
use schema::field_error::FieldError;
use serde_json::{Value, json};
use store::{Expect, WriteError};

use crate::http::body::Body;
use crate::registry::call::Call;
use crate::registry::create::store_error;
use crate::registry::{decode, respond, serialize};

/// Tries of a binding that others get in the way of.
const TRIES: usize = 16;

/// `POST …/pods/NAME/binding`.
pub async fn bind(
    call: &Call,
    subresource: &Subresource,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let catalog = call.server.catalog;
    let gvk = &subresource.body;
    let ty = catalog
        .type_of(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal("the type Binding is missing"))?;
    let options = call.write_options()?;
    let mut binding = decode::body(
        call,
        gvk,
        &catalog.table,
        ty,
        body,
        options.field_validation,
    )?;
    let sent = meta::name(&binding);
    if !sent.is_empty() && sent != call.info.name {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    super::admit(call, "binding", options.dry_run, &mut binding).await?;
    assign(call, &call.info.name, &binding).await
}

/// `POST …/bindings`, the older way.
pub async fn create(call: &Call, body: &Bytes) -> Result<Response<Body>, Status> {
    let endpoint = &call.endpoint;
    let options = call.write_options()?;
    let resource = &endpoint.resource;
    let mut binding = decode::body(
        call,
        &resource.gvk,
        endpoint.resource.table(),
        resource.ty,
        body,
        options.field_validation,
    )?;
    super::admit(call, "", options.dry_run, &mut binding).await?;
    let pods = call
        .server
        .endpoints
        .get("", "v1", "pods")
        .ok_or_else(|| Status::internal("pods are not served"))?;
    let own = Call {
        user: call.user.clone(),
        ..Call::internal(&call.server, pods, &call.info.namespace)
    };
    let name = meta::name(&binding).to_owned();
    assign(&own, &name, &binding).await
}

async fn assign(call: &Call, name: &str, binding: &Value) -> Result<Response<Body>, Status> {
    let target = binding.text("target.name");
    let kind = binding.text("target.kind");
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(
            "target.kind",
            kind,
            &["Node", "<empty>"],
        ));
    }
    if target.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(About::new("", "Binding"), name, errors));
    }
    let options = call.write_options()?;
    let missing = || Status::not_found(About::new("", "pods"), name);
    let endpoint = &call.endpoint;
    let store = &call.server.store;
    let key = endpoint.key(call.namespace(), name);
    // What admission had to say it has said of the Binding; nothing else of the pod changes than
    // what is set here, so it is neither prepared nor judged again, and nobody comes to own it.
    for _ in 0..TRIES {
        let entry = store.get(&key).ok_or_else(missing)?;
        let mut pod = serialize::live(endpoint, &entry).await?;
        place(binding, &mut pod, call.now).map_err(|why| {
            let about = About::new("", "pods/binding");
            Status::conflict(about, name, why)
        })?;
        if options.dry_run {
            return done(call);
        }
        let rest = serialize::to_storage(endpoint, &pod).await?;
        let stored = serialize::stored(&endpoint.resource, &rest)?;
        let expected = Expect::At(entry.revision);
        match store.update(entry.key.clone(), expected, stored).await {
            Ok(_) => return done(call),
            // Somebody was faster: whether the pod can still be bound is seen from what it is now.
            Err(WriteError::Conflict { .. }) => {}
            Err(WriteError::NotFound { .. }) => return Err(missing()),
            Err(error) => return Err(store_error(call, error)),
        }
    }
    Err(Status::modified(&*endpoint.resource, name))
}

fn done(call: &Call) -> Result<Response<Body>, Status> {
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    respond::encode(call, StatusCode::CREATED, &value)
}

/// Puts the pod where the binding says; the error says why it cannot be put anywhere.
fn place(binding: &Value, pod: &mut Value, now: jiff::Timestamp) -> Result<(), String> {
    for (what, sent, held) in [
        ("UID", meta::uid(binding), meta::uid(pod)),
        (
            "ResourceVersion",
            binding.text("metadata.resourceVersion"),
            pod.text("metadata.resourceVersion"),
        ),
    ] {
        if !sent.is_empty() && sent != held {
            return Err(format!(
                "Precondition failed: {what} in precondition: {sent}, {what} in object meta: {held}"
            ));
        }
    }
    let name = meta::name(pod);
    if meta::is_terminating(pod) {
        return Err(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let node = pod.text("spec.nodeName");
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    if !pod.list("spec.schedulingGates").is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.set("spec.nodeName", binding.text("target.name"));
    // It has come true, or it has not (KEP-5278).
    pod.remove("status.nominatedNodeName");
    for (key, value) in meta::annotations(binding) {
        meta::set_annotation(pod, key, value);
    }
    for (key, value) in meta::labels(binding) {
        meta::set_label(pod, key, value);
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": api::clock::rfc3339(now),
    });
    let conditions = pod.place("status.conditions");
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        match list.iter_mut().find(|c| c.text("type") == "PodScheduled") {
            Some(old) if old.text("status") == "True" => {}
            Some(old) => *old = condition,
            None => list.push(condition),
        }
    }
    Ok(())
}
