//! Server-side apply.

use super::{
    ApplyError, Conflict, Manager, Operation, ResetFields,
    compare::compare,
    entries::{self, Fields, Id, Managers, Owned, without_server_fields},
    merge::merge,
    node::Place,
    prune::remove,
    set::Set,
    update::track,
};
use crate::{
    Map, Value,
    table::{Table, TypeId},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) fn run(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager,
    force: bool,
    reset: &ResetFields,
) -> Result<Value, ApplyError> {
    if applied.pointer("/metadata/managedFields").is_some() {
        return Err(ApplyError::Invalid(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let root = Place::root(table, ty);
    let mut before = live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let mut managers = entries::read(&before);
    entries::strip(&mut before);
    if managers.is_empty() {
        // What was there before the first apply has somebody who wants it.
        let unknown = Manager {
            name: "before-first-apply".to_owned(),
            operation: Operation::Update,
            ..manager.clone()
        };
        let nothing = Value::Object(Map::new());
        managers = track(root, &nothing, &before, managers, &unknown, reset);
    }
    let plan = Plan {
        root,
        before: &before,
        applied,
        id: Id::of(manager, Operation::Apply),
        manager,
        reset,
    };
    let (mut object, managers) = match plan.apply(managers.clone(), force) {
        Err(ApplyError::Conflicts(conflicts)) if manager.is_kubectl() => {
            let left = plan.not_from_last_applied(conflicts);
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            plan.apply(managers, true)?
        }
        other => other?,
    };
    if manager.is_kubectl() {
        renew_last_applied(&mut object, applied);
    }
    entries::write(&mut object, managers);
    Ok(object)
}

struct Plan<'a, 't> {
    root: Place<'t>,
    before: &'a Value,
    applied: &'a Value,
    id: Id,
    manager: &'a Manager,
    reset: &'a ResetFields,
}

impl Plan<'_, '_> {
    fn apply(&self, mut managers: Managers, force: bool) -> Result<(Value, Managers), ApplyError> {
        let merged = merge(self.root, Some(self.before), Some(self.applied))
            .map_err(|error| ApplyError::Untyped(error.to_string()))?
            .unwrap_or_else(|| Value::Object(Map::new()));
        let previous = managers.remove(&self.id);
        let set = self.reset.filter(self.root.fields_of(self.applied).below);
        let time = previous.as_ref().and_then(|owned| owned.time.clone());
        managers.insert(
            self.id.clone(),
            Owned {
                api_version: self.manager.api_version.clone(),
                fields: Fields::Set(set),
                time,
            },
        );
        let last = previous.map(|owned| owned.fields.set()).unwrap_or_default();
        let object = self.prune(merged, &managers, &last);
        let changed = object != *self.before;
        self.take_from_others(&object, &mut managers, force)?;
        if let Some(mut owned) = managers.remove(&self.id) {
            owned.fields = Fields::Set(without_server_fields(owned.fields.set()));
            if changed {
                owned.time = Some(self.manager.time.clone());
            }
            if !owned.fields.is_empty() {
                managers.insert(self.id.clone(), owned);
            }
        }
        Ok((object, managers))
    }

    /// Takes out what this manager applied last and applies no more, unless another wants it.
    fn prune(&self, merged: Value, managers: &Managers, last: &Set) -> Value {
        if last.is_empty() {
            return merged;
        }
        let fields = |value: &Value| self.root.with_named(&self.root.fields_of(value).below);
        let last = self.root.with_named(last);
        let pruned = remove(self.root, &merged, &last);
        let all = fields(&merged);
        let wanted = managers
            .values()
            .fold(Set::default(), |all, owned| all.union(owned.fields.set()));
        let kept = fields(&pruned).union(self.root.with_named(&wanted));
        let pruned = remove(self.root, &merged, &all.clone().difference(&kept));
        // Only what was this manager's own may go.
        let gone = all.difference(&fields(&pruned)).intersection(&last);
        remove(self.root, &merged, &gone)
    }

    /// What the object changes is no longer others'; without force that is a conflict.
    fn take_from_others(
        &self,
        object: &Value,
        managers: &mut Managers,
        force: bool,
    ) -> Result<(), ApplyError> {
        let comparison = compare(self.root, self.before, object);
        let written = self.reset.filter(comparison.written);
        let removed = self.reset.filter(comparison.removed);
        let mut conflicts = Vec::new();
        for (id, owned) in managers.iter_mut().filter(|(id, _)| **id != self.id) {
            if owned.fields.meets(&written) {
                for path in owned.fields.set().intersection(&written).paths() {
                    let field = path.iter().map(ToString::to_string).collect();
                    conflicts.push(Conflict::new(id, field));
                }
                owned.fields.remove(&written);
            }
            owned.fields.remove(&removed);
        }
        if !force && !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
        managers.retain(|_, owned| !owned.fields.is_empty());
        Ok(())
    }

    /// The conflicts that do not stem from this user's own client-side applies.
    fn not_from_last_applied(&self, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let last_applied = self
            .before
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"))
            .and_then(|annotations| annotations.get(LAST_APPLIED))
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .filter(|object| {
                object.get("apiVersion").and_then(Value::as_str)
                    == Some(self.manager.api_version.as_str())
            });
        let Some(last_applied) = last_applied else {
            return conflicts;
        };
        let comparison = compare(self.root, &last_applied, self.before);
        let own = self
            .root
            .fields_of(&last_applied)
            .below
            .difference(&comparison.written)
            .difference(&comparison.removed);
        let own: Vec<String> = own
            .paths()
            .iter()
            .map(|path| path.iter().map(ToString::to_string).collect())
            .collect();
        conflicts
            .into_iter()
            .filter(|conflict| !own.contains(&conflict.field))
            .collect()
    }
}

/// Keeps the annotation that client-side apply reads, where there is one.
fn renew_last_applied(object: &mut Value, applied: &Value) {
    let Some(Value::String(annotation)) = object
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(|annotations| annotations.get_mut(LAST_APPLIED))
    else {
        return;
    };
    if annotation.is_empty() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
    {
        annotations.remove(LAST_APPLIED);
    }
    *annotation = format!("{applied}\n");
}
