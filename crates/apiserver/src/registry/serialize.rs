//! Between values and the bytes the store keeps.

use std::borrow::Cow;
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::resource::Resource;
use api::status::Status;
use api::strategy::Strategy;
use serde_json::{Map, Value};
use store::{Attributes, Entry, Marks, Stored};

use crate::endpoint::Endpoint;

/// The attributes selectors need of an object in the version it rests in.
pub fn attributes(strategy: &dyn Strategy, object: &Value) -> Attributes {
    let labels = meta::labels(object)
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    let fields = strategy
        .fields(object)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    Attributes { labels, fields }
}

/// The bytes of an object (in the version it rests in), with the place of its resourceVersion.
pub fn stored(resource: &Resource, object: &Value) -> Result<Stored, Status> {
    let mut bytes = Vec::with_capacity(1024);
    let (rv_at, marks) = write_object(&mut bytes, object)?;
    let attributes = attributes(&*resource.strategy, object);
    let mut stored = Stored::new(bytes.into(), rv_at, attributes);
    stored.marks = marks;
    Ok(stored)
}

/// Writes JSON without `metadata.resourceVersion`; says where that belongs and where the parts of the
/// metadata are.
fn write_object(out: &mut Vec<u8>, object: &Value) -> Result<(u32, Option<Marks>), Status> {
    let map = object
        .as_object()
        .ok_or_else(|| Status::internal("an object is no JSON object"))?;
    let (mut rv_at, mut marks) = (Stored::NO_RV, None);
    out.push(b'{');
    for (key, value) in map {
        if out.len() > 1 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, key).map_err(Status::internal)?;
        out.push(b':');
        match value {
            Value::Object(metadata) if key == "metadata" => {
                out.push(b'{');
                rv_at = out.len() as u32;
                let managers = write_metadata(out, metadata)?;
                out.push(b'}');
                let metadata_end = out.len() as u32;
                marks = managers.map(|managers| Marks {
                    managers,
                    metadata_end,
                });
            }
            value => write(out, value)?,
        }
    }
    out.push(b'}');
    Ok((rv_at, marks))
}

/// Writes what stands between the brackets; says from where to where `managedFields` and the comma
/// behind it are, nothing where no comma is.
fn write_metadata(
    out: &mut Vec<u8>,
    metadata: &Map<String, Value>,
) -> Result<Option<(u32, u32)>, Status> {
    let (start, mut from) = (out.len(), None);
    let mut managers = Some((start as u32, start as u32));
    for (key, value) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
        if out.len() > start {
            out.push(b',');
        }
        if let Some(from) = from.take() {
            managers = Some((from, out.len() as u32));
        }
        if key == "managedFields" {
            (from, managers) = (Some(out.len() as u32), None);
        }
        serde_json::to_writer(&mut *out, key).map_err(Status::internal)?;
        out.push(b':');
        write(out, value)?;
    }
    Ok(managers)
}

fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), Status> {
    serde_json::to_writer(out, value).map_err(Status::internal)
}

/// The stored object as a value in the endpoint's version.
pub async fn live(endpoint: &Endpoint, entry: &Entry) -> Result<Value, Status> {
    match &endpoint.form {
        Some(form) if endpoint.converts => {
            let mut objects = form.to_served(vec![parse(&entry.json)?]).await?;
            objects
                .pop()
                .ok_or_else(|| Status::internal("a conversion gave no object"))
        }
        _ => native(endpoint, entry),
    }
}

/// An object in the version it rests in, as a value in the endpoint's version.
pub async fn served(endpoint: &Endpoint, rest: Value) -> Result<Value, Status> {
    match &endpoint.form {
        _ if !endpoint.converts => Ok(rest),
        Some(form) => {
            let mut objects = form.to_served(vec![rest]).await?;
            objects
                .pop()
                .ok_or_else(|| Status::internal("a conversion gave no object"))
        }
        None => Ok(api::convert::from_storage(&endpoint.resource, rest)),
    }
}

/// [`live`] of many: what converts outside the server is asked once for all of them.
pub async fn live_all(endpoint: &Endpoint, entries: &[Arc<Entry>]) -> Result<Vec<Value>, Status> {
    match &endpoint.form {
        Some(form) if endpoint.converts => {
            let objects = entries.iter().map(|entry| parse(&entry.json));
            form.to_served(objects.collect::<Result<_, _>>()?).await
        }
        _ => entries
            .iter()
            .map(|entry| native(endpoint, entry))
            .collect(),
    }
}

/// [`live`] of kinds that the program itself converts.
pub fn native(endpoint: &Endpoint, entry: &Entry) -> Result<Value, Status> {
    let value = parse(&entry.json)?;
    Ok(if endpoint.converts {
        api::convert::from_storage(&endpoint.resource, value)
    } else {
        value
    })
}

/// Parses what the store gave.
pub fn parse(json: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(json)
        .map_err(|e| Status::internal(format!("a stored object cannot be read: {e}")))
}

/// The object in the version it rests in.
pub async fn to_storage<'a>(
    endpoint: &Endpoint,
    object: &'a Value,
) -> Result<Cow<'a, Value>, Status> {
    if !endpoint.converts {
        return Ok(Cow::Borrowed(object));
    }
    let object = object.clone();
    Ok(Cow::Owned(match &endpoint.form {
        Some(form) => form.to_storage(object).await?,
        None => api::convert::to_storage(&endpoint.resource, object),
    }))
}

/// Is the object, but for its resourceVersion, what the entry holds?
pub fn same(entry: &Entry, bytes: &[u8], rv_at: u32) -> bool {
    let text = format!("\"resourceVersion\":\"{}\",", entry.revision);
    let at = rv_at as usize;
    entry.json.len() == bytes.len() + text.len()
        && at <= bytes.len()
        && entry.json[..at] == bytes[..at]
        && entry.json[at..at + text.len()] == *text.as_bytes()
        && entry.json[at + text.len()..] == bytes[at..]
}

/// The resourceVersion a client sent, none when empty or zero.
pub fn sent_revision(object: &Value) -> Result<Option<u64>, Status> {
    match object.text("metadata.resourceVersion") {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!(
                "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}
