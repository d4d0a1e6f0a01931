//! How controllers write: patches of just what changed, bound to the uid and, where the decision
//! rests on the state read, to its resourceVersion; deletes bound to the uid. So no write lands on
//! another object of the same name, and no field of anybody else's is lost.

use client::Key;
use client::informer::Object;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, On};

/// A kind known at compile time.
pub(crate) trait Known: Object + Resource<DynamicType = ()> {}
impl<K: Object + Resource<DynamicType = ()>> Known for K {}

/// A kind whose objects live in namespaces.
pub(crate) trait Namespaced:
    Object + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize
{
}
impl<K> Namespaced for K where
    K: Object + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize
{
}

/// The kind in lower case, for messages.
pub(crate) fn kind<K: Resource<DynamicType = ()>>() -> String {
    K::kind(&()).to_lowercase()
}

/// The merge patch that turns `old` into `new`; none if they are equal.
pub(crate) fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        match old.get(name) {
            None => {
                patch.insert(name.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = difference(before, value) {
                    patch.insert(name.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(patch))
}

/// The typed part of an object as JSON; kinds of the API always have one.
pub(crate) fn json_of(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or(Value::Null)
}

/// Adds the preconditions to a patch: this very object, and with `fresh` this very state of it.
fn guarded<K: Resource>(object: &K, mut patch: Value, fresh: bool) -> Value {
    let meta = &mut patch["metadata"];
    if meta.is_null() {
        *meta = json!({});
    }
    meta["uid"] = json!(object.meta().uid);
    if fresh {
        meta["resourceVersion"] = json!(object.meta().resource_version);
    }
    patch
}

/// Writes the difference between two states of the status, given the state it was computed from.
/// Answers the object written, or none if there was nothing to write.
pub(crate) async fn status<K: Known>(
    api: &Api<K>,
    object: &K,
    old: &impl Serialize,
    new: &impl Serialize,
) -> Result<Option<K>, Error> {
    status_and_annotations(api, object, old, new, None).await
}

/// As [`status`], with annotations that tell of the status written in the same go: of an object's
/// metadata they may be, and do not count as a new generation.
pub(crate) async fn status_and_annotations<K: Known>(
    api: &Api<K>,
    object: &K,
    old: &impl Serialize,
    new: &impl Serialize,
    annotations: Option<Value>,
) -> Result<Option<K>, Error> {
    let change = difference(&json_of(old), &json_of(new));
    if change.is_none() && annotations.is_none() {
        return Ok(None);
    }
    let mut patch = json!({});
    if let Some(change) = change {
        patch["status"] = change;
    }
    if let Some(annotations) = annotations {
        patch["metadata"] = json!({ "annotations": annotations });
    }
    let patch = guarded(object, patch, true);
    let key = Key::of(object);
    api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .on("patch status of", &kind::<K>(), || key.clone())
        .map(Some)
}

/// A merge patch of the object that must still be as it was read.
pub(crate) async fn merge<K: Known>(api: &Api<K>, object: &K, patch: Value) -> Result<K, Error> {
    send(api, object, &Patch::Merge(guarded(object, patch, true))).await
}

/// A strategic merge patch of just this object, whatever its state: for list entries that merge.
pub(crate) async fn strategic<K: Known>(
    api: &Api<K>,
    object: &K,
    patch: Value,
) -> Result<K, Error> {
    send(
        api,
        object,
        &Patch::Strategic(guarded(object, patch, false)),
    )
    .await
}

async fn send<K: Known>(api: &Api<K>, object: &K, patch: &Patch<Value>) -> Result<K, Error> {
    let key = Key::of(object);
    api.patch(&key.name, &PatchParams::default(), patch)
        .await
        .on("patch", &kind::<K>(), || key.clone())
}

/// Deletes this very object; that it is gone already is success.
pub(crate) async fn delete<K: Known>(
    api: &Api<K>,
    object: &K,
    propagation: Option<PropagationPolicy>,
    grace_seconds: Option<u32>,
) -> Result<(), Error> {
    let params = DeleteParams {
        propagation_policy: propagation,
        grace_period_seconds: grace_seconds,
        preconditions: Some(Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    remove(api, object, params).await
}

/// Deletes this very object if it is still as it was read. What happened to it meanwhile is success as
/// well: the change brings it back.
pub(crate) async fn delete_unchanged<K: Known>(api: &Api<K>, object: &K) -> Result<(), Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: object.meta().resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    match remove(api, object, params).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result,
    }
}

async fn remove<K: Known>(api: &Api<K>, object: &K, params: DeleteParams) -> Result<(), Error> {
    let key = Key::of(object);
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(failure) => Err(failure).on("delete", &kind::<K>(), || key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_only_what_changed() {
        let cases = [
            (
                json!({"a": 1, "b": {"c": 2}}),
                json!({"a": 1, "b": {"c": 2}}),
                None,
            ),
            (
                json!({"a": 1, "b": {"c": 2, "d": 3}}),
                json!({"a": 1, "b": {"c": 2}}),
                Some(json!({"b": {"d": null}})),
            ),
            (
                json!({"l": [1, 2]}),
                json!({"l": [1]}),
                Some(json!({"l": [1]})),
            ),
            (json!(null), json!({"a": 1}), Some(json!({"a": 1}))),
            (
                json!({"a": 1}),
                json!({"a": {"b": 1}}),
                Some(json!({"a": {"b": 1}})),
            ),
        ];
        for (old, new, expected) in cases {
            assert_eq!(difference(&old, &new), expected, "{old} -> {new}");
        }
    }
}
