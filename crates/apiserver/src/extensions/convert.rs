//! Objects of a custom resource from version to version: by name alone, or by the definition's
//! webhook. What comes out is pruned and defaulted by the schema of its version, as what rests may be
//! older than the schema.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::custom;
use api::meta;
use api::object::Object;
use api::resource::LateTable;
use api::status::Status;
use api::validation::metadata;
use futures::future::BoxFuture;
use schema::Path;
use serde_json::{Map, Value, json};

use crate::endpoint::Form;
use crate::outbound::ClientConfig;
use crate::server::{ApiServer, new_uid};

/// How long a webhook may take, as upstream's.
const PATIENCE: Duration = Duration::from_secs(30);

/// How objects of one definition get from version to version.
pub struct Conversion {
    server: Weak<ApiServer>,
    group: String,
    storage: String,
    kind: String,
    tables: HashMap<Box<str>, Arc<LateTable>>,
    webhook: Option<Webhook>,
    version_of: VersionOf,
    /// What changes when the definition does.
    mark: u64,
}

struct Webhook {
    config: Result<ClientConfig, String>,
    /// The version of the review: the first that both sides know.
    review: Option<&'static str>,
}

/// One version's side of a [`Conversion`].
pub struct VersionForm {
    pub(super) conversion: Arc<Conversion>,
    pub(super) version: Box<str>,
}

impl Form for VersionForm {
    fn to_served(&self, objects: Vec<Value>) -> BoxFuture<'_, Result<Vec<Value>, Status>> {
        Box::pin(self.conversion.run(objects, &self.version))
    }

    fn to_storage(&self, object: Value) -> BoxFuture<'_, Result<Value, Status>> {
        let conversion = &self.conversion;
        Box::pin(async move {
            let mut objects = conversion.run(vec![object], &conversion.storage).await?;
            objects
                .pop()
                .ok_or_else(|| Status::internal("a conversion gave no object"))
        })
    }

    fn version(&self) -> Value {
        (self.conversion.version_of)(&self.version).unwrap_or_default()
    }

    fn mark(&self) -> u64 {
        self.conversion.mark
    }
}

/// Finds a version of the definition again.
pub type VersionOf = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

impl Conversion {
    pub(super) fn new(
        server: &Arc<ApiServer>,
        definition: &Value,
        tables: HashMap<Box<str>, Arc<LateTable>>,
        version_of: VersionOf,
        mark: u64,
    ) -> Conversion {
        let conversion = definition.at("spec.conversion");
        let webhook = (conversion.text("strategy") == "Webhook").then(|| Webhook {
            config: ClientConfig::read(conversion.at("webhook.clientConfig"))
                .map_err(|error| error.to_string()),
            review: conversion
                .texts("webhook.conversionReviewVersions")
                .find_map(|version| match version {
                    "v1" => Some("v1"),
                    "v1beta1" => Some("v1beta1"),
                    _ => None,
                }),
        });
        Conversion {
            server: Arc::downgrade(server),
            group: definition.text("spec.group").to_owned(),
            storage: custom::storage_version(definition).to_owned(),
            kind: definition.text("status.acceptedNames.kind").to_owned(),
            tables,
            webhook,
            version_of,
            mark,
        }
    }

    /// The objects in this version, pruned and defaulted.
    async fn run(&self, objects: Vec<Value>, version: &str) -> Result<Vec<Value>, Status> {
        let wanted = meta::join_api_version(&self.group, version);
        let objects = match &self.webhook {
            None => objects
                .into_iter()
                .map(|mut object| {
                    object.set("apiVersion", wanted.as_str());
                    object
                })
                .collect(),
            Some(webhook) => self.ask(webhook, objects, &wanted).await?,
        };
        Ok(objects
            .into_iter()
            .map(|object| self.normal(object, version))
            .collect())
    }

    /// As the schema of the version has it.
    fn normal(&self, object: Value, version: &str) -> Value {
        let Some(table) = self.tables.get(version).map(|late| late.table()) else {
            return object;
        };
        let ty = custom::root();
        let mut object = match schema::decode::value(table, ty, object.clone()) {
            Ok(decoded) => decoded.value,
            // What rests with metadata that cannot be read is shown as it is.
            Err(_) => return object,
        };
        schema::default::apply(table, ty, &mut object);
        object
    }

    fn failed(&self, from: &str, why: impl std::fmt::Display) -> Status {
        Status::internal(format!(
            "conversion webhook for {from}, Kind={} {why}",
            self.kind
        ))
    }

    /// Has the webhook convert those that are not in the version already.
    async fn ask(
        &self,
        webhook: &Webhook,
        mut objects: Vec<Value>,
        wanted: &str,
    ) -> Result<Vec<Value>, Status> {
        let foreign: Vec<usize> = (0..objects.len())
            .filter(|at| objects[*at].text("apiVersion") != wanted)
            .collect();
        let Some(first) = foreign.first() else {
            return Ok(objects);
        };
        let from = objects[*first].text("apiVersion").to_owned();
        let failed = |why: String| self.failed(&from, why);
        let server = self
            .server
            .upgrade()
            .ok_or_else(|| Status::service_unavailable("the server is going down"))?;
        let config = webhook
            .config
            .as_ref()
            .map_err(|error| failed(format!("failed: {error}")))?;
        let review = webhook
            .review
            .ok_or_else(|| Status::internal("no supported conversion review versions"))?;
        let uid = new_uid(&server.config.random);
        let sent: Vec<&Value> = foreign.iter().map(|at| &objects[*at]).collect();
        let body = json!({
            "kind": "ConversionReview",
            "apiVersion": format!("apiextensions.k8s.io/{review}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": sent},
        });
        let body = serde_json::to_vec(&body).map_err(Status::internal)?;
        let answer = server
            .outbound
            .call(config, body.into(), PATIENCE)
            .await
            .map_err(|error| failed(format!("failed: {error}")))?;
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| failed(format!("failed: {error}")))?;
        let converted =
            converted(&answer, review, &uid).map_err(|error| failed(format!("failed: {error}")))?;
        if converted.len() != foreign.len() {
            return Err(failed(format!(
                "returned {} objects, expected {}",
                converted.len(),
                foreign.len()
            )));
        }
        for (index, (at, converted)) in foreign.into_iter().zip(converted).enumerate() {
            let checked = restore(&objects[at], converted, wanted).map_err(|error| {
                failed(format!(
                    "returned invalid converted object at index {index}: {error}"
                ))
            })?;
            objects[at] = checked;
        }
        Ok(objects)
    }
}

/// The objects of an answer, if it is one to this request and a success.
fn converted(answer: &Value, review: &str, uid: &str) -> Result<Vec<Value>, String> {
    if review == "v1" {
        let expected = "apiextensions.k8s.io/v1";
        let (version, kind) = (answer.text("apiVersion"), answer.text("kind"));
        if version != expected || kind != "ConversionReview" {
            return Err(format!(
                "expected webhook response of {expected}, Kind=ConversionReview, got {version}, Kind={kind}"
            ));
        }
    }
    let response = answer.at("response");
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    if review == "v1" && response.text("uid") != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            response.text("uid")
        ));
    }
    let status = response.text("result.status");
    if status != "Success" {
        return Err(match response.text("result.message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    Ok(response.list("convertedObjects").to_vec())
}

/// The converted object with the metadata it had: a webhook may change labels and annotations alone.
fn restore(original: &Value, mut converted: Value, wanted: &str) -> Result<Value, String> {
    let found = converted.text("apiVersion");
    if found != wanted {
        return Err(format!(
            "invalid groupVersion (expected {wanted}, received {found})"
        ));
    }
    let (expected, found) = (original.text("kind"), converted.text("kind"));
    if expected != found {
        return Err(format!(
            "invalid kind (expected {expected}, received {found})"
        ));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (expected, found) = (
            original.at("metadata").text(field),
            converted.at("metadata").text(field),
        );
        if expected != found {
            return Err(format!("must have the same {name}: {expected} != {found}"));
        }
    }
    let sent = match converted.at("metadata") {
        Value::Object(sent) => sent.clone(),
        Value::Null => return Err("missing metadata in converted object".to_owned()),
        _ => return Err("invalid metadata in converted object".to_owned()),
    };
    let mut metadata = match original.at("metadata") {
        Value::Object(metadata) => metadata.clone(),
        _ => Map::new(),
    };
    for field in ["labels", "annotations"] {
        match sent.get(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
            }
            Some(Value::Object(map)) => {
                if let Some((key, _)) = map.iter().find(|(_, value)| !value.is_string()) {
                    return Err(format!(
                        "metadata.{field}[{key}] must be a string in converted object"
                    ));
                }
                metadata.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(_) => return Err(format!("invalid metadata.{field} in converted object")),
        }
    }
    converted.set("metadata", Value::Object(metadata));
    let mut errors = Vec::new();
    metadata::embedded(&converted, &Path::ROOT.field("metadata"), &mut errors);
    match errors.first() {
        Some(error) => Err(error.to_string()),
        None => Ok(converted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let good = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]}});
        assert_eq!(converted(&good, "v1", "u").unwrap().len(), 1);
        let mut other = good.clone();
        other.set("response.uid", "v");
        assert!(
            converted(&other, "v1", "u")
                .unwrap_err()
                .contains("response.uid")
        );
        assert!(converted(&other, "v1beta1", "u").is_ok());
        let mut failed = good.clone();
        failed.set(
            "response.result",
            json!({"status": "Failed", "message": "no way"}),
        );
        assert_eq!(converted(&failed, "v1", "u").unwrap_err(), "no way");
        let mut kind = good;
        kind.set("kind", "Other");
        assert!(
            converted(&kind, "v1", "u")
                .unwrap_err()
                .starts_with("expected webhook response")
        );
    }

    #[test]
    fn metadata_is_the_servers() {
        let original = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "uid": "u",
            "finalizers": ["a/b"], "labels": {"x": "1"}}});
        let answer = json!({"apiVersion": "a/v2", "kind": "K", "metadata": {"name": "n", "uid": "u",
            "annotations": {"c": "d"}}, "spec": 1});
        let restored = restore(&original, answer.clone(), "a/v2").unwrap();
        assert_eq!(
            restored["metadata"],
            json!({"name": "n", "uid": "u", "finalizers": ["a/b"], "annotations": {"c": "d"}})
        );
        for (path, value) in [
            ("apiVersion", json!("a/v3")),
            ("kind", json!("L")),
            ("metadata.name", json!("m")),
            ("metadata.uid", json!("w")),
            ("metadata.labels", json!({"x": 1})),
            ("metadata.labels", json!({"-": "x"})),
        ] {
            let mut wrong = answer.clone();
            wrong.set(path, value);
            assert!(restore(&original, wrong, "a/v2").is_err(), "{path}");
        }
    }
}
