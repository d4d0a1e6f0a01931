//! `kubectl apply`: on the client, by three-way merge against the annotation of last time; or
//! `--server-side`.

use http::Method;
use serde_json::{Map, Value, json};

use super::{change::Dry, report};
use crate::{
    error::{Error, Result, usage},
    flags::Apply,
    manifest,
    mapping::Resource,
    object::{
        Found,
        patch::{LAST_APPLIED, three_way},
    },
    output::{self, Format},
    session::{Session, escape},
};

/// Runs it.
pub async fn run(session: &Session, flags: &Apply) -> Result<u8> {
    let mut errors = Vec::new();
    let mut applied = Vec::new();
    for document in manifest::read(&flags.filename, flags.recursive)? {
        match one(session, flags, document.object, &document.source).await {
            Ok((found, verb)) => {
                if flags.output.is_none() {
                    let server = Dry::parse(&flags.dry_run)?.words();
                    println!("{} {verb}{server}", found.resource.named(found.name()));
                }
                applied.push(found);
            }
            Err(error) => errors.push(error),
        }
    }
    if flags.output.is_some() && !applied.is_empty() {
        print!(
            "{}",
            output::print(
                &Format::parse(flags.output.as_deref())?,
                &applied,
                applied.len() == 1,
                false
            )?
        );
    }
    Ok(report(&errors))
}

fn query(flags: &Apply, manager: &str) -> Result<String> {
    let validation = match flags.validate.as_str() {
        "true" | "strict" => "Strict",
        "warn" => "Warn",
        "false" | "ignore" => "Ignore",
        other => return Err(usage(format!("invalid validate option \"{other}\""))),
    };
    let manager = escape(flags.field_manager.as_deref().unwrap_or(manager));
    let dry = match flags.dry_run.as_str() {
        "server" => "&dryRun=All",
        other => {
            Dry::parse(other)?;
            ""
        }
    };
    Ok(format!(
        "fieldManager={manager}&fieldValidation={validation}{dry}"
    ))
}

async fn one(
    session: &Session,
    flags: &Apply,
    mut document: Value,
    source: &str,
) -> Result<(Found, &'static str)> {
    let dry = Dry::parse(&flags.dry_run)? == Dry::Client;
    let (api_version, kind) = manifest::kind_of(&document)?;
    let resource = session.mapping().await?.of_kind(api_version, kind)?.clone();
    let name = document["metadata"]["name"].as_str().map(str::to_string);
    let name = name.ok_or_else(|| usage(format!("{kind}: resource name may not be empty")))?;
    if resource.namespaced && document["metadata"]["namespace"].is_null() {
        document["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let namespace = document["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let path = resource.object(&namespace, &name);
    if flags.server_side {
        let query = query(flags, "kubectl")?;
        let path = format!("{path}?{query}&force={}", flags.force_conflicts);
        let body = Some(("application/apply-patch+yaml", &document));
        let object = session
            .json(Method::PATCH, &path, "application/json", body)
            .await?;
        return Ok((Found { resource, object }, "serverside-applied"));
    }
    let query = query(flags, "kubectl-client-side-apply")?;
    match session.get(&path).await {
        Ok(live) => update(session, resource, document, &live, (&path, &query, dry)).await,
        Err(Error::Server(status)) if status.code == 404 => {
            remember(&mut document)?;
            if dry {
                let object = document;
                return Ok((Found { resource, object }, "created"));
            }
            let path = format!("{}?{query}", resource.path(Some(&namespace)));
            let object = session
                .json(
                    Method::POST,
                    &path,
                    "application/json",
                    Some(("application/json", &document)),
                )
                .await
                .map_err(|e| e.during(&format!("error when creating {source:?}")))?;
            Ok((Found { resource, object }, "created"))
        }
        Err(error) => Err(error),
    }
}

async fn update(
    session: &Session,
    resource: Resource,
    mut wanted: Value,
    live: &Value,
    (path, query, dry): (&str, &str, bool),
) -> Result<(Found, &'static str)> {
    let last = live["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if last.is_none() {
        eprintln!(
            "Warning: resource {} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
            resource
                .named(wanted["metadata"]["name"].as_str().unwrap_or_default())
                .replacen('/', "s/", 1)
        );
    }
    remember(&mut wanted)?;
    let patch = three_way(last.as_ref(), &wanted, live);
    if patch == json!({}) {
        return Ok((
            Found {
                resource,
                object: live.clone(),
            },
            "unchanged",
        ));
    }
    if dry {
        let object = live.clone();
        return Ok((Found { resource, object }, "configured"));
    }
    // Custom resources know no strategic merge.
    let builtin = resource.group.is_empty()
        || !resource.group.contains('.')
        || resource.group.ends_with(".k8s.io");
    let kind = if builtin {
        "application/strategic-merge-patch+json"
    } else {
        "application/merge-patch+json"
    };
    let object = session
        .json(
            Method::PATCH,
            &format!("{path}?{query}"),
            "application/json",
            Some((kind, &patch)),
        )
        .await?;
    let verb = if object["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"] {
        "unchanged"
    } else {
        "configured"
    };
    Ok((Found { resource, object }, verb))
}

/// Writes down in the object what was applied, for the next time.
fn remember(document: &mut Value) -> Result<()> {
    let meta = document["metadata"]
        .as_object_mut()
        .ok_or_else(|| usage("metadata is missing"))?;
    let annotations = meta
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = json!({});
    }
    if let Some(map) = annotations.as_object_mut() {
        map.remove(LAST_APPLIED);
    }
    let text = format!("{document}\n");
    document["metadata"]["annotations"][LAST_APPLIED] = text.into();
    Ok(())
}
