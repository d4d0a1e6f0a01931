//! Subresources, and resources whose objects do not rest.

mod binding;
mod eviction;
mod part;
mod review;
mod scale;
mod token;

use api::status::Status;
use bytes::Bytes;
use http::Response;

use super::call::Call;
use crate::http::body::Body;

/// Does what the call asks of a subresource.
pub async fn dispatch(call: Call, body: Bytes) -> Result<Response<Body>, Status> {
    let endpoint = call.endpoint.clone();
    let Some(subresource) = endpoint.resource.subresource(&call.info.subresource) else {
        return Err(Status::no_resource());
    };
    if !subresource
        .verbs
        .iter()
        .any(|verb| &**verb == call.info.verb)
    {
        return Err(Status::method_not_allowed());
    }
    match call.info.subresource.as_str() {
        "scale" => scale::dispatch(&call, subresource, &body).await,
        "binding" => binding::bind(&call, subresource, &body).await,
        "eviction" => eviction::evict(&call, subresource, &body).await,
        "token" => token::request(&call, subresource, &body).await,
        _ => part::dispatch(&call, &body).await,
    }
}

/// Does what the call asks of a resource whose objects do not rest.
pub async fn virtual_resource(call: Call, body: Bytes) -> Result<Response<Body>, Status> {
    match (
        &*call.endpoint.resource.gvk.group,
        &*call.endpoint.resource.plural,
    ) {
        ("", "bindings") => binding::create(&call, &body).await,
        ("", "componentstatuses") => review::component_statuses(&call),
        _ => review::create(&call, &body).await,
    }
}
