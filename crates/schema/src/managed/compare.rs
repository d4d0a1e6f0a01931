//! Which fields one object has, lacks or has otherwise than another.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    element::Element,
    node::{Keys, Meeting, Place},
    set::{Node, Set},
};
use crate::{Map, Value, table::ListKind};

/// How two values differ at and below a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    pub(super) removed: Node,
    pub(super) modified: Node,
    pub(super) added: Node,
}

impl Difference {
    fn put(&mut self, key: &str, child: Difference) {
        if !child.is_empty() {
            self.put_element(Element::field(key), child);
        }
    }

    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    fn put_element(&mut self, element: Element, child: Difference) {
        let Difference {
            removed,
            modified,
            added,
        } = child;
        if !removed.is_empty() {
            self.removed.below.put(element.clone(), removed);
        }
        if !modified.is_empty() {
            self.modified.below.put(element.clone(), modified);
        }
        if !added.is_empty() {
            self.added.below.put(element, added);
        }
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut out = Self::default();
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => out.added.member = true,
            (Some(_), None) => out.removed.member = true,
            (Some(old), Some(new)) => out.modified.member = old != new,
        }
        out
    }
}

/// The three sets between whole objects.
pub(super) struct Comparison {
    pub(super) removed: Set,
    /// Modified or added: what the second object's writer wrote.
    pub(super) written: Set,
}

pub(super) fn compare(root: Place<'_>, old: &Value, new: &Value) -> Comparison {
    let difference = at(root, Some(old), Some(new));
    Comparison {
        removed: difference.removed.below,
        written: difference.modified.below.union(difference.added.below),
    }
}

fn at(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return Difference::default();
    }
    let mut out = match place.meeting() {
        Meeting::Leaf => return Difference::leaf(old, new),
        Meeting::List { kind, element } => {
            let (old_list, new_list) = (list(old), list(new));
            if old_list.is_empty() && new_list.is_empty() {
                return Difference::leaf(old, new);
            }
            lists(kind, element, old_list, new_list)
        }
        Meeting::Map(keys) => {
            let (old_map, new_map) = (map(old), map(new));
            if old_map.is_none_or(Map::is_empty) && new_map.is_none_or(Map::is_empty) {
                return Difference::leaf(old, new);
            }
            maps(place, keys, old_map, new_map)
        }
        Meeting::Free => {
            let (old_map, new_map) = (map(old), map(new));
            if old_map.is_none_or(Map::is_empty) && new_map.is_none_or(Map::is_empty) {
                return Difference::leaf(old, new);
            }
            let mut out = maps(place, Keys::Any(place), old_map, new_map);
            // A map in the place of something else, or the reverse.
            out.modified.member = old.is_some_and(|v| !v.is_object() && !v.is_null())
                || new.is_some_and(|v| !v.is_object() && !v.is_null());
            out
        }
    };
    if old.is_none() {
        out.added.member = true;
    } else if new.is_none() {
        out.removed.member = true;
    }
    out
}

fn list(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}

fn map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn maps(
    place: Place<'_>,
    keys: Keys<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
) -> Difference {
    let mut out = Difference::default();
    let empty = Map::new();
    let (has_old, has_new) = (old.is_some(), new.is_some());
    let (old, new) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
    let mut old_keys = old.iter().peekable();
    let mut new_keys = new.iter().peekable();
    // Side by side in order, so that sets grow at their ends.
    loop {
        let order = match (old_keys.peek(), new_keys.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old_entry = if order.is_le() { old_keys.next() } else { None };
        let new_entry = if order.is_ge() { new_keys.next() } else { None };
        let Some((key, _)) = old_entry.or(new_entry) else {
            return out;
        };
        let (old, new) = (old_entry.map(|e| e.1), new_entry.map(|e| e.1));
        if old.is_some() && old == new {
            continue;
        }
        let (below, field) = place.below(keys, key);
        let implied = field.and_then(|field| below.implied(field));
        let old = old.or(implied.filter(|_| has_old));
        let new = new.or(implied.filter(|_| has_new));
        out.put(key, at(below, old, new));
    }
}

fn lists(kind: &ListKind, element: Place<'_>, old: &[Value], new: &[Value]) -> Difference {
    let mut both: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(identity) = element.identity(kind, item) {
            both.entry(identity).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(identity) = element.identity(kind, item) {
            both.entry(identity).or_default().1.push(item);
        }
    }
    let mut out = Difference::default();
    for (identity, (old, new)) in both {
        let child = match (&old[..], &new[..]) {
            (old, new) if old.len() <= 1 && new.len() <= 1 => {
                at(element, old.first().copied(), new.first().copied())
            }
            // Elements that cannot be told apart are one field.
            (old, new) if old.len() >= 2 && new.len() >= 2 => {
                let mut child = Difference::default();
                child.modified.member = old != new;
                child
            }
            (old, new) if old.len() >= 2 => {
                let mut child = match new.first() {
                    Some(new) => at(element, None, Some(new)),
                    None => Difference::default(),
                };
                child.removed.member = true;
                child
            }
            (old, _) => {
                let mut child = match old.first() {
                    Some(old) => at(element, Some(old), None),
                    None => Difference::default(),
                };
                child.added.member = true;
                child
            }
        };
        out.put_element(identity, child);
    }
    out
}
