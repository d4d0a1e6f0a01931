//! `kubectl delete`.

use futures::{AsyncBufReadExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};

use super::report;
use crate::{
    error::{Error, Result, io, usage},
    flags::Delete,
    object::{Found, Target, objects, targets},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Delete) -> Result<u8> {
    let all = targets(session, &flags.selection).await?;
    let unnamed = all.iter().any(|t| t.name.is_none());
    if unnamed
        && !flags.all
        && flags.selection.selector.is_none()
        && flags.selection.field_selector.is_none()
    {
        return Err(usage(
            "resource(s) were provided, but no name was specified",
        ));
    }
    let options = options(flags)?;
    if flags.force {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let mut errors = Vec::new();
    let mut gone = Vec::new();
    let named = all.iter().filter(|t| t.name.is_some()).cloned();
    for target in named.chain(listed(session, flags, unnamed).await?) {
        let path = target.path(&flags.selection);
        let body = Some(("application/json", &options));
        match session
            .json(Method::DELETE, &path, "application/json", body)
            .await
        {
            Ok(answer) => {
                let name = target.name.clone().unwrap_or_default();
                if flags.output.as_deref() == Some("name") {
                    println!("{}", target.resource.named(&name));
                } else {
                    let forced = if flags.force { " force" } else { "" };
                    let place = if target.resource.namespaced {
                        format!(" from {} namespace", target.namespace)
                    } else {
                        String::new()
                    };
                    println!(
                        "{}{forced} deleted{place}",
                        quoted(&target.resource.named(&name))
                    );
                }
                gone.push((target, answer));
            }
            Err(Error::Server(status)) if status.code == 404 && flags.ignore_not_found => {}
            Err(error) => errors.push(error),
        }
    }
    if flags.wait && !flags.force {
        for (target, answer) in gone {
            let uid = answer["metadata"]["uid"]
                .as_str()
                .or_else(|| answer["details"]["uid"].as_str())
                .unwrap_or_default();
            until_gone(session, &target, uid).await?;
        }
    }
    Ok(report(&errors))
}

/// `deployment.apps/web` as `deployment.apps "web"`.
fn quoted(named: &str) -> String {
    named.split_once('/').map_or_else(
        || named.to_string(),
        |(kind, name)| format!("{kind} \"{name}\""),
    )
}

async fn listed(session: &Session, flags: &Delete, unnamed: bool) -> Result<Vec<Target>> {
    if !unnamed {
        return Ok(Vec::new());
    }
    let (found, errors) = objects(session, &flags.selection).await?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let target = |f: Found| Target {
        name: Some(f.name().to_string()),
        namespace: f.namespace().to_string(),
        resource: f.resource,
    };
    Ok(found.into_iter().map(target).collect())
}

fn options(flags: &Delete) -> Result<Value> {
    let policy = match flags.cascade.as_str() {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return Err(usage(format!(
                "invalid cascade value ({other}); must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let grace = match (flags.grace_period, flags.force, flags.now) {
        (0, false, _) => 1,
        (_, _, true) => 1,
        (-1, true, _) => 0,
        (given, _, _) => given,
    };
    let mut options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    Ok(options)
}

/// Watches until the object is gone, or another has taken its name.
pub async fn until_gone(session: &Session, target: &Target, uid: &str) -> Result<()> {
    let name = target.name.as_deref().unwrap_or_default();
    loop {
        let path = target.resource.object(&target.namespace, name);
        let live = match session.get(&path).await {
            Err(Error::Server(status)) if status.code == 404 => return Ok(()),
            other => other?,
        };
        if !uid.is_empty() && live["metadata"]["uid"] != uid {
            return Ok(());
        }
        let version = live["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let collection = target.resource.path(Some(&target.namespace));
        let watch = format!(
            "{collection}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
        );
        let mut lines = session.stream(&watch, "application/json").await?.lines();
        while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
            let event: Value =
                serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
            match event["type"].as_str() {
                Some("DELETED") => return Ok(()),
                // The watch cannot go on from here: look again.
                Some("ERROR") => break,
                _ => {}
            }
        }
    }
}
