//! Subresources, and resources whose objects do not rest.

mod binding;
mod eviction;
mod part;
mod review;
pub(super) mod scale;
mod token;

use api::status::Status;
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::call::Call;
use crate::admission::{Admission, Operation};
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

/// Admission of a body that is posted and does not rest: an eviction, a binding, a question.
async fn admit(
    call: &Call,
    subresource: &str,
    dry_run: bool,
    body: &mut Value,
) -> Result<(), Status> {
    let admission = Admission::write(call, Operation::Create, subresource, dry_run);
    let chain = &call.server.admission;
    chain.mutate(&admission, body, None).await?;
    chain.validate(&admission, body, None).await
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
