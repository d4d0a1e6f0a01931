//! `kubectl replace`.

use http::Method;
use serde_json::{Value, json};

use super::{change, delete::until_gone, report};
use crate::{
    error::{Error, Result, usage},
    flags::Replace,
    manifest,
    object::{Found, Target},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Replace) -> Result<u8> {
    let mut errors = Vec::new();
    for document in manifest::read(&flags.filename, flags.recursive)? {
        let what = format!("error when replacing {:?}", document.source);
        let done = one(session, flags, document.object).await;
        match done.map_err(|e| e.during(&what)) {
            Ok(found) => change::tell(&found, "replaced", &flags.write)?,
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}

async fn one(session: &Session, flags: &Replace, mut document: Value) -> Result<Found> {
    let (api_version, kind) = manifest::kind_of(&document)?;
    let resource = session.mapping().await?.of_kind(api_version, kind)?.clone();
    let name = document["metadata"]["name"].as_str().map(str::to_string);
    let name = name.ok_or_else(|| usage("resource name may not be empty"))?;
    if resource.namespaced && document["metadata"]["namespace"].is_null() {
        document["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let namespace = document["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let path = resource.object(&namespace, &name);
    if flags.force {
        let grace = flags.grace_period.filter(|g| *g >= 0);
        let mut options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        if let Some(seconds) = grace {
            options["gracePeriodSeconds"] = seconds.into();
        }
        let body = Some(("application/json", &options));
        match session
            .json(Method::DELETE, &path, "application/json", body)
            .await
        {
            Ok(gone) => {
                let target = Target {
                    resource: resource.clone(),
                    name: Some(name),
                    namespace,
                };
                let uid = gone["metadata"]["uid"].as_str().unwrap_or_default();
                until_gone(session, &target, uid).await?;
            }
            Err(Error::Server(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        return change::create(
            session,
            &resource,
            document,
            &flags.write,
            "kubectl-replace",
        )
        .await;
    }
    let live = session.get(&path).await?;
    if document["metadata"]["resourceVersion"].is_null() {
        document["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    }
    if change::Dry::parse(&flags.write.dry_run)? == change::Dry::Client {
        return Ok(Found {
            resource,
            object: document,
        });
    }
    let path = format!("{path}?{}", change::query(&flags.write, "kubectl-replace")?);
    let body = Some(("application/json", &document));
    let object = session
        .json(Method::PUT, &path, "application/json", body)
        .await?;
    Ok(Found { resource, object })
}
