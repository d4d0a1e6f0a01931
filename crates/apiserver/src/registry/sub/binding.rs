//! `binding`: the scheduler's decision, written once.

use api::meta;
use api::object::Object;
use api::resource::Subresource;
use api::status::{About, Status};
use api::strategy::Part;
use bytes::Bytes;
use http::{Response, StatusCode};
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::registry::call::Call;
use crate::registry::update::{Change, update};
use crate::registry::{decode, respond};

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
    let about = About::new("", "pods/binding");
    let change = Change {
        part: Part::Sub("binding"),
        subresource: "binding",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let pod = live.ok_or_else(|| Status::not_found(About::new("", "pods"), name))?;
            let uid = meta::uid(binding);
            if !uid.is_empty() && uid != meta::uid(pod) {
                let held = meta::uid(pod);
                return Err(Status::conflict(
                    about,
                    name,
                    format!(
                        "Precondition failed: UID in precondition: {uid}, UID in object meta: {held}"
                    ),
                ));
            }
            if meta::is_terminating(pod) {
                return Err(Status::conflict(
                    about,
                    name,
                    format!("pod {name} is being deleted, cannot be assigned to a host"),
                ));
            }
            let node = pod.text("spec.nodeName");
            if !node.is_empty() {
                return Err(Status::conflict(
                    about,
                    name,
                    format!("pod {name} is already assigned to node {node:?}"),
                ));
            }
            if !pod.list("spec.schedulingGates").is_empty() {
                return Err(Status::conflict(
                    about,
                    name,
                    format!("pod {name} has non-empty .spec.schedulingGates"),
                ));
            }
            let mut pod = pod.clone();
            pod.set("spec.nodeName", target);
            // It has come true, or it has not (KEP-5278).
            pod.remove("status.nominatedNodeName");
            for (key, value) in meta::annotations(binding) {
                meta::set_annotation(&mut pod, key, value);
            }
            for (key, value) in meta::labels(binding) {
                meta::set_label(&mut pod, key, value);
            }
            let condition = json!({
                "type": "PodScheduled", "status": "True",
                "lastProbeTime": null, "lastTransitionTime": api::clock::rfc3339(call.now),
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
            Ok(pod)
        }),
    };
    update(call, name, change, &options).await?;
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    respond::encode(call, StatusCode::CREATED, &value)
}
