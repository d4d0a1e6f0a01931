//! `kubectl cordon`, `uncordon` and `taint`.

use api::object::Object;
use serde_json::{Value, json};

use super::{
    change::{self, Dry},
    report,
};
use crate::{
    error::{Result, usage},
    flags::{Mark, Nodes, Selection, Write},
    object::{Found, objects},
    session::Session,
};

/// The nodes meant.
pub async fn chosen(
    session: &Session,
    flags: &Nodes,
) -> Result<(Vec<Found>, Vec<crate::error::Error>)> {
    let mut arguments = vec!["nodes".to_string()];
    arguments.extend(
        flags
            .nodes
            .iter()
            .map(|n| n.trim_start_matches("node/").to_string()),
    );
    let selection = Selection {
        arguments,
        selector: flags.selector.clone(),
        ..Selection::default()
    };
    objects(session, &selection).await
}

/// Runs `cordon` (`away`) and `uncordon`.
pub async fn cordon(session: &Session, flags: &Nodes, away: bool) -> Result<u8> {
    let (found, mut errors) = chosen(session, flags).await?;
    for node in found {
        if let Err(error) = cordon_one(session, &node, &flags.dry_run, away).await {
            errors.push(error);
        }
    }
    Ok(report(&errors))
}

/// Marks one node, and says so.
pub async fn cordon_one(session: &Session, node: &Found, dry_run: &str, away: bool) -> Result<()> {
    let verb = if away { "cordoned" } else { "uncordoned" };
    let write = Write {
        dry_run: dry_run.into(),
        ..Write::default()
    };
    if node.object.flag("spec.unschedulable") == away {
        println!(
            "node/{} already {verb}{}",
            node.name(),
            Dry::parse(dry_run)?.words()
        );
        return Ok(());
    }
    let value = if away { json!(true) } else { Value::Null };
    let patch = json!({"spec": {"unschedulable": value}});
    let kind = "application/merge-patch+json";
    let after = change::patch(session, node, kind, &patch, &write, "kubectl-cordon").await?;
    change::tell(&after, verb, &write)
}

/// A taint to put on or take away.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
    remove: bool,
}

/// Reads `key=value:Effect`, `key:Effect-`, `key-`.
fn parse(word: &str) -> Result<Taint> {
    let wrong = || usage(format!("invalid taint spec: {word}"));
    let (text, remove) = match word.strip_suffix('-') {
        Some(text) => (text, true),
        None => (word, false),
    };
    let (name, effect) = text.split_once(':').unwrap_or((text, ""));
    if !effect.is_empty() && !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(usage(format!(
            "invalid taint effect: {effect}, unsupported taint effect"
        )));
    }
    let (key, value) = name.split_once('=').unwrap_or((name, ""));
    if key.is_empty() || (effect.is_empty() && !remove) {
        return Err(wrong());
    }
    Ok(Taint {
        key: key.into(),
        value: value.into(),
        effect: effect.into(),
        remove,
    })
}

/// Runs `taint`.
pub async fn taint(session: &Session, flags: &Mark) -> Result<u8> {
    let is_taint = |w: &String| w.contains(':') || w.contains('=') || w.ends_with('-');
    let (taints, words): (Vec<String>, Vec<String>) =
        flags.arguments.iter().cloned().partition(is_taint);
    let taints = taints
        .iter()
        .map(|w| parse(w))
        .collect::<Result<Vec<Taint>>>()?;
    if taints.is_empty() {
        return Err(usage("at least one taint update is required"));
    }
    let nodes = words
        .iter()
        .skip(1)
        .map(|n| n.trim_start_matches("node/").to_string());
    let nodes = Nodes {
        nodes: nodes.collect(),
        selector: flags.selector.clone(),
        dry_run: flags.write.dry_run.clone(),
    };
    if nodes.nodes.is_empty() && !flags.all && nodes.selector.is_none() {
        return Err(usage(
            "at least one resource name must be specified since 'all' parameter is not set",
        ));
    }
    let (found, mut errors) = chosen(session, &nodes).await?;
    for node in found {
        let changed = changed(
            node.object.list("spec.taints"),
            &taints,
            flags.overwrite,
            node.name(),
        );
        let sent = async {
            let (list, verb) = changed?;
            let version = node.object.text("metadata.resourceVersion");
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": list}});
            let kind = "application/merge-patch+json";
            let after =
                change::patch(session, &node, kind, &patch, &flags.write, "kubectl-taint").await?;
            // kubectl does not say here whether it was a dry run.
            let write = Write {
                dry_run: "none".into(),
                ..flags.write.clone()
            };
            change::tell(&after, verb, &write)
        };
        if let Err(error) = sent.await {
            errors.push(error);
        }
    }
    Ok(report(&errors))
}

/// The node's taints after the changes, and what that is called.
fn changed(
    had: &[Value],
    changes: &[Taint],
    overwrite: bool,
    node: &str,
) -> Result<(Vec<Value>, &'static str)> {
    let same = |t: &Value, c: &Taint| {
        t.text("key") == c.key && (c.effect.is_empty() || t.text("effect") == c.effect)
    };
    let mut list = had.to_vec();
    let (mut added, mut removed) = (false, false);
    for change in changes {
        let there = list.iter().any(|t| same(t, change));
        if change.remove {
            if !there {
                let effect = match change.effect.as_str() {
                    "" => String::new(),
                    effect => format!(":{effect}"),
                };
                return Err(usage(format!("taint \"{}{effect}\" not found", change.key)));
            }
            list.retain(|t| !same(t, change));
            removed = true;
            continue;
        }
        if there && !overwrite {
            return Err(usage(format!(
                "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
                change.key
            )));
        }
        list.retain(|t| !same(t, change));
        let mut made = json!({"key": change.key, "effect": change.effect});
        if !change.value.is_empty() {
            made["value"] = change.value.clone().into();
        }
        list.push(made);
        added = true;
    }
    Ok((
        list,
        match (added, removed) {
            (true, true) => "modified",
            (false, true) => "untainted",
            _ => "tainted",
        },
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{changed, parse};

    #[test]
    fn taints_come_and_go_by_key_and_effect() {
        let had = [json!({"key": "a", "effect": "NoSchedule", "value": "x"})];
        type Outcome = Result<(serde_json::Value, &'static str), &'static str>;
        let cases: [(&[&str], bool, Outcome); 6] = [
            (
                &["b:NoExecute"],
                false,
                Ok((
                    json!([had[0], {"key": "b", "effect": "NoExecute"}]),
                    "tainted",
                )),
            ),
            (&["a-"], false, Ok((json!([]), "untainted"))),
            (
                &["a:NoSchedule-", "a=y:NoExecute"],
                false,
                Ok((
                    json!([{"key": "a", "effect": "NoExecute", "value": "y"}]),
                    "modified",
                )),
            ),
            (
                &["a=y:NoSchedule"],
                true,
                Ok((
                    json!([{"key": "a", "effect": "NoSchedule", "value": "y"}]),
                    "tainted",
                )),
            ),
            (
                &["a=y:NoSchedule"],
                false,
                Err(
                    "error: node n already has a taint(s) with same effect(s) and --overwrite is false",
                ),
            ),
            (&["c-"], false, Err("error: taint \"c\" not found")),
        ];
        for (words, overwrite, want) in cases {
            let changes: Vec<_> = words.iter().map(|w| parse(w).unwrap()).collect();
            let got = changed(&had, &changes, overwrite, "n")
                .map(|(list, verb)| (json!(list), verb))
                .map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(str::to_string), "{words:?}");
        }
        for wrong in ["a", "a=b", "a:Nope", ":NoSchedule"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
