//! Deletecollection.

use std::sync::Arc;

use api::status::Status;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use http::Response;
use store::Entry;

use super::call::Call;
use super::delete::{DeleteOptions, delete};
use super::read;
use crate::http::body::Body;
use crate::request::info::RequestInfo;

/// Objects deleted at one time.
const AT_ONCE: usize = 16;

/// Deletes every selected object; one that went meanwhile does not count as a failure.
pub async fn delete_collection(call: &Call, body: &[u8]) -> Result<Response<Body>, Status> {
    let options = DeleteOptions::read(call, body)?;
    let (list, next) = read::select(call).await?;
    let mut deletes = FuturesUnordered::new();
    for entry in &list.items {
        if deletes.len() >= AT_ONCE {
            deletes.try_next().await?;
        }
        deletes.push(delete_one(call, entry.clone(), options.clone()));
    }
    while deletes.try_next().await?.is_some() {}
    drop(deletes);
    read::answer(call, &list, next).await
}

async fn delete_one(call: &Call, entry: Arc<Entry>, options: DeleteOptions) -> Result<(), Status> {
    let own = Call {
        info: RequestInfo {
            namespace: entry.key.namespace().unwrap_or("").to_owned(),
            name: entry.key.name().to_owned(),
            ..call.info.clone()
        },
        user: call.user.clone(),
        ..Call::internal(&call.server, call.endpoint.clone(), "")
    };
    match delete(&own, entry.key.name(), &options).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}
