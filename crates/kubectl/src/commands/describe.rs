//! `kubectl describe`: finds the objects, asks for what their descriptions need, prints them.

use std::collections::BTreeSet;

use super::report;
use crate::{
    describe::{self, Answers, page::Moment},
    error::{Error, Result, usage},
    flags::Describe,
    object::{Found, Target, objects, targets},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Describe) -> Result<u8> {
    let selection = &flags.selection;
    if selection.arguments.is_empty() && selection.filename.is_empty() {
        return Err(usage(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.",
        ));
    }
    let (found, mut errors) = objects(session, selection).await?;
    let alone = errors.is_empty() && found.len() <= 1;
    let with_events = flags.show_events.unwrap_or(alone);
    if found.is_empty()
        && let [Error::Server(status)] = errors.as_slice()
        && status.code == 404
        && let [_, prefix] = selection.arguments.as_slice()
    {
        let all = targets(session, selection).await?;
        return beginning(session, &all, prefix, with_events, errors).await;
    }
    let mut said = BTreeSet::new();
    let mut first = true;
    for item in &found {
        match one(session, item, with_events).await {
            Ok(text) if first => print!("{text}"),
            Ok(text) => print!("\n\n{text}"),
            Err(error) => {
                if said.insert(error.to_string()) {
                    errors.push(error);
                }
                continue;
            }
        }
        first = false;
    }
    if found.is_empty() && errors.is_empty() {
        if selection.all_namespaces {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", session.namespace);
        }
    }
    Ok(report(&errors))
}

/// All objects whose names begin so, where none has that name.
async fn beginning(
    session: &Session,
    all: &[Target],
    prefix: &str,
    with_events: bool,
    missing: Vec<Error>,
) -> Result<u8> {
    let mut none = true;
    for target in all {
        let list = session
            .get(&target.resource.path(Some(&target.namespace)))
            .await?;
        let items = list["items"].as_array().into_iter().flatten();
        let names = items.filter(|i| {
            let name = i["metadata"]["name"].as_str();
            name.is_some_and(|n| n.starts_with(prefix))
        });
        for object in names {
            none = false;
            let item = Found {
                resource: target.resource.clone(),
                object: target.resource.typed(object.clone()),
            };
            println!("{}", one(session, &item, with_events).await?);
        }
    }
    if none {
        return Ok(report(&missing));
    }
    Ok(0)
}

async fn one(session: &Session, item: &Found, with_events: bool) -> Result<String> {
    let resource = &item.resource;
    let mut object = item.object.clone();
    if let Some(layout) = describe::layout(&resource.group, &resource.kind)
        && layout.api_version != resource.api_version()
    {
        // The layout names another version's fields.
        let mut other = resource.clone();
        let version = layout.api_version.rsplit('/').next();
        other.version = version.unwrap_or_default().to_string();
        object = session
            .get(&other.object(item.namespace(), item.name()))
            .await?;
    }
    let mut answers = Answers::default();
    for ask in describe::asks(&resource.group, &resource.kind, &object, with_events) {
        let answer = session.get(&ask.path).await;
        answers.take(&ask, answer)?;
    }
    Ok(describe::describe(
        &resource.group,
        &resource.kind,
        &object,
        answers,
        Moment::here(),
    ))
}
