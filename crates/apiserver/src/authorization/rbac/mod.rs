//! Role-based access control: an index from users and groups to compiled rules, kept by watching
//! the store. A request looks up its user and groups; it never walks all bindings.

mod index;
mod rule;

use parking_lot::RwLock;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Attributes, Decision};
use crate::authentication::UserInfo;

pub use index::{Index, RoleKey};
pub use rule::Rule;

/// The rules in force.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

impl Rbac {
    /// Takes in one object of the group `rbac.authorization.k8s.io`; `object` is none when it is
    /// gone.
    pub fn observe(&self, plural: &str, namespace: &str, name: &str, object: Option<&Value>) {
        self.index.write().observe(plural, namespace, name, object);
    }

    /// Allows when any rule of any binding of the user or one of its groups covers the request.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let index = self.index.read();
        let mut missing: Vec<String> = Vec::new();
        for binding in index.bindings_for(attributes.user, attributes.namespace) {
            let Some(rules) = index.rules(&binding.role) else {
                let text = binding.role.missing();
                if missing.len() < 5 && !missing.contains(&text) {
                    missing.push(text);
                }
                continue;
            };
            if rules.iter().any(|rule| rule.covers(attributes)) {
                return Decision::Allow(binding.reason(attributes.user));
            }
        }
        let reason = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        Decision::NoOpinion(reason)
    }

    /// All rules a user has in a namespace: resource rules and path rules, as
    /// `SelfSubjectRulesReview` shows them.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let index = self.index.read();
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        if user.in_group(crate::authentication::MASTERS) {
            resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
            paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        }
        for binding in index.bindings_for(user, namespace) {
            for rule in index.rules(&binding.role).unwrap_or_default() {
                if rule.resources.is_empty() {
                    paths.push(rule.to_path_rule());
                } else {
                    resources.push(rule.to_resource_rule());
                }
            }
        }
        (resources, paths)
    }

    /// The rules a user holds in a namespace (the cluster where empty), to judge escalation by.
    pub fn held(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let index = self.index.read();
        index
            .bindings_for(user, namespace)
            .filter_map(|binding| index.rules(&binding.role))
            .flatten()
            .cloned()
            .collect()
    }

    /// The rules of a role; none where it does not exist.
    pub fn role(&self, key: &RoleKey) -> Option<Vec<Rule>> {
        self.index.read().rules(key).map(<[Rule]>::to_vec)
    }

    /// The rules of every ClusterRole whose labels `matches` accepts: what aggregation puts together.
    pub fn aggregate(&self, matches: impl Fn(&BTreeMap<String, String>) -> bool) -> Vec<Rule> {
        self.index.read().aggregate(matches)
    }
}

#[cfg(test)]
mod tests;
