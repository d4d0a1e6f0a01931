//! `kubectl label` and `kubectl annotate`.

use http::Method;
use serde_json::{Map, Value, json};

use super::report;
use crate::{
    error::{Result, usage},
    flags::{Mark, Selection},
    object::objects,
    session::Session,
};

/// Runs it on `metadata.<field>`; `verb` says it was done.
pub async fn run(session: &Session, flags: &Mark, field: &str, verb: &str) -> Result<u8> {
    let mut words = Vec::new();
    let mut changes = Map::new();
    for word in &flags.arguments {
        if let Some((key, value)) = word.split_once('=') {
            changes.insert(key.into(), value.into());
        } else if let Some(key) = word.strip_suffix('-') {
            changes.insert(key.into(), Value::Null);
        } else {
            words.push(word.clone());
        }
    }
    if changes.is_empty() {
        return Err(usage(format!(
            "at least one {} update is required",
            field.trim_end_matches('s')
        )));
    }
    let selection = Selection {
        arguments: words,
        selector: flags.selector.clone(),
        ..Selection::default()
    };
    let named =
        selection.arguments.len() > 1 || selection.arguments.iter().any(|w| w.contains('/'));
    if !named && !flags.all && flags.selector.is_none() {
        return Err(usage(
            "resource(s) were provided, but no name was specified",
        ));
    }
    let (found, mut errors) = objects(session, &selection).await?;
    for item in found {
        let taken = changes.iter().find(|(key, value)| {
            let had = &item.object["metadata"][field][key.as_str()];
            !value.is_null() && had.is_string() && had != *value
        });
        if let Some((key, _)) = taken.filter(|_| !flags.overwrite) {
            let had = item.object["metadata"][field][key.as_str()]
                .as_str()
                .unwrap_or_default();
            errors.push(usage(format!(
                "'{key}' already has a value ({had}), and --overwrite is false"
            )));
            continue;
        }
        let patch = json!({"metadata": {field: changes}});
        let sent = session
            .json(
                Method::PATCH,
                &item.path(),
                "application/json",
                Some(("application/merge-patch+json", &patch)),
            )
            .await;
        match sent {
            Ok(object) => {
                let same = object["metadata"]["resourceVersion"]
                    == item.object["metadata"]["resourceVersion"];
                println!(
                    "{} {}",
                    item.resource.named(item.name()),
                    if same {
                        "not ".to_string() + verb
                    } else {
                        verb.to_string()
                    }
                );
            }
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}
