//! Lays a configuration over an object: what it has wins, what it lacks stays.

use std::collections::BTreeMap;

use super::{
    element::Element,
    node::{Keys, Meeting, Place},
};
use crate::{Map, Value, table::ListKind};

/// Why a configuration cannot be laid over: two elements that cannot be told apart, or one that
/// cannot be told from any.
pub(super) type Malformed = String;

pub(super) fn merge(
    place: Place<'_>,
    live: Option<&Value>,
    applied: Option<&Value>,
) -> Result<Option<Value>, Malformed> {
    let leaf = || applied.or(live).cloned();
    match place.meeting() {
        Meeting::Leaf => Ok(leaf()),
        Meeting::List { kind, element } => {
            let (old, new) = (list(live), list(applied));
            if old.is_empty() && new.is_empty() {
                return Ok(leaf());
            }
            let merged = lists(kind, element, old, new)?;
            Ok((!merged.is_empty()).then_some(Value::Array(merged)))
        }
        Meeting::Map(keys) => maps(place, keys, live, applied, leaf),
        Meeting::Free => {
            let is_map = |v: Option<&Value>| v.is_none_or(|v| v.is_object() || v.is_null());
            if is_map(live) && is_map(applied) {
                maps(place, Keys::Any(place), live, applied, leaf)
            } else {
                Ok(leaf())
            }
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}

fn maps(
    place: Place<'_>,
    keys: Keys<'_>,
    live: Option<&Value>,
    applied: Option<&Value>,
    leaf: impl FnOnce() -> Option<Value>,
) -> Result<Option<Value>, Malformed> {
    let empty = Map::new();
    let old = live.and_then(Value::as_object).unwrap_or(&empty);
    let new = applied.and_then(Value::as_object).unwrap_or(&empty);
    if old.is_empty() && new.is_empty() {
        return Ok(leaf());
    }
    let mut out = Map::new();
    let only_new = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(only_new) {
        let (below, _) = place.below(keys, key);
        let merged = match (old.get(key), new.get(key)) {
            (Some(old), None) => Some(old.clone()),
            (old, new) => merge(below, old, new).map_err(|error| format!(".{key}{error}"))?,
        };
        if let Some(merged) = merged {
            out.insert(key.clone(), merged);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The configuration's elements in its order, the live object's others kept in theirs: both run
/// side by side, and meet at the elements they share.
fn lists(
    kind: &ListKind,
    element: Place<'_>,
    old: &[Value],
    new: &[Value],
) -> Result<Vec<Value>, Malformed> {
    let identities = |list: &[Value]| -> Result<Vec<Element>, Malformed> {
        list.iter()
            .enumerate()
            .map(|(i, item)| {
                element
                    .identity(kind, item)
                    .map_err(|error| format!(": element {i}: {error}"))
            })
            .collect()
    };
    let (old_ids, new_ids) = (identities(old)?, identities(new)?);
    let mut new_at: BTreeMap<&Element, usize> = BTreeMap::new();
    for (at, id) in new_ids.iter().enumerate() {
        if new_at.insert(id, at).is_some() {
            return Err(format!(": duplicate entries for key {id}"));
        }
    }
    // None for elements that occur twice: they have nothing to merge with.
    let mut old_at: BTreeMap<&Element, Option<usize>> = BTreeMap::new();
    for (at, id) in old_ids.iter().enumerate() {
        old_at
            .entry(id)
            .and_modify(|at| *at = None)
            .or_insert(Some(at));
    }
    let both = |id: &Element| -> Result<Option<Value>, Malformed> {
        let old = old_at.get(id).copied().flatten().map(|at| &old[at]);
        let new = new_at.get(id).map(|at| &new[*at]);
        merge(element, old, new).map_err(|error| format!("{id}{error}"))
    };
    let mut shared = new_ids.iter().filter(|id| old_at.contains_key(id));
    let mut next_shared = shared.next();
    let mut merged = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let (mut o, mut n) = (0, 0);
    while o < old_ids.len() || n < new_ids.len() {
        if let (Some(old_id), Some(new_id)) = (old_ids.get(o), new_ids.get(n)) {
            if old_id == new_id {
                merged.insert(old_id);
                out.extend(both(old_id)?);
                o += 1;
                n += 1;
                next_shared = shared.next();
                continue;
            }
            // Shared, but its turn is another: it comes where the configuration has it.
            if new_at.contains_key(old_id) && next_shared.is_some_and(|next| next != old_id) {
                o += 1;
                continue;
            }
        }
        if let Some(old_id) = old_ids.get(o) {
            if !new_at.contains_key(old_id) {
                out.push(old[o].clone());
                o += 1;
                continue;
            }
            if merged.contains(old_id) {
                o += 1;
            }
        }
        if let Some(new_id) = new_ids.get(n) {
            merged.insert(new_id);
            out.extend(both(new_id)?);
            n += 1;
            if next_shared == Some(new_id) {
                next_shared = shared.next();
            }
        }
    }
    Ok(out)
}
