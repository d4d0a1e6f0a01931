//! From objects to answers: JSON, YAML, protobuf; the object itself, its metadata or a table row.

use api::object::Object;
use api::status::Status;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use schema::table::TypeId;
use serde::Serialize;
use serde_json::{Value, json};
use store::Entry;

use super::call::Call;
use super::listing::Listing;
use super::{Written, serialize};
use crate::http::body::Body;
use crate::request::accept::{Accept, Encoding, Shape};

/// Answers a write or a get.
pub async fn written(
    call: &Call,
    code: StatusCode,
    written: &Written,
) -> Result<Response<Body>, Status> {
    match written {
        Written::Entry(entry) => self::entry(call, code, entry).await,
        Written::Value(value) => self::value(call, code, value),
    }
}

/// Answers one stored object.
pub async fn entry(call: &Call, code: StatusCode, entry: &Entry) -> Result<Response<Body>, Status> {
    let endpoint = &call.endpoint;
    if call.accept.shape == Shape::Object && !pretty(call) {
        match call.accept.encoding {
            Encoding::Json if !endpoint.converts => {
                return Ok(full(call, code, "application/json", entry.json.clone()));
            }
            Encoding::Protobuf => {
                let raw = raw(call, entry)?;
                let gvk = &endpoint.resource.gvk;
                let wrapped = schema::proto::envelope::wrap(&endpoint.api_version, &gvk.kind, &raw);
                return Ok(full(call, code, Encoding::Protobuf.content_type(), wrapped));
            }
            _ => {}
        }
    }
    value(call, code, &serialize::live(endpoint, entry).await?)
}

/// The object as a protobuf message, without envelope. Made once where it rests in this version.
pub fn raw(call: &Call, entry: &Entry) -> Result<Bytes, Status> {
    let endpoint = &call.endpoint;
    let encode = || -> Result<Bytes, Status> {
        let object = serialize::native(endpoint, entry)?;
        let bytes = schema::proto::encode(endpoint.resource.table(), endpoint.resource.ty, &object);
        Ok(bytes.map_err(Status::internal)?.into())
    };
    if endpoint.converts {
        return encode();
    }
    if let Some(bytes) = entry.protobuf.get() {
        return Ok(bytes.clone());
    }
    let bytes = encode()?;
    Ok(entry.protobuf.get_or_init(|| bytes).clone())
}

/// Answers one object.
pub fn value(call: &Call, code: StatusCode, object: &Value) -> Result<Response<Body>, Status> {
    let shaped;
    let object = match call.accept.shape {
        Shape::Table if is_own(call, object) => {
            shaped = table(
                call,
                vec![object.clone()],
                json!({
                    "resourceVersion": object.text("metadata.resourceVersion"),
                }),
                true,
            );
            &shaped
        }
        Shape::Metadata if is_own(call, object) => {
            shaped = metadata(call, object.clone());
            &shaped
        }
        _ => object,
    };
    encode(call, code, object)
}

fn is_own(call: &Call, object: &Value) -> bool {
    object.text("kind") == &*call.endpoint.resource.gvk.kind
}

/// The object's `PartialObjectMetadata`.
pub fn metadata(call: &Call, mut object: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": call.accept.meta_version(),
        "metadata": object["metadata"].take(),
    })
}

/// A table of objects. `headers` says whether to describe the columns.
pub fn table(call: &Call, objects: Vec<Value>, metadata: Value, headers: bool) -> Value {
    let rows = objects.into_iter().map(|object| row(call, object));
    let mut table = table_head(call, metadata, headers);
    table["rows"] = rows.collect();
    table
}

/// A table but for its rows.
pub fn table_head(call: &Call, metadata: Value, headers: bool) -> Value {
    let columns = if headers {
        api::columns::definitions(&call.endpoint.resource)
    } else {
        json!([])
    };
    json!({
        "kind": "Table",
        "apiVersion": call.accept.meta_version(),
        "metadata": metadata,
        "columnDefinitions": columns,
    })
}

/// The row of an object.
pub fn row(call: &Call, object: Value) -> Value {
    let resource = &call.endpoint.resource;
    let mut row = json!({"cells": api::columns::row(resource, &object, call.now)});
    match call.query.get("includeObject").unwrap_or("Metadata") {
        "None" => {}
        "Object" => row["object"] = object,
        _ => row["object"] = metadata(call, object),
    }
    row
}

/// Answers a list.
pub fn listing<F: Fn(Value) -> Value>(
    call: &Call,
    listing: Listing<'_, F>,
) -> Result<Response<Body>, Status> {
    match call.accept.encoding {
        Encoding::Protobuf if type_of(call, listing.head()).is_some() => {
            encode(call, StatusCode::OK, &listing.value()?)
        }
        Encoding::Yaml => Ok(full(
            call,
            StatusCode::OK,
            "application/yaml",
            yaml(&listing)?,
        )),
        encoding => Ok(full(
            call,
            StatusCode::OK,
            "application/json",
            text(&listing, encoding == Encoding::Json && pretty(call))?,
        )),
    }
}

/// Answers any value that names its kind.
pub fn encode(call: &Call, code: StatusCode, object: &Value) -> Result<Response<Body>, Status> {
    match call.accept.encoding {
        Encoding::Protobuf => match protobuf(call, object)? {
            Some(bytes) => Ok(full(call, code, Encoding::Protobuf.content_type(), bytes)),
            None => Ok(full(call, code, "application/json", text(object, false)?)),
        },
        Encoding::Yaml => Ok(full(call, code, "application/yaml", yaml(object)?)),
        Encoding::Json => Ok(full(
            call,
            code,
            "application/json",
            text(object, pretty(call))?,
        )),
    }
}

fn type_of(call: &Call, object: &Value) -> Option<TypeId> {
    let (group, version) = api::meta::split_api_version(object.text("apiVersion"));
    call.server
        .catalog
        .type_of(group, version, object.text("kind"))
}

/// The object in its envelope; none where its kind has no protobuf form.
pub fn protobuf(call: &Call, object: &Value) -> Result<Option<Bytes>, Status> {
    let Some(ty) = type_of(call, object) else {
        return Ok(None);
    };
    let raw =
        schema::proto::encode(&call.server.catalog.table, ty, object).map_err(Status::internal)?;
    let wrapped =
        schema::proto::envelope::wrap(object.text("apiVersion"), object.text("kind"), &raw);
    Ok(Some(wrapped.into()))
}

/// JSON with a line end, as upstream writes it.
pub fn text(object: &impl Serialize, pretty: bool) -> Result<Vec<u8>, Status> {
    let mut bytes = if pretty {
        serde_json::to_vec_pretty(object)
    } else {
        serde_json::to_vec(object)
    }
    .map_err(Status::internal)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn yaml(object: &impl Serialize) -> Result<Vec<u8>, Status> {
    serde_saphyr::to_string(object)
        .map(String::into_bytes)
        .map_err(Status::internal)
}

/// Is the answer for people's eyes?
pub fn pretty(call: &Call) -> bool {
    match call.query.optional_flag("pretty") {
        Some(pretty) => pretty,
        None => ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|p| call.user_agent.starts_with(p)),
    }
}

fn full(
    call: &Call,
    code: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response<Body> {
    response(call, code, content_type, Body::full(bytes))
}

/// An answer with the call's warnings.
pub fn response(
    call: &Call,
    code: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for warning in call.warnings.lock().iter() {
        let quoted = warning
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
    response
}

/// The answer to a request that failed, in the encoding asked for.
pub(crate) fn failure(status: &Status, accept: Accept, pretty: bool) -> Response<Body> {
    let value = status.to_value();
    let json = || text(&value, pretty).unwrap_or_default();
    let (content_type, bytes) = match accept.encoding {
        Encoding::Protobuf => {
            let catalog = api::catalog::builtin();
            let raw = catalog
                .type_of("", "v1", "Status")
                .and_then(|ty| schema::proto::encode(&catalog.table, ty, &value).ok());
            match raw {
                Some(raw) => (
                    Encoding::Protobuf.content_type(),
                    schema::proto::envelope::wrap("v1", "Status", &raw),
                ),
                None => ("application/json", json()),
            }
        }
        Encoding::Yaml => match yaml(&value) {
            Ok(bytes) => ("application/yaml", bytes),
            Err(_) => ("application/json", json()),
        },
        Encoding::Json => ("application/json", json()),
    };
    let mut response = Response::new(Body::full(bytes));
    *response.status_mut() =
        StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(details) = &status.details
        && details.retry_after_seconds > 0
    {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(details.retry_after_seconds),
        );
    }
    response
}
