//! `kubectl label` and `kubectl annotate`.

use serde_json::{Map, Value, json};

use super::{change, report};
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
        for (key, _) in changes.iter().filter(|(_, v)| v.is_null()) {
            if field == "labels" && item.object["metadata"][field][key.as_str()].is_null() {
                println!("label {key:?} not found.");
            }
        }
        let patch = json!({"metadata": {field: changes}});
        let kind = "application/merge-patch+json";
        let manager = if field == "labels" {
            "kubectl-label"
        } else {
            "kubectl-annotate"
        };
        match change::patch(session, &item, kind, &patch, &flags.write, manager).await {
            Ok(after) => {
                let same = after.object["metadata"]["resourceVersion"]
                    == item.object["metadata"]["resourceVersion"];
                // Annotating says so whether or not it changed anything.
                let word = if same && field == "labels" && flags.write.dry_run == "none" {
                    format!("not {verb}")
                } else if changes.values().all(Value::is_null) && field == "labels" {
                    "unlabeled".to_string()
                } else {
                    verb.to_string()
                };
                change::tell(&after, &word, &flags.write)?;
            }
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}
