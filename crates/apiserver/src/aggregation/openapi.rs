//! OpenAPI of aggregated servers: their version 3 documents are passed on, their version 2 documents
//! become part of this server's.

use std::sync::Arc;

use api::object::Object;
use api::openapi::version_path;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::Backend;
use super::worker::ask;
use crate::server::ApiServer;

/// What a server has told of its types.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Where its version 3 document is; empty where it has none.
    url: String,
    /// What of its version 2 document concerns its version.
    v2: Option<Arc<Value>>,
    tag: String,
}

const JSON: (&str, &str) = ("accept", "application/json");

impl Told {
    /// Asks it; what cannot be had now stays as it was known.
    pub(super) async fn ask(server: &Arc<ApiServer>, backend: &Backend, known: Told) -> Told {
        let mut told = known;
        let path = version_path(&backend.group, &backend.version);
        if let Ok(answer) = ask(server, backend, "/openapi/v3", &[JSON]).await
            && answer.code == 200
            && let Ok(index) = serde_json::from_slice::<Value>(&answer.body)
        {
            let entry = index.get("paths").and_then(|paths| paths.get(&path));
            told.url = entry.map_or("", |e| e.text("serverRelativeURL")).to_owned();
        }
        let mut headers = vec![JSON];
        if !told.tag.is_empty() {
            headers.push(("if-none-match", told.tag.as_str()));
        }
        if let Ok(answer) = ask(server, backend, "/openapi/v2", &headers).await
            && answer.code == 200
            && let Ok(document) = serde_json::from_slice::<Value>(&answer.body)
        {
            told.v2 = Some(Arc::new(part(&document, &format!("/{path}"))));
            let tag = answer.headers.get("etag").and_then(|v| v.to_str().ok());
            told.tag = tag.unwrap_or("").to_owned();
        }
        told
    }
}

/// The paths of one version, and the definitions they lead to.
fn part(document: &Value, prefix: &str) -> Value {
    let below = format!("{prefix}/");
    let paths: Map<String, Value> = document
        .pairs("paths")
        .filter(|(path, _)| *path == prefix || path.starts_with(&below))
        .map(|(path, value)| (path.to_owned(), value.clone()))
        .collect();
    let all = document.at("definitions");
    let mut definitions = Map::new();
    let mut open: Vec<String> = Vec::new();
    paths
        .values()
        .for_each(|value| references(value, &mut open));
    while let Some(name) = open.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        if let Some(definition) = all.get(&name) {
            references(definition, &mut open);
            definitions.insert(name, definition.clone());
        }
    }
    json!({"paths": paths, "definitions": definitions})
}

const REFERENCE: &str = "#/definitions/";

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|r| r.strip_prefix(REFERENCE))
            {
                found.push(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn rename(value: &mut Value, names: &Map<String, Value>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(REFERENCE)
                && let Some(Value::String(new)) = names.get(name)
            {
                *reference = format!("{REFERENCE}{new}");
            }
            map.values_mut().for_each(|value| rename(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

/// Adds a part to a document. A definition that differs from one of the same name gets another name,
/// as upstream's aggregator gives it.
fn add(document: &mut Value, part: &Value) {
    let mut part = part.clone();
    let mut names = Map::new();
    let held = document.at("definitions");
    for (name, definition) in part.pairs("definitions") {
        let taken = |name: &str| held.get(name).is_some_and(|held| held != definition);
        if taken(name) {
            let new = (2..1000)
                .map(|n| format!("{name}_v{n}"))
                .find(|new| !taken(new));
            names.insert(name.to_owned(), new.unwrap_or_default().into());
        }
    }
    rename(&mut part, &names);
    let Some(definitions) = document
        .get_mut("definitions")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (name, definition) in part.pairs("definitions") {
        let name = names.get(name).and_then(Value::as_str).unwrap_or(name);
        definitions.insert(name.to_owned(), definition.clone());
    }
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, value) in part.pairs("paths") {
            paths.insert(path.to_owned(), value.clone());
        }
    }
}

/// The version 2 document of everybody, kept until one of its parts changes.
#[derive(Default)]
pub(super) struct Merged(Mutex<Option<(u64, Bytes, Bytes)>>);

/// This server's version 2 document with the others' in it.
pub fn v2(server: &ApiServer, own: &Bytes) -> Bytes {
    let Some((generation, all)) = server.aggregation.all() else {
        return own.clone();
    };
    let mut kept = server.aggregation.openapi.0.lock();
    if let Some((at, base, made)) = &*kept
        && *at == generation
        && base.as_ptr() == own.as_ptr()
    {
        return made.clone();
    }
    let Ok(mut document) = serde_json::from_slice::<Value>(own) else {
        return own.clone();
    };
    for (_, told) in all {
        if let Some(part) = told.and_then(|told| told.openapi.v2.clone()) {
            add(&mut document, &part);
        }
    }
    let made: Bytes = document.to_string().into();
    *kept = Some((generation, own.clone(), made.clone()));
    made
}

/// This server's version 3 index with the others' versions in it.
pub fn index(server: &ApiServer, own: &Bytes) -> Bytes {
    let Some((_, all)) = server.aggregation.all() else {
        return own.clone();
    };
    let Ok(mut document) = serde_json::from_slice::<Value>(own) else {
        return own.clone();
    };
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (backend, told) in all {
            let url = told
                .map(|told| told.openapi.url.clone())
                .unwrap_or_default();
            if !url.is_empty() {
                let path = version_path(&backend.group, &backend.version);
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
        }
    }
    document.to_string().into()
}

/// The version 3 document of a version that another server serves, asked for there; none where it
/// has none.
pub async fn v3(server: &Arc<ApiServer>, backend: &Backend) -> Option<Bytes> {
    let path = version_path(&backend.group, &backend.version);
    let answer = ask(server, backend, &format!("/openapi/v3/{path}"), &[JSON]).await;
    answer.ok().filter(|a| a.code == 200).map(|a| a.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_added_under_names_of_its_own() {
        let theirs = json!({
            "paths": {
                "/apis/g/v1/": {"get": {"schema": {"$ref": "#/definitions/List"}}},
                "/apis/g/v10/": {"get": {"schema": {"$ref": "#/definitions/Other"}}},
                "/healthz": {},
            },
            "definitions": {
                "List": {"items": {"$ref": "#/definitions/Flunder"}},
                "Flunder": {"meta": {"$ref": "#/definitions/Meta"}},
                "Meta": {"description": "theirs"},
                "Other": {},
            },
        });
        let part = part(&theirs, "/apis/g/v1");
        assert_eq!(part["paths"].as_object().unwrap().len(), 1);
        let mut ours =
            json!({"paths": {"/api/": {}}, "definitions": {"Meta": {"description": "ours"}}});
        add(&mut ours, &part);
        assert_eq!(ours["definitions"]["Meta"]["description"], "ours");
        assert_eq!(ours["definitions"]["Meta_v2"]["description"], "theirs");
        assert_eq!(
            ours["definitions"]["Flunder"]["meta"]["$ref"],
            "#/definitions/Meta_v2"
        );
        assert!(ours["definitions"].get("Other").is_none());
        assert!(ours["paths"].get("/apis/g/v1/").is_some());
    }
}
