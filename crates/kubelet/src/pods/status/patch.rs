//! The difference between two statuses as a strategic merge patch: small, and leaving conditions
//! of other owners alone.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

use super::conditions::OWNED;

/// The patch that turns `old` into `new`; none when nothing differs. The uid makes it fail on a
/// pod of the same name that came later.
pub fn between(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) =
        (serde_json::to_value(old), serde_json::to_value(new))
    else {
        return None;
    };
    let mut status = Map::new();
    for (key, value) in &new {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match key.as_str() {
            "conditions" => match conditions(old.get(key), value) {
                Some(changed) => changed,
                None => continue,
            },
            "podIPs" | "hostIPs" if old.contains_key(key) => replaced(value),
            _ => value.clone(),
        };
        status.insert(key.clone(), value);
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

/// A list that is merged by key otherwise.
fn replaced(value: &Value) -> Value {
    let mut list = vec![json!({"$patch": "replace"})];
    list.extend(value.as_array().into_iter().flatten().cloned());
    Value::Array(list)
}

/// Only the conditions that changed, with null for what fell away.
fn conditions(old: Option<&Value>, new: &Value) -> Option<Value> {
    let type_of = |c: &Value| c.get("type").and_then(Value::as_str).map(str::to_owned);
    let old: Vec<&Value> = old
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let mut out = Vec::new();
    for condition in new.as_array().into_iter().flatten() {
        // Other owners' conditions are theirs to write: ours may be stale.
        if !type_of(condition).is_some_and(|t| OWNED.contains(&t.as_str())) {
            continue;
        }
        let before = old.iter().find(|c| type_of(c) == type_of(condition));
        if before == Some(&condition) {
            continue;
        }
        let mut condition = condition.clone();
        if let (Some(target), Some(before)) = (
            condition.as_object_mut(),
            before.and_then(|b| b.as_object()),
        ) {
            for key in before.keys() {
                target.entry(key.clone()).or_insert(Value::Null);
            }
        }
        out.push(condition);
    }
    // One of ours that fell away.
    for type_ in old.iter().filter_map(|c| type_of(c)) {
        let stays = new
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| type_of(c).as_deref() == Some(&type_));
        if !stays && OWNED.contains(&type_.as_str()) {
            out.push(json!({"$patch": "delete", "type": type_}));
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}
