//! Lists that are sets or told apart by keys hold no two elements alike.

use std::collections::HashSet;

use crate::{
    FieldError, Map, Path, Value,
    table::{Kind, ListKind, Shape, Table, Ty, TypeId},
};

/// The elements that are there twice.
pub fn validate(table: &Table, ty: TypeId, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(
        table,
        &Ty::Ref(ty),
        &ListKind::Unset,
        &Path::ROOT,
        object,
        &mut errors,
    );
    errors
}

fn walk(
    table: &Table,
    ty: &Ty,
    list: &ListKind,
    path: &Path<'_>,
    value: &Value,
    errors: &mut Vec<FieldError>,
) {
    let (mut ty, mut list) = (ty, list);
    while let Ty::Ref(id) = ty
        && let Shape::Alias(alias) = &table.get(*id).shape
    {
        ty = &alias.ty;
        if *list == ListKind::Unset {
            list = &alias.list;
        }
    }
    match (table.kind(ty), value) {
        (Kind::Struct(_, fields), Value::Object(map)) if fields.custom => {
            for (name, value) in map {
                if let Some(field) = fields.field(name) {
                    walk(
                        table,
                        &field.ty,
                        &field.list,
                        &path.field(name),
                        value,
                        errors,
                    );
                }
            }
        }
        (Kind::Map(element), Value::Object(map)) => {
            for (name, value) in map {
                let path = path.key(name);
                walk(table, element, &ListKind::Unset, &path, value, errors);
            }
        }
        (Kind::List(element), Value::Array(items)) => {
            match list {
                ListKind::Set => twice(items.iter().cloned(), path, errors),
                ListKind::Map(keys) => by_keys(keys, items, path, errors),
                _ => {}
            }
            for (at, value) in items.iter().enumerate() {
                let path = path.index(at);
                walk(table, element, &ListKind::Unset, &path, value, errors);
            }
        }
        _ => {}
    }
}

fn by_keys(keys: &[Box<str>], items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some((at, item)) = items
        .iter()
        .enumerate()
        .find(|(_, item)| !item.is_object() && !item.is_null())
    {
        let wrong = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(path.index(at), item.clone(), wrong));
        return;
    }
    let identities = items.iter().map(|item| {
        let known = keys
            .iter()
            .filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
        Value::Object(known.collect::<Map<_, _>>())
    });
    twice(identities, path, errors);
}

/// Tells once of each value that is there more than once.
fn twice(values: impl Iterator<Item = Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    let mut told = HashSet::new();
    for (at, value) in values.enumerate() {
        let text = value.to_string();
        if !seen.insert(text.clone()) && told.insert(text) {
            errors.push(FieldError::duplicate(path.index(at), value));
        }
    }
}
