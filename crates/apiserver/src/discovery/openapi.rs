//! The OpenAPI documents, made on first demand, and again when definitions change.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use api::openapi::custom::{self, Published};
use api::openapi::{Form, V2Parts};
use api::serving::Serving;
use api::status::Status;
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;
use parking_lot::Mutex;
use schema::gnostic;
use serde_json::{Value, json};

use super::served::Served;
use super::tagged;
use crate::aggregation::openapi as aggregated;
use crate::endpoint::Endpoint;
use crate::http::body::Body;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Documents made so far, by path: as many as there are served versions. Those of built-in kinds
/// stay, the others go when what is served changes.
#[derive(Default)]
pub struct OpenApi {
    builtin: Mutex<HashMap<String, Bytes>>,
    /// The built-in kinds' part of the version 2 document.
    parts: OnceLock<V2Parts>,
    /// The change they are made of, and they.
    custom: Mutex<(u64, HashMap<String, Bytes>)>,
    /// The version 2 document that was last asked for as protobuf, and that form of it.
    protobuf: Mutex<Option<(Bytes, Bytes)>>,
}

impl OpenApi {
    /// The protobuf form of a version 2 document.
    fn protobuf(&self, json: &Bytes) -> Result<Bytes, Status> {
        let mut made = self.protobuf.lock();
        if let Some((from, bytes)) = &*made
            && from.as_ptr() == json.as_ptr()
        {
            return Ok(bytes.clone());
        }
        let document: Value = serde_json::from_slice(json).map_err(Status::internal)?;
        let bytes: Bytes = gnostic::encode(&document).into();
        *made = Some((json.clone(), bytes.clone()));
        Ok(bytes)
    }

    fn builtin(&self, path: &str, make: impl FnOnce() -> Option<Value>) -> Option<Bytes> {
        if let Some(bytes) = self.builtin.lock().get(path) {
            return Some(bytes.clone());
        }
        let bytes: Bytes = serde_json::to_vec(&make()?).ok()?.into();
        self.builtin.lock().insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }

    fn custom(&self, served: &Served, path: &str, make: impl FnOnce() -> String) -> Bytes {
        let mut custom = self.custom.lock();
        if custom.0 != served.changes {
            *custom = (served.changes, HashMap::new());
        }
        if let Some(bytes) = custom.1.get(path) {
            return bytes.clone();
        }
        let bytes = Bytes::from(make());
        custom.1.insert(path.to_owned(), bytes.clone());
        bytes
    }
}

fn published<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> Vec<Published<'a>> {
    endpoints
        .map(|endpoint| Published {
            resource: &endpoint.resource,
            version: endpoint
                .form
                .as_ref()
                .map_or(Value::Null, |form| form.version()),
        })
        .collect()
}

/// `/openapi/v3`: every version with what changes when its document does.
fn index(builtin: &Serving, served: &Served) -> String {
    let tables = api::openapi::hash(builtin);
    let mut paths = serde_json::Map::new();
    for group in served.groups() {
        for version in &group.versions {
            let mut hasher = DefaultHasher::new();
            let mut custom = false;
            for endpoint in served.custom_of(&group.name, version) {
                custom = true;
                endpoint.resource.plural.hash(&mut hasher);
                endpoint
                    .form
                    .as_ref()
                    .map(|form| form.mark())
                    .hash(&mut hasher);
            }
            let path = api::openapi::version_path(&group.name, version);
            let hash = if custom {
                format!("{tables}{:016X}", hasher.finish())
            } else {
                tables.clone()
            };
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths}).to_string()
}

/// The document of a version.
fn version(server: &ApiServer, served: &Served, group: &str, version: &str) -> Option<Bytes> {
    let catalog = server.catalog;
    let documents = &server.documents.openapi;
    let path = api::openapi::version_path(group, version);
    let mut custom = served.custom_of(group, version).peekable();
    if custom.peek().is_none() {
        return documents.builtin(&path, || api::openapi::v3(&server.serving, group, version));
    }
    Some(documents.custom(served, &path, || {
        let published = published(custom);
        match api::openapi::v3(&server.serving, group, version) {
            None => custom::v3(catalog, &published).to_string(),
            Some(mut document) => {
                let (paths, schemas) = custom::parts(catalog, &published, Form::V3);
                for (place, more) in [("/paths", paths), ("/components/schemas", schemas)] {
                    if let Some(Value::Object(map)) = document.pointer_mut(place) {
                        map.extend(more);
                    }
                }
                document.to_string()
            }
        }
    }))
}

/// Answers `/openapi/…`.
pub async fn answer(
    server: &Arc<ApiServer>,
    served: &Served,
    parts: &Parts,
    rest: &[&str],
    query: &Query,
) -> Result<Response<Body>, Status> {
    let gnostic = match *rest {
        ["v2"] => asks_for_protobuf(parts),
        _ => false,
    };
    if !gnostic && !accepts_json(parts) {
        return Err(Status::not_acceptable(&["application/json"]));
    }
    if let ["v3", "apis", group, version] = *rest
        && let Some(backend) = server.aggregation.get(group, version)
    {
        let document = aggregated::v3(server, &backend).await;
        let document = document.ok_or_else(Status::no_resource)?;
        return Ok(tagged(parts, "application/json", document));
    }
    let documents = &server.documents.openapi;
    let bytes = match *rest {
        ["v2"] => Some(documents.custom(served, "v2", || {
            let published = published(served.custom.iter());
            let (paths, definitions) = custom::parts(server.catalog, &published, Form::V2);
            let parts = &documents.parts;
            let parts = parts.get_or_init(|| V2Parts::new(&server.serving));
            parts.with(&paths, &definitions)
        })),
        ["v3"] => Some(documents.custom(served, "v3", || index(&server.serving, served))),
        ["v3", "api", name] => version(server, served, "", name),
        ["v3", "apis", group, name] => version(server, served, group, name),
        _ => None,
    };
    let own = bytes.ok_or_else(Status::no_resource)?;
    let bytes = match *rest {
        ["v2"] => aggregated::v2(server, &own),
        ["v3"] => aggregated::index(server, &own),
        _ => own,
    };
    let (kind, bytes) = if gnostic {
        (gnostic::CONTENT_TYPE, documents.protobuf(&bytes)?)
    } else {
        ("application/json", bytes)
    };
    let mut response = tagged(parts, kind, bytes);
    if query.get("hash").is_some() {
        // The index names the content by its hash: what is asked for so never changes.
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable"),
        );
    }
    Ok(response)
}

/// Is the protobuf form asked for, and not after JSON?
fn asks_for_protobuf(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT);
    let accept = accept.and_then(|v| v.to_str().ok()).unwrap_or("");
    let first = accept.split(',').next().unwrap_or("");
    let media = first.split(';').next().unwrap_or("").trim();
    gnostic::ACCEPTED.contains(&media)
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
