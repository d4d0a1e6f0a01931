//! Subresources that are a part of the object itself: `status`, `finalize`, `approval`,
//! `ephemeralcontainers`, `resize`.

use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use crate::http::body::Body;
use crate::registry::call::Call;
use crate::registry::update::{Change, update};
use crate::registry::{decode, patch, read, respond};

/// What of the object each of these subresources may change.
const PARTS: [(&str, &[&str]); 4] = [
    ("finalize", &["spec.finalizers"]),
    ("approval", &["status.conditions"]),
    ("ephemeralcontainers", &["spec.ephemeralContainers"]),
    ("resize", &["spec.containers", "spec.initContainers"]),
];

/// Gets, replaces or patches a part.
pub async fn dispatch(call: &Call, body: &Bytes) -> Result<Response<Body>, Status> {
    let name = call.info.name.as_str();
    let subresource = call.info.subresource.as_str();
    let part = if subresource == "status" {
        Part::Status
    } else {
        Part::Sub(subresource)
    };
    match call.info.verb {
        "get" => read::get(call).await,
        "patch" => {
            let (written, _) = patch::patch(call, name, part, body).await?;
            respond::written(call, StatusCode::OK, &written).await
        }
        "update" => {
            let endpoint = &call.endpoint;
            let options = call.write_options()?;
            let resource = &endpoint.resource;
            let object = decode::body(
                call,
                &resource.gvk,
                endpoint.resource.table(),
                resource.ty,
                body,
                options.field_validation,
            )?;
            let sent = object.text("metadata.name");
            if !sent.is_empty() && sent != name {
                return Err(Status::bad_request(format!(
                    "the name of the object ({sent}) does not match the name on the URL ({name})"
                )));
            }
            let change = Change {
                part,
                subresource,
                create_missing: false,
                managed: false,
                propose: Box::new(|live| {
                    Ok(live.map_or_else(|| object.clone(), |live| only(part, &object, live)))
                }),
            };
            let (written, _) = update(call, name, change, &options).await?;
            respond::written(call, StatusCode::OK, &written).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}

/// The live object with this part of `object` in it. A status is kept apart by the generic
/// preparation of every update.
fn only(part: Part<'_>, object: &Value, live: &Value) -> Value {
    let Part::Sub(name) = part else {
        return object.clone();
    };
    let Some((_, paths)) = PARTS.iter().find(|(sub, _)| *sub == name) else {
        return object.clone();
    };
    let mut merged = live.clone();
    for path in *paths {
        merged.restore(path, object);
    }
    for path in [
        "metadata.resourceVersion",
        "metadata.uid",
        "metadata.managedFields",
    ] {
        match object.at(path) {
            Value::Null => {
                if path == "metadata.resourceVersion" {
                    merged.remove(path);
                }
            }
            value => merged.set(path, value.clone()),
        }
    }
    merged
}
