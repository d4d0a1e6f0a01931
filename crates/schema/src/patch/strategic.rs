//! Strategic merge patch: a merge patch that knows which lists merge and by which key, with
//! directives for what a merge cannot say.

use std::borrow::Cow;

use super::{
    PatchError,
    order::{arrange, identity},
};
use crate::{
    Map, Value,
    table::{Kind, PatchStrategy, Table, Ty, TypeId},
};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;
type Result<T> = std::result::Result<T, PatchError>;

fn not_applicable<T>(text: impl Into<String>) -> Result<T> {
    Err(PatchError::NotApplicable(text.into()))
}

pub(super) fn apply(table: &Table, ty: TypeId, doc: &Value, patch: &Value) -> Result<Value> {
    let (Value::Object(doc), Value::Object(patch)) = (doc, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let place = Place {
        table,
        kind: Some(table.kind_of(ty)),
    };
    merge_map(place, doc.clone(), patch.clone()).map(Value::Object)
}

/// What the table knows of the map being merged; nothing below free-form values.
#[derive(Clone, Copy)]
struct Place<'t> {
    table: &'t Table,
    kind: Option<Kind<'t>>,
}

impl<'t> Place<'t> {
    fn below(self, key: &str) -> (Self, Cow<'t, PatchStrategy>) {
        let (ty, patch) = match self.kind {
            Some(Kind::Struct(_, fields)) => match fields.field(key) {
                Some(field) => (Some(&field.ty), Cow::Borrowed(&field.patch)),
                None => (None, Cow::default()),
            },
            Some(Kind::Map(element)) => (Some(element), Cow::default()),
            _ => (None, Cow::default()),
        };
        (self.at(ty), patch)
    }

    fn at(self, ty: Option<&'t Ty>) -> Self {
        let kind = ty.map(|ty| match self.table.kind(ty) {
            Kind::Either(either) => self.table.kind_of(either.object.1),
            kind => kind,
        });
        Place {
            table: self.table,
            kind,
        }
    }

    /// The place of a list's elements.
    fn element(self) -> Self {
        match self.kind {
            Some(Kind::List(element)) => self.at(Some(element)),
            _ => self.at(None),
        }
    }

    fn name(self) -> &'t str {
        match self.kind {
            Some(Kind::Struct(id, _)) => self.table.get(id).short_name(),
            _ => "object",
        }
    }
}

fn merge_map(place: Place<'_>, mut doc: Object, mut patch: Object) -> Result<Object> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => not_applicable(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut doc, &mut patch)?;
    merge_ordered_lists(place, &mut doc, &mut patch)?;
    for (key, value) in patch {
        if let Some(rest) = key.strip_prefix(DELETE_FROM) {
            let Some(list) = rest.strip_prefix('/') else {
                return not_applicable("invalid patch format of primitive list");
            };
            delete_from_list(&mut doc, list, &value)?;
            continue;
        }
        if value.is_null() {
            doc.remove(&key);
            continue;
        }
        let (below, strategy) = place.below(&key);
        let merged = match (doc.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                Some(Value::Object(if strategy.replace {
                    new
                } else {
                    merge_map(below, old, new)?
                }))
            }
            (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(if strategy.merge {
                merge_list(below, old, new, strategy.merge_key.as_deref())?
            } else {
                new
            })),
            (_, value) => without_directives(value),
        };
        if let Some(merged) = merged {
            doc.insert(key, merged);
        }
    }
    Ok(doc)
}

fn unknown_directive(directive: &Value, patch: &Object) -> String {
    let shown = match directive {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!(
        "unknown patch type: {shown} in map: {}",
        in_go(&Value::Object(patch.clone()))
    )
}

/// A value as Go prints it, which is what clients of upstream see.
fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_go).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{key}:{}", in_go(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// Drops what the directive does not name; the directive must name all that the patch sets.
fn retain_keys(doc: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return not_applicable("invalid patch format of retainKeys");
    };
    let retained = |key: &str| keys.iter().any(|known| known == key);
    for (key, value) in patch.iter() {
        let is_directive = key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
        if !value.is_null() && !is_directive && !retained(key) {
            return not_applicable("invalid patch format of retainKeys");
        }
    }
    doc.retain(|key, _| retained(key));
    Ok(())
}

fn delete_from_list(doc: &mut Object, list: &str, deleted: &Value) -> Result<()> {
    let Value::Array(deleted) = deleted else {
        return not_applicable("invalid patch format of primitive list");
    };
    if let Some(Value::Array(elements)) = doc.get_mut(list) {
        elements.retain(|element| !deleted.contains(element));
    }
    Ok(())
}

/// Merges the lists whose order the patch gives, and takes them out of the patch.
fn merge_ordered_lists(place: Place<'_>, doc: &mut Object, patch: &mut Object) -> Result<()> {
    let ordered: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in ordered {
        let Some(key) = directive[SET_ORDER.len()..].strip_prefix('/') else {
            return not_applicable("invalid patch format of setElementOrder list");
        };
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return not_applicable("invalid patch format of setElementOrder list");
        };
        let (below, strategy) = place.below(key);
        let merge_key = strategy.merge_key.as_deref();
        let old = list_of(doc.get(key))?;
        let new = match patch.get(key) {
            // Null deletes the list; the main loop does so.
            Some(Value::Null) => continue,
            other => list_of(other)?,
        };
        check_order(new.unwrap_or_default(), &order, merge_key)?;
        let server_order = old.unwrap_or_default().to_vec();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old.to_vec(),
            (None, Some(new)) => match without_directives(Value::Array(new.to_vec())) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            (Some(old), Some(new)) if strategy.merge => {
                merge_list(below, old.to_vec(), new.to_vec(), merge_key)?
            }
            (Some(_), Some(new)) => new.to_vec(),
        };
        for element in &merged {
            has_key(element, merge_key)?;
        }
        let arranged = arrange(merged, &order, &server_order, merge_key);
        doc.insert(key.to_owned(), Value::Array(arranged));
        patch.remove(key);
    }
    Ok(())
}

fn list_of(value: Option<&Value>) -> Result<Option<&[Value]>> {
    match value {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => not_applicable(format!(
            "expected a []interface {{}}, but received a {}",
            go_kind(other)
        )),
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The patch's elements must come in the order the directive gives, and be among them.
fn check_order(patch: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<()> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    for element in order {
        has_key(element, merge_key)?;
    }
    let mut places = order.iter();
    for element in patch {
        if element.get(DIRECTIVE).is_some() {
            continue;
        }
        has_key(element, merge_key)?;
        let wanted = identity(element, merge_key);
        if !places.any(|known| identity(known, merge_key) == wanted) {
            return not_applicable(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                Value::from(patch.to_vec()),
                Value::from(order.to_vec())
            ));
        }
    }
    Ok(())
}

fn has_key(element: &Value, merge_key: Option<&str>) -> Result<()> {
    let Some(key) = merge_key else { return Ok(()) };
    let Value::Object(map) = element else {
        return not_applicable(format!(
            "expected a map[string]interface {{}}, but received a {}",
            go_kind(element)
        ));
    };
    if map.contains_key(key) {
        return Ok(());
    }
    not_applicable(format!(
        "map: {} does not contain declared merge key: {key}",
        in_go(element)
    ))
}

fn merge_list(
    list: Place<'_>,
    old: Vec<Value>,
    new: Vec<Value>,
    merge_key: Option<&str>,
) -> Result<Vec<Value>> {
    let mut elements = old.iter().chain(&new);
    let Some(first) = elements.next() else {
        return Ok(old);
    };
    if first.is_array() {
        return not_applicable("lists of lists are not supported");
    }
    if elements.any(|element| go_kind(element) != go_kind(first)) {
        return not_applicable(format!(
            "list element types are not identical: {}{}",
            Value::from(old),
            Value::from(new)
        ));
    }
    if !first.is_object() {
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
        for element in old.iter().chain(&new) {
            if !merged.contains(element) {
                merged.push(element.clone());
            }
        }
        return Ok(arrange(merged, &new, &old, None));
    }
    let element = list.element();
    let Some(merge_key) = merge_key else {
        return not_applicable(format!(
            "cannot merge lists without merge key for {}",
            element.name()
        ));
    };
    let (old, new) = special_elements(old, new, merge_key)?;
    let mut merged = old.clone();
    for change in &new {
        has_key(change, Some(merge_key))?;
        let wanted = &change[merge_key];
        match merged
            .iter_mut()
            .find(|known| known.get(merge_key) == Some(wanted))
        {
            Some(Value::Object(known)) => {
                if let Value::Object(change) = change {
                    *known = merge_map(element, std::mem::take(known), change.clone())?;
                }
            }
            // An element that is new is taken with its nulls and directives, which decoding drops.
            _ => merged.extend(without_directives(change.clone())),
        }
    }
    for known in &merged {
        has_key(known, Some(merge_key))?;
    }
    Ok(arrange(merged, &new, &old, Some(merge_key)))
}

/// Carries out the elements that are directives: gives the list to merge into, and what to merge.
fn special_elements(
    mut old: Vec<Value>,
    new: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(new.len());
    let mut replace = false;
    for element in new {
        let directive = match &element {
            Value::Object(map) => map.get(DIRECTIVE),
            _ => None,
        };
        match directive.map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(element),
            Some("delete") => {
                has_key(&element, Some(merge_key))?;
                old.retain(|known| known.get(merge_key) != element.get(merge_key));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return not_applicable("merging lists cannot yet be specified in the patch");
            }
            Some(_) => match element {
                Value::Object(map) => {
                    return not_applicable(unknown_directive(&map[DIRECTIVE], &map));
                }
                _ => return not_applicable("invalid JSON document"),
            },
        }
    }
    if replace {
        return Ok((plain, Vec::new()));
    }
    Ok((old, plain))
}

/// A value of the patch that meets nothing: nulls and directives mean nothing there.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.contains_key(DIRECTIVE) {
                return None;
            }
            Some(Value::Object(
                map.into_iter()
                    .filter(|(key, value)| {
                        !value.is_null()
                            && key != RETAIN_KEYS
                            && !key.starts_with("$deleteFromPrimitiveList/")
                            && !key.starts_with("$setElementOrder/")
                    })
                    .filter_map(|(key, value)| Some((key, without_directives(value)?)))
                    .collect(),
            ))
        }
        Value::Array(list) => Some(Value::Array(
            list.into_iter().filter_map(without_directives).collect(),
        )),
        other => Some(other),
    }
}
