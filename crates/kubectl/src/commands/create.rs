//! `kubectl create`, from files and from flags.

use http::Method;
use serde_json::{Map, Value, json};

use super::report;
use crate::{
    error::{Result, io, usage},
    flags::{Create, Generator, Literals},
    manifest,
    object::Found,
    output::{self, Format},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Create) -> Result<u8> {
    let documents = match &flags.generator {
        Some(generator) => vec![generate(generator)?],
        None if flags.filename.is_empty() => {
            return Err(usage("must specify one of -f, or what to create"));
        }
        None => manifest::read(&flags.filename, flags.recursive)?,
    };
    let mut errors = Vec::new();
    let mut made = Vec::new();
    for document in documents {
        match one(session, flags, document).await {
            Ok(found) => {
                if flags.output.is_none() {
                    let dry = match flags.dry_run.as_str() {
                        "client" => " (dry run)",
                        "server" => " (server dry run)",
                        _ => "",
                    };
                    println!("{} created{dry}", found.resource.named(found.name()));
                }
                made.push(found);
            }
            Err(error) => errors.push(error),
        }
    }
    if flags.output.is_some() && !made.is_empty() {
        print!(
            "{}",
            output::print(
                &Format::parse(flags.output.as_deref())?,
                &made,
                made.len() == 1,
                false
            )?
        );
    }
    Ok(report(&errors))
}

async fn one(session: &Session, flags: &Create, mut document: Value) -> Result<Found> {
    let (api_version, kind) = manifest::kind_of(&document)?;
    let resource = session.mapping().await?.of_kind(api_version, kind)?.clone();
    if flags.dry_run == "client" {
        return Ok(Found {
            resource,
            object: document,
        });
    }
    if resource.namespaced && document["metadata"]["namespace"].is_null() {
        document["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let namespace = document["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let dry = if flags.dry_run == "server" {
        "&dryRun=All"
    } else {
        ""
    };
    let path = format!(
        "{}?fieldManager=kubectl-create&fieldValidation=Strict{dry}",
        resource.path(Some(namespace))
    );
    let object = session
        .json(
            Method::POST,
            &path,
            "application/json",
            Some(("application/json", &document)),
        )
        .await?;
    Ok(Found { resource, object })
}

fn generate(generator: &Generator) -> Result<Value> {
    let named = |api_version: &str, kind: &str, name: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    Ok(match generator {
        Generator::Namespace { name } => named("v1", "Namespace", name),
        Generator::Serviceaccount { name } => named("v1", "ServiceAccount", name),
        Generator::Configmap(literals) => {
            let mut object = named("v1", "ConfigMap", &literals.name);
            object["data"] = Value::Object(data(literals)?);
            object
        }
        Generator::Deployment {
            name,
            image,
            replicas,
            port,
            command,
        } => {
            let containers: Vec<Value> = image
                .iter()
                .map(|image| {
                    let last = image.rsplit('/').next().unwrap_or(image);
                    let short = last.split(['@', ':']).next().unwrap_or(last);
                    let mut container = json!({"name": short, "image": image, "resources": {}});
                    if !command.is_empty() {
                        container["command"] = json!(command);
                    }
                    if let Some(port) = port {
                        container["ports"] = json!([{"containerPort": port}]);
                    }
                    container
                })
                .collect();
            let labels = json!({"app": name});
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                         "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
            })
        }
    })
}

fn data(literals: &Literals) -> Result<Map<String, Value>> {
    let mut data = Map::new();
    for literal in &literals.from_literal {
        let (key, value) = literal.split_once('=').ok_or_else(|| {
            usage(format!(
                "invalid literal source {literal}, expected key=value"
            ))
        })?;
        data.insert(key.into(), value.into());
    }
    for source in &literals.from_file {
        let (key, path) = match source.split_once('=') {
            Some((key, path)) => (key, path),
            None => (source.rsplit('/').next().unwrap_or(source), source.as_str()),
        };
        data.insert(
            key.into(),
            std::fs::read_to_string(path).map_err(io(path))?.into(),
        );
    }
    Ok(data)
}
