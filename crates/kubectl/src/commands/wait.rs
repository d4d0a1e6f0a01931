//! `kubectl wait`.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use serde_json::Value;

use super::{delete::until_gone, duration, report};
use crate::{
    error::{Error, Result, io, usage},
    flags::Wait,
    object::{Target, objects, targets},
    output::jsonpath::Template,
    session::Session,
};

enum Condition {
    Delete,
    Create,
    Reached(String, String),
    JsonPath(Template, Option<String>),
}

fn parse(text: &str) -> Result<Condition> {
    if let Some(rest) = text.strip_prefix("condition=") {
        let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(Condition::Reached(
            name.to_lowercase(),
            value.to_lowercase(),
        ));
    }
    if let Some(rest) = text.strip_prefix("jsonpath=") {
        let rest = rest.replace('\'', "");
        let close = rest.rfind('}').map_or(0, |at| at + 1);
        let (path, value) = rest.split_at(close);
        let value = value
            .strip_prefix('=')
            .map(|v| v.trim_matches(['"', '\'']).to_string());
        return Ok(Condition::JsonPath(
            Template::parse(path).map_err(usage)?,
            value,
        ));
    }
    match text.to_lowercase().as_str() {
        "delete" => Ok(Condition::Delete),
        "create" => Ok(Condition::Create),
        _ => Err(usage(format!("unrecognized condition: \"{text}\""))),
    }
}

impl Condition {
    fn holds(&self, object: &Value) -> bool {
        match self {
            Condition::Create => true,
            Condition::Delete => false,
            Condition::Reached(name, value) => object["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| {
                    let is = |field: &str, want: &str| {
                        c[field].as_str().is_some_and(|t| t.to_lowercase() == want)
                    };
                    let fresh = match (
                        c["observedGeneration"].as_i64(),
                        object["metadata"]["generation"].as_i64(),
                    ) {
                        (Some(seen), Some(generation)) => seen >= generation,
                        _ => true,
                    };
                    is("type", name) && is("status", value) && fresh
                }),
            Condition::JsonPath(template, want) => match template.print(object) {
                Ok(text) => want.as_ref().map_or(!text.is_empty(), |w| *w == text),
                Err(_) => false,
            },
        }
    }
}

/// Runs it.
pub async fn run(session: &Session, flags: &Wait) -> Result<u8> {
    let condition = parse(&flags.condition)?;
    let limit = duration(&flags.timeout)?;
    let mut errors = Vec::new();
    for target in named(session, flags, &condition).await? {
        let shown = target
            .resource
            .named(target.name.as_deref().unwrap_or_default());
        let gone = matches!(condition, Condition::Delete) && absent(session, &target).await;
        let work = async {
            match condition {
                Condition::Delete => until_gone(session, &target, "").await,
                _ => until(session, &target, &condition).await,
            }
        };
        match tokio::time::timeout(limit.max(Duration::from_millis(1)), work).await {
            // Of what was never there nothing is said.
            Ok(Ok(())) if gone => {}
            Ok(Ok(())) if matches!(condition, Condition::Delete) => println!("{shown} deleted"),
            Ok(Ok(())) => println!("{shown} condition met"),
            Ok(Err(error)) => errors.push(error),
            Err(_) => errors.push(usage(format!(
                "timed out waiting for the condition on {}",
                shown.replacen('/', "s/", 1)
            ))),
        }
    }
    Ok(report(&errors))
}

async fn absent(session: &Session, target: &Target) -> bool {
    let name = target.name.as_deref().unwrap_or_default();
    let path = target.resource.object(&target.namespace, name);
    matches!(session.get(&path).await, Err(Error::Server(status)) if status.code == 404)
}

async fn named(session: &Session, flags: &Wait, condition: &Condition) -> Result<Vec<Target>> {
    let all = targets(session, &flags.selection).await?;
    if all.iter().all(|t| t.name.is_some()) {
        return Ok(all);
    }
    if !flags.all && flags.selection.selector.is_none() && flags.selection.field_selector.is_none()
    {
        return Err(usage(
            "resource(s) were provided, but no name was specified",
        ));
    }
    let (found, errors) = objects(session, &flags.selection).await?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    if found.is_empty() && !matches!(condition, Condition::Delete) {
        return Err(usage("no matching resources found"));
    }
    Ok(found
        .into_iter()
        .map(|f| Target {
            name: Some(f.name().to_string()),
            namespace: f.namespace().to_string(),
            resource: f.resource,
        })
        .collect())
}

async fn until(session: &Session, target: &Target, condition: &Condition) -> Result<()> {
    let name = target.name.as_deref().unwrap_or_default();
    let collection = target.resource.path(Some(&target.namespace));
    loop {
        let list = session
            .get(&format!(
                "{collection}?fieldSelector=metadata.name%3D{name}"
            ))
            .await?;
        let live = &list["items"][0];
        if live.is_null() && !matches!(condition, Condition::Create) {
            return session
                .get(&target.resource.object(&target.namespace, name))
                .await
                .map(drop);
        }
        if !live.is_null() && condition.holds(live) {
            return Ok(());
        }
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let watch = format!(
            "{collection}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
        );
        let mut lines = session.stream(&watch, "application/json").await?.lines();
        while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
            let event: Value =
                serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
            match event["type"].as_str() {
                Some("ERROR") => break,
                Some("DELETED") => {}
                _ if condition.holds(&event["object"]) => return Ok(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn conditions_hold_when_they_should() {
        let object = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2},
                {"type": "Old", "status": "True", "observedGeneration": 1},
            ]},
        });
        for (text, want) in [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=False", false),
            ("condition=Old", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Pending", false),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.nothing}", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&object), want, "{text}");
        }
        assert!(parse("nonsense").is_err());
    }
}
