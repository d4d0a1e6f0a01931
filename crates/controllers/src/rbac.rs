//! ClusterRole aggregation: a role with an aggregation rule has the rules of all roles that it selects.

use std::sync::Arc;

use client::controller::Requeue;
use client::{Change, Key, Scope};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::core::Selector;
use serde_json::json;

use crate::error::Error;
use crate::kit::Kit;
use crate::owner::selects;
use crate::write;

fn selectors(role: &ClusterRole) -> Vec<Selector> {
    let rule = role.aggregation_rule.as_ref();
    let selectors = rule
        .and_then(|rule| rule.cluster_role_selectors.clone())
        .unwrap_or_default();
    selectors
        .into_iter()
        .filter_map(|selector| Selector::try_from(selector).ok())
        .collect()
}

/// The rules the role should have; none if it does not aggregate.
fn aggregated(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    role.aggregation_rule.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors(role) {
        let chosen = all.iter().filter(|other| {
            other.metadata.name != role.metadata.name && selects(&selector, &other.metadata)
        });
        for rule in chosen.flat_map(|other| other.rules.as_deref().unwrap_or_default()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let roles = kit.informers.get::<ClusterRole>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&roles).await {
        return;
    }
    let all = roles.store().clone();
    kit.follow(&roles, &queue, move |change: Change<ClusterRole>| {
        let now = change.object();
        let old = change.old();
        let concerned = |role: &ClusterRole| {
            role.metadata.name == now.metadata.name
                || selectors(role).iter().any(|selector| {
                    selects(selector, &now.metadata)
                        || old.is_some_and(|old| selects(selector, &old.metadata))
                })
        };
        all.list()
            .into_iter()
            .filter(|role| role.aggregation_rule.is_some() && concerned(role))
            .map(|role| Key::of(&*role))
            .collect::<Vec<_>>()
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, roles) = (inner.clone(), roles.clone());
        async move {
            let Some(role) = roles.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let Some(rules) = aggregated(&role, &roles.store().list()) else {
                return Ok(Requeue::OnChange);
            };
            if role.rules.as_deref().unwrap_or_default() != rules {
                let api: Api<ClusterRole> = Api::all(kit.client.clone());
                write::merge(&api, &*role, json!({ "rules": rules })).await?;
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn rules_of_all_selected_roles_once() {
        let role = |value: Value| Arc::new(serde_json::from_value::<ClusterRole>(value).unwrap());
        let rule = |verb: &str| json!({"verbs": [verb], "resources": ["pods"], "apiGroups": [""]});
        let labelled = |name: &str, rules: Value| {
            role(json!({"metadata": {"name": name, "labels": {"to": "view"}}, "rules": rules}))
        };
        let view = role(json!({
            "metadata": {"name": "view", "labels": {"to": "view"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]},
            "rules": [rule("delete")],
        }));
        let all = [
            labelled("a", json!([rule("get"), rule("list")])),
            labelled("b", json!([rule("list"), rule("watch")])),
            role(json!({"metadata": {"name": "c"}, "rules": [rule("update")]})),
            view.clone(),
        ];
        let verbs: Vec<_> = aggregated(&view, &all)
            .unwrap()
            .into_iter()
            .flat_map(|rule| rule.verbs)
            .collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert!(aggregated(&all[2], &all).is_none());
    }
}
