//! Keeps the entries on plain writes.

use super::{
    MAX_UPDATE_MANAGERS, Manager, Operation, ResetFields,
    compare::compare,
    entries::{self, Fields, Id, Managers, Owned, without_server_fields},
    node::Place,
    set::Set,
};
use crate::{
    Map, Value,
    table::{Table, TypeId},
};

pub(super) fn run(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager,
    reset: &ResetFields,
) {
    let empty = Value::Object(Map::new());
    let before = live.unwrap_or(&empty);
    let managers = if !manager.subresource.is_empty() {
        entries::read(before)
    } else if entries::asks_reset(new) {
        Managers::new()
    } else {
        let brought = new.pointer("/metadata/managedFields");
        if brought == before.pointer("/metadata/managedFields") {
            entries::take(new)
        } else {
            // Clients that know nothing of the entries must not delete them.
            let brought = entries::read_checked(new);
            if brought.is_empty() {
                entries::read(before)
            } else {
                brought
            }
        }
    };
    entries::strip(new);
    // An object that nobody tracked is not tracked from its middle on.
    if managers.is_empty() && before.pointer("/metadata/uid").is_some() {
        return;
    }
    let managers = track(
        Place::root(table, ty),
        before,
        new,
        managers,
        manager,
        reset,
    );
    entries::write(new, managers);
}

/// The entries after a plain write: it takes what it changed from all others.
pub(super) fn track(
    root: Place<'_>,
    before: &Value,
    new: &Value,
    mut managers: Managers,
    manager: &Manager,
    reset: &ResetFields,
) -> Managers {
    let comparison = compare(root, before, new);
    let removed = reset.filter(comparison.removed);
    let written = reset.filter(comparison.written);
    for owned in managers.values_mut() {
        owned.fields.remove(&written);
        owned.fields.remove(&removed);
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    let written = without_server_fields(written);
    if !written.is_empty() {
        let id = Id::of(manager, Operation::Update);
        let previous = managers.remove(&id).map(|owned| owned.fields.set());
        managers.insert(
            id,
            Owned {
                api_version: manager.api_version.clone(),
                fields: Fields::Set(previous.unwrap_or_default().union(written)),
                time: Some(manager.time.clone()),
            },
        );
    }
    bounded(managers)
}

/// Joins the oldest entries of plain writes, by version, where there are too many.
fn bounded(mut managers: Managers) -> Managers {
    let mut updaters: Vec<Id> = managers
        .keys()
        .filter(|id| id.operation == Operation::Update)
        .cloned()
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATE_MANAGERS {
        return managers;
    }
    updaters.sort_by_cached_key(|id| (managers.get(id).and_then(|o| o.time.clone()), id.clone()));
    let mut first_of: Vec<(String, Id)> = Vec::new();
    for id in updaters {
        if count <= MAX_UPDATE_MANAGERS {
            break;
        }
        let version = id.api_version.clone();
        let Some((_, first)) = first_of.iter().find(|(known, _)| *known == version) else {
            first_of.push((version, id));
            continue;
        };
        let bucket = Id::new("ancient-changes", Operation::Update, &version, "");
        let mut set = match managers.remove(&bucket).or_else(|| managers.remove(first)) {
            Some(owned) => owned.fields.set(),
            None => Set::default(),
        };
        let Some(joined) = managers.remove(&id) else {
            continue;
        };
        set = set.union(joined.fields.set());
        managers.insert(
            bucket,
            Owned {
                api_version: version,
                fields: Fields::Set(set),
                time: joined.time,
            },
        );
        count -= 1;
    }
    managers
}
