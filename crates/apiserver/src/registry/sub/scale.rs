//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1 Scale`.

use api::labels::Selector;
use api::object::Object;
use api::resource::{Resource, Subresource};
use api::status::{About, Status};
use api::strategy::Part;
use bytes::Bytes;
use http::{Response, StatusCode};
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::patch::{Format, Patcher, format};
use crate::registry::update::{Change, update};
use crate::registry::{Written, decode, respond, serialize};

/// Gets, replaces or patches the scale.
pub async fn dispatch(
    call: &Call,
    subresource: &Subresource,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let name = call.info.name.as_str();
    let catalog = call.server.catalog;
    let gvk = &subresource.body;
    let ty = catalog
        .type_of(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal("the type Scale is missing"))?;
    match call.info.verb {
        "get" => {
            let key = call.endpoint.key(call.namespace(), name);
            let entry = call
                .server
                .store
                .get(&key)
                .ok_or_else(|| Status::not_found(&*call.endpoint.resource, name))?;
            let resource = &*call.endpoint.resource;
            let object = serialize::live(&call.endpoint, &entry).await?;
            if let Some(paths) = &resource.scale
                && !object.has(&paths.replicas)
            {
                let why = format!(
                    "the spec replicas field \".{}\" does not exist",
                    paths.replicas
                );
                return Err(Status::internal(why));
            }
            respond::value(call, StatusCode::OK, &of(resource, &object))
        }
        "update" => {
            let options = call.write_options()?;
            let scale = decode::body(
                call,
                gvk,
                &catalog.table,
                ty,
                body,
                options.field_validation,
            )?;
            set(call, name, &options, |_| Ok(scale.clone())).await
        }
        _ => {
            let options = call.write_options()?;
            let mut patch_format = format(&call.content_type)?;
            if patch_format == Format::Apply {
                // What an apply of a scale owns is the one field it has.
                let scale = schema::decode::yaml(&catalog.table, ty, body)
                    .map_err(|e| Status::bad_request(e.to_string()))?
                    .value;
                return set(call, name, &options, |live| {
                    Ok(schema::patch::merge(live, &scale))
                })
                .await;
            }
            if patch_format == Format::Strategic {
                // A scale has no lists: the two merges are one.
                patch_format = Format::Merge;
            }
            let patcher = Patcher {
                table: &catalog.table,
                ty,
                format: patch_format,
                body,
            };
            let parsed = patcher.parse()?;
            set(call, name, &options, |live| {
                patcher.run(call, &options, live, &parsed)
            })
            .await
        }
    }
}

async fn set(
    call: &Call,
    name: &str,
    options: &WriteOptions,
    wanted: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
) -> Result<Response<Body>, Status> {
    let resource = &*call.endpoint.resource;
    let change = Change {
        part: Part::Main,
        subresource: "scale",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let live = live.ok_or_else(|| Status::not_found(resource, name))?;
            let scale = wanted(&of(resource, live))?;
            let replicas = scale.int("spec.replicas").unwrap_or(0);
            if replicas < 0 {
                let error = FieldError::invalid(
                    "spec.replicas",
                    replicas,
                    "must be greater than or equal to 0",
                );
                return Err(Status::invalid(
                    About::new("autoscaling", "Scale"),
                    name,
                    vec![error],
                ));
            }
            let mut object = live.clone();
            put(resource, &mut object, &replicas.into());
            // Without a revision the change is of whatever there is now.
            for path in ["metadata.resourceVersion", "metadata.uid"] {
                if !scale.text(path).is_empty() {
                    object.restore(path, &scale);
                }
            }
            Ok(object)
        }),
    };
    let (written, _) = update(call, name, change, options).await?;
    let object = match &written {
        Written::Entry(entry) => serialize::live(&call.endpoint, entry).await?,
        Written::Value(value) => value.clone(),
    };
    respond::value(call, StatusCode::OK, &of(resource, &object))
}

/// The scale of an object.
pub fn of(resource: &Resource, object: &Value) -> Value {
    let (replicas, now, selector) = match &resource.scale {
        Some(paths) => (
            object.int(&paths.replicas),
            object.int(&paths.status_replicas),
            paths
                .selector
                .as_ref()
                .map_or(String::new(), |path| object.text(path).to_owned()),
        ),
        None => (
            object.int("spec.replicas"),
            object.int("status.replicas"),
            selector(object),
        ),
    };
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.at("metadata").get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": now.unwrap_or(0)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut spec = json!({});
    if let Some(replicas) = replicas.filter(|n| *n != 0) {
        spec["replicas"] = replicas.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// Puts the number of replicas where this resource has it.
pub fn put(resource: &Resource, object: &mut Value, replicas: &Value) {
    let path = resource
        .scale
        .as_ref()
        .map_or("spec.replicas", |paths| &paths.replicas);
    object.set(path, replicas.as_i64().unwrap_or(0));
}

fn selector(object: &Value) -> String {
    let selector = object.at("spec.selector");
    if selector.is_null() {
        String::new()
    } else if object.text("kind") == "ReplicationController" {
        Selector::from_map(selector).to_string()
    } else {
        Selector::from_label_selector(selector)
            .map(|s| s.to_string())
            .unwrap_or_default()
    }
}
