//! The OpenAPI documents, made on first demand.

use std::collections::HashMap;
use std::sync::Arc;

use api::status::Status;
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;
use parking_lot::Mutex;
use serde_json::Value;

use super::tagged;
use crate::http::body::Body;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Documents made so far, by path: as many as there are served versions.
#[derive(Default)]
pub struct OpenApi {
    made: Mutex<HashMap<String, Bytes>>,
}

impl OpenApi {
    fn get(&self, path: &str, make: impl FnOnce() -> Option<Value>) -> Option<Bytes> {
        if let Some(bytes) = self.made.lock().get(path) {
            return Some(bytes.clone());
        }
        let bytes: Bytes = serde_json::to_vec(&make()?).ok()?.into();
        self.made.lock().insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }
}

/// Answers `/openapi/…`.
pub fn answer(
    server: &Arc<ApiServer>,
    parts: &Parts,
    rest: &[&str],
    query: &Query,
) -> Result<Response<Body>, Status> {
    if !accepts_json(parts) {
        return Err(Status::not_acceptable(&["application/json"]));
    }
    let catalog = server.catalog;
    let path = rest.join("/");
    let bytes = server.documents.openapi.get(&path, || match *rest {
        ["v2"] => Some(api::openapi::v2(catalog)),
        ["v3"] => Some(api::openapi::v3_index(catalog)),
        ["v3", "api", version] => api::openapi::v3(catalog, "", version),
        ["v3", "apis", group, version] => api::openapi::v3(catalog, group, version),
        _ => None,
    });
    let mut response = tagged(
        parts,
        "application/json",
        bytes.ok_or_else(Status::no_resource)?,
    );
    if query.get("hash").is_some() {
        // The index names the content by its hash: what is asked for so never changes.
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable"),
        );
    }
    Ok(response)
}

fn accepts_json(parts: &Parts) -> bool {
    let Some(accept) = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
    else {
        return true;
    };
    accept.split(',').any(|clause| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        matches!(media, "" | "*/*" | "application/*" | "application/json")
    })
}
