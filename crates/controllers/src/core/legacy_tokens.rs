//! Marks, and a year later deletes, ServiceAccount tokens that were made automatically long ago and
//! that nobody uses (KEP-2799).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::{Key, Scope};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

pub(super) const TYPE: &str = "kubernetes.io/service-account-token";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
pub(super) const ACCOUNT: &str = "kubernetes.io/service-account.name";
pub(super) const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Since when the API server notes which tokens are used.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// Unused for so long.
const DAYS: i64 = 365;
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// What to do with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Mark,
    Delete,
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn long_ago(now: Timestamp) -> Option<Date> {
    today(now).checked_sub(jiff::Span::new().days(DAYS)).ok()
}

/// Decides. `is_auto` says that its ServiceAccount names the token, as those made automatically are.
fn fate(secret: &Secret, is_auto: bool, is_mounted: bool, now: Timestamp) -> Fate {
    let (Some(before), Some(created)) = (long_ago(now), &secret.metadata.creation_timestamp) else {
        return Fate::Keep;
    };
    let label = |name: &str| secret.metadata.labels.as_ref()?.get(name);
    let used_lately = label(LAST_USED)
        .is_some_and(|date| date.parse::<Date>().map_or(true, |date| date >= before));
    let kept = secret.metadata.deletion_timestamp.is_some()
        || today(created.0) >= before
        || used_lately
        || !is_auto
        || is_mounted;
    if kept {
        return Fate::Keep;
    }
    match label(INVALID_SINCE).and_then(|date| date.parse::<Date>().ok()) {
        None => Fate::Mark,
        Some(since) if since >= before => Fate::Keep,
        Some(_) => Fate::Delete,
    }
}

/// The Secrets that pods of a namespace name anywhere in volumes, variables and pull secrets.
fn named_by(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for spec in pods.iter().filter_map(|pod| pod.spec.as_ref()) {
        for volume in spec.volumes.iter().flatten() {
            let plain = volume
                .secret
                .iter()
                .filter_map(|source| source.secret_name.clone());
            names.extend(plain);
            let projected = volume
                .projected
                .iter()
                .flat_map(|source| source.sources.iter().flatten());
            names.extend(projected.filter_map(|source| Some(source.secret.as_ref()?.name.clone())));
        }
        names.extend(
            spec.image_pull_secrets
                .iter()
                .flatten()
                .map(|secret| secret.name.clone()),
        );
        let containers = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers);
        for container in containers {
            let whole = container.env_from.iter().flatten();
            names.extend(whole.filter_map(|from| Some(from.secret_ref.as_ref()?.name.clone())));
            let single = container.env.iter().flatten();
            names.extend(single.filter_map(|variable| {
                let source = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
                Some(source.name.clone())
            }));
        }
    }
    names
}

/// Runs until the shutdown: one look a day.
pub(crate) async fn run(kit: Kit) {
    let secrets = kit
        .informers
        .get::<Secret>(Scope::fields(&format!("type={TYPE}")));
    let accounts = kit.informers.get::<ServiceAccount>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&secrets).await && kit.synced(&accounts).await && kit.synced(&pods).await) {
        return;
    }
    queue.add(Key::new("kube-system", TRACKING));
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, secrets, accounts, pods) = (
            inner.clone(),
            secrets.clone(),
            accounts.clone(),
            pods.clone(),
        );
        async move {
            let now = kit.now();
            if !is_tracked_long_enough(&kit, &key, now).await? {
                return Ok(Requeue::After(PERIOD));
            }
            let mut named: HashMap<String, BTreeSet<String>> = HashMap::new();
            for secret in secrets.store().list() {
                let namespace = secret.metadata.namespace.clone().unwrap_or_default();
                let name = secret.metadata.name.clone().unwrap_or_default();
                let note = |name: &str| secret.metadata.annotations.as_ref()?.get(name);
                let account = note(ACCOUNT).and_then(|name| accounts.store().get(&namespace, name));
                let is_auto = account.is_some_and(|account| {
                    let same = note(ACCOUNT_UID)
                        .is_none_or(|uid| Some(uid) == account.metadata.uid.as_ref());
                    let mut listed = account.secrets.iter().flatten();
                    same && listed.any(|one| one.name.as_ref() == Some(&name))
                });
                let named = named
                    .entry(namespace.clone())
                    .or_insert_with(|| named_by(&pods.store().list_in(&namespace)));
                let api: Api<Secret> = Api::namespaced(kit.client.clone(), &namespace);
                match fate(&secret, is_auto, named.contains(&name), now) {
                    Fate::Keep => {}
                    Fate::Mark => {
                        let since = today(now).to_string();
                        let patch = json!({"metadata": {"labels": {INVALID_SINCE: since}}});
                        ignore_change(write::merge(&api, &*secret, patch).await)?;
                    }
                    Fate::Delete => {
                        // Just this state of it: somebody may use it this very moment.
                        let params = DeleteParams {
                            preconditions: Some(Preconditions {
                                uid: secret.metadata.uid.clone(),
                                resource_version: secret.metadata.resource_version.clone(),
                            }),
                            ..DeleteParams::default()
                        };
                        let deleted = api.delete(&name, &params).await;
                        let deleted = deleted.on("delete", "secret", || Key::of(&*secret));
                        ignore_change(deleted)?;
                    }
                }
            }
            Ok::<_, Error>(Requeue::After(PERIOD))
        }
    })
    .await;
}

/// What changed or went meanwhile is looked at the next day.
fn ignore_change<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

async fn is_tracked_long_enough(kit: &Kit, key: &Key, now: Timestamp) -> Result<bool, Error> {
    let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), &key.namespace);
    let config = api.get_opt(&key.name).await;
    let config = config.on("get", "configmap", || key.clone())?;
    let since = config.and_then(|config| config.data?.get("since")?.parse::<Date>().ok());
    Ok(since
        .zip(long_ago(now))
        .is_some_and(|(since, before)| since < before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_tokens_are_marked_and_then_go() {
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let secret = |created: &str, labels: serde_json::Value| -> Secret {
            serde_json::from_value(
                json!({"metadata": {"creationTimestamp": created, "labels": labels}}),
            )
            .unwrap()
        };
        let old = "2020-01-01T00:00:00Z";
        let cases = [
            (old, json!({}), true, false, Fate::Mark),
            ("2026-01-01T00:00:00Z", json!({}), true, false, Fate::Keep),
            (old, json!({}), false, false, Fate::Keep),
            (old, json!({}), true, true, Fate::Keep),
            (
                old,
                json!({LAST_USED: "2026-05-01"}),
                true,
                false,
                Fate::Keep,
            ),
            (
                old,
                json!({LAST_USED: "2021-05-01"}),
                true,
                false,
                Fate::Mark,
            ),
            (
                old,
                json!({LAST_USED: "yesterday"}),
                true,
                false,
                Fate::Keep,
            ),
            (
                old,
                json!({INVALID_SINCE: "2026-05-01"}),
                true,
                false,
                Fate::Keep,
            ),
            (
                old,
                json!({INVALID_SINCE: "2025-05-01"}),
                true,
                false,
                Fate::Delete,
            ),
            (old, json!({INVALID_SINCE: "x"}), true, false, Fate::Mark),
        ];
        for (created, labels, is_auto, is_mounted, expected) in cases {
            let found = fate(&secret(created, labels.clone()), is_auto, is_mounted, now);
            assert_eq!(found, expected, "{created} {labels}");
        }
    }

    #[test]
    fn pods_name_secrets_in_many_places() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"name": "a", "secret": {"secretName": "plain"}},
                {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}]}}],
            "containers": [{"name": "c",
                "envFrom": [{"secretRef": {"name": "whole"}}],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "single", "key": "k"}}}]}],
        }}))
        .unwrap();
        let names = named_by(&[Arc::new(pod)]);
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["plain", "projected", "pull", "single", "whole"]
        );
    }
}
