//! Who controls what: controller references, and the claiming of dependents by selector.
//!
//! An owner keeps the dependents that name it as their controller and match its selector, releases
//! those that do not match any more, and adopts matching ones that nobody controls.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::informer::Store;
use client::{Change, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource};
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write::{self, Namespaced};

/// A kind that controls others by a label selector.
pub(crate) trait Owner: Namespaced {
    /// What its dependents carry beside the owner reference, from their adoption to their release.
    const FINALIZER: Option<&'static str> = None;

    /// Which dependents belong to it; none when the selector is absent, empty or malformed, which
    /// selects nothing.
    fn selector(&self) -> Option<Selector>;
}

/// A usable selector of this field.
pub(crate) fn selector_of(selector: &LabelSelector) -> Option<Selector> {
    let expressions = selector
        .match_expressions
        .as_deref()
        .unwrap_or_default()
        .len();
    let labels = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
    if expressions + labels == 0 {
        return None;
    }
    Selector::try_from(selector.clone()).ok()
}

/// Does the selector match the object's labels?
pub(crate) fn selects(selector: &Selector, meta: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(meta.labels.as_ref().unwrap_or(&NONE))
}

/// The reference to the object's controller.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// The reference that makes `owner` the controller of what carries it.
pub(crate) fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Is this owner reference to an object of kind `K`?
pub(crate) fn refers_to<K: Resource<DynamicType = ()>>(owner: &OwnerReference) -> bool {
    owner.kind == K::kind(&())
        && owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
            == K::group(&())
}

/// The owners a change of a dependent concerns: its controller before and now; or, if it has none,
/// those that might adopt it.
pub(crate) fn owners_of<K: Owner, D: Resource>(change: &Change<D>, owners: &Store<K>) -> Vec<Key> {
    let now = change.object().meta();
    let namespace = now.namespace.as_deref().unwrap_or_default();
    let mut keys = Vec::new();
    let old = change.old().map(|old| old.meta());
    for meta in old.into_iter().chain([now]) {
        if let Some(owner) = controller_of(meta)
            && refers_to::<K>(owner)
            && owners
                .get(namespace, &owner.name)
                .is_some_and(|found| found.meta().uid.as_deref() == Some(owner.uid.as_str()))
        {
            let key = Key::new(namespace, &owner.name);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    if controller_of(now).is_none() && !change.is_deleted() {
        let adopting = owners.list_in(namespace).into_iter().filter(|owner| {
            owner
                .selector()
                .is_some_and(|selector| selects(&selector, now))
        });
        for owner in adopting {
            let key = Key::of(&*owner);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// What to do about one dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

/// Decides over one dependent of an owner with this metadata and selector.
pub(crate) fn claim(owner: &ObjectMeta, selector: &Selector, dependent: &ObjectMeta) -> Claim {
    let leaving = owner.deletion_timestamp.is_some();
    let matches = selects(selector, dependent);
    match controller_of(dependent) {
        Some(reference) if Some(&reference.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if leaving => Claim::Ignore,
        Some(_) => Claim::Release,
        None if leaving || !matches || dependent.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The dependents of `owner`, after adopting and releasing.
pub(crate) async fn claimed<K: Owner, D: Namespaced>(
    kit: &Kit,
    owner: &K,
    selector: &Selector,
    dependents: &Store<D>,
) -> Result<Vec<Arc<D>>, Error> {
    claimed_of(kit, owner, selector, dependents, |_| true).await
}

/// As [`claimed`], leaving alone all but those of which `concerns` is true.
pub(crate) async fn claimed_of<K: Owner, D: Namespaced>(
    kit: &Kit,
    owner: &K,
    selector: &Selector,
    dependents: &Store<D>,
    concerns: impl Fn(&D) -> bool,
) -> Result<Vec<Arc<D>>, Error> {
    let meta = owner.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let api: Api<D> = Api::namespaced(kit.client.clone(), namespace);
    let mut kept = Vec::new();
    let mut confirmed = false;
    let owned = dependents.owned_by(meta.uid.as_deref().unwrap_or_default());
    for dependent in owned.into_iter().chain(dependents.orphans_in(namespace)) {
        if dependent.meta().namespace != meta.namespace || !concerns(&dependent) {
            continue;
        }
        match claim(meta, selector, dependent.meta()) {
            Claim::Ignore => {}
            Claim::Keep => kept.push(dependent),
            Claim::Release => {
                let mut patch = json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": meta.uid}]}});
                if let Some(finalizer) = K::FINALIZER {
                    patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
                }
                ignore_gone(write::strategic(&api, &*dependent, patch).await)?;
            }
            Claim::Adopt => {
                if !confirmed && !still_there(kit, owner).await? {
                    continue;
                }
                confirmed = true;
                let mut patch = json!({"metadata": {"ownerReferences": [controller_ref(owner)]}});
                if let Some(finalizer) = K::FINALIZER {
                    patch["metadata"]["finalizers"] = json!([finalizer]);
                }
                if let Some(adopted) =
                    ignore_gone(write::strategic(&api, &*dependent, patch).await)?
                {
                    kept.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(kept)
}

/// The cache may not know yet that the owner is being deleted: adopting then would undo an orphaning.
async fn still_there<K: Owner>(kit: &Kit, owner: &K) -> Result<bool, Error> {
    let key = Key::of(owner);
    let api: Api<K> = Api::namespaced(kit.client.clone(), &key.namespace);
    let live = api
        .get_opt(&key.name)
        .await
        .on("get", &write::kind::<K>(), || key.clone())?;
    Ok(live.is_some_and(|live| {
        live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none()
    }))
}

/// The dependent went, or is another by now, or somebody else took it: the next change tells.
fn ignore_gone<D>(result: Result<D, Error>) -> Result<Option<D>, Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error)
            if error.is_not_found()
                || error.is_conflict()
                || error.status().is_some_and(|status| status.code == 422) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(uid: &str, label: &str, controller: Option<&str>, deleting: bool) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: controller.map(|uid| {
                vec![OwnerReference {
                    uid: uid.into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                }]
            }),
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn claims() {
        let selector = selector_of(&LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..LabelSelector::default()
        })
        .unwrap();
        let here = meta("o", "", None, false);
        let leaving = meta("o", "", None, true);
        let cases = [
            (&here, meta("p", "web", Some("o"), false), Claim::Keep),
            (&here, meta("p", "web", Some("o"), true), Claim::Keep),
            (&here, meta("p", "db", Some("o"), false), Claim::Release),
            (&here, meta("p", "web", Some("x"), false), Claim::Ignore),
            (&here, meta("p", "web", None, false), Claim::Adopt),
            (&here, meta("p", "web", None, true), Claim::Ignore),
            (&here, meta("p", "db", None, false), Claim::Ignore),
            (&leaving, meta("p", "web", None, false), Claim::Ignore),
            (&leaving, meta("p", "db", Some("o"), false), Claim::Ignore),
            (&leaving, meta("p", "web", Some("o"), false), Claim::Keep),
        ];
        for (owner, dependent, expected) in cases {
            assert_eq!(
                claim(owner, &selector, &dependent),
                expected,
                "{dependent:?}"
            );
        }
        assert!(
            selector_of(&LabelSelector::default()).is_none(),
            "an empty selector selects nothing"
        );
    }
}
