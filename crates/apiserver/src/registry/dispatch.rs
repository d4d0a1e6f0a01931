//! From a verb on a resource to the operation that does it.

use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use bytes::Bytes;
use http::{Response, StatusCode};

use super::call::Call;
use super::create::namespace_of;
use super::{collection, create, decode, delete, patch, read, respond, sub, update, watch};
use crate::http::body::Body;

/// Does what the call asks for. Each operation's future is in a box of its own: a task is moved a
/// dozen times between its making and its end, and would have the size of the largest operation.
pub async fn dispatch(call: Call, body: Bytes) -> Result<Response<Body>, Status> {
    if !call.info.subresource.is_empty() {
        return Box::pin(sub::dispatch(call, body)).await;
    }
    let endpoint = call.endpoint.clone();
    let verb = call.info.verb;
    // What is refused because the definition goes is told why.
    let served = endpoint.has_verb(verb) || verb == "create" && endpoint.closing.is_some();
    if !served {
        return Err(Status::method_not_allowed());
    }
    // A collection is neither replaced nor patched.
    if matches!(verb, "update" | "patch") && call.info.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    if !endpoint.stored {
        return Box::pin(sub::virtual_resource(call, body)).await;
    }
    match verb {
        "get" => read::get(&call).await,
        "list" => read::list(&call).await,
        "watch" => Box::pin(watch::watch(call)).await,
        "create" => Box::pin(post(&call, &body)).await,
        "update" => Box::pin(put(&call, &body)).await,
        "patch" => {
            let patch = patch::patch(&call, &call.info.name, Part::Main, &body);
            let (written, created) = Box::pin(patch).await?;
            respond::written(&call, code(created), &written).await
        }
        "delete" => {
            let options = delete::DeleteOptions::read(&call, &body)?;
            let name = call.info.name.as_str();
            let (written, gone) = Box::pin(delete::delete(&call, name, &options)).await?;
            let answer = delete::answer(&call, name, written, gone)?;
            respond::written(&call, StatusCode::OK, &answer).await
        }
        "deletecollection" => Box::pin(collection::delete_collection(&call, &body)).await,
        _ => Err(Status::method_not_allowed()),
    }
}

fn code(created: bool) -> StatusCode {
    if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

async fn post(call: &Call, body: &[u8]) -> Result<Response<Body>, Status> {
    let endpoint = &call.endpoint;
    if !call.info.name.is_empty() && call.info.resource != "namespaces" {
        return Err(Status::method_not_allowed());
    }
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
    let written = create::create(call, object, &options).await?;
    respond::written(call, StatusCode::CREATED, &written).await
}

async fn put(call: &Call, body: &[u8]) -> Result<Response<Body>, Status> {
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
    let (written, created) = replace(call, object, Part::Main, &options).await?;
    respond::written(call, code(created), &written).await
}

/// Puts `object` in the place of the one the path names.
pub(super) async fn replace(
    call: &Call,
    mut object: serde_json::Value,
    part: Part<'_>,
    options: &super::call::WriteOptions,
) -> Result<(super::Written, bool), Status> {
    let name = call.info.name.as_str();
    namespace_of(call, &mut object)?;
    let sent = object.text("metadata.name");
    if sent.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if sent != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({name})"
        )));
    }
    let create_missing = part == Part::Main && call.endpoint.resource.strategy.create_on_update();
    let change = update::Change {
        part,
        subresource: &call.info.subresource,
        create_missing,
        managed: false,
        propose: Box::new(move |_| Ok(object.clone())),
    };
    update::update(call, name, change, options).await
}
