//! Inter-pod affinity terms made ready for matching.

use std::collections::BTreeMap;

use api::labels::Selector;
use k8s_openapi::{
    api::core::v1::{Affinity, PodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// One term: pods it is about, and what "near" means.
#[derive(Debug)]
pub struct Term {
    /// Nodes with the same value of this label are near each other.
    pub key: Box<str>,
    /// Labels of the pods it is about.
    pub selector: Selector,
    namespaces: Vec<String>,
    /// Of the namespaces' own labels; none where the term has no namespace selector.
    namespace_selector: Option<Selector>,
}

/// All terms of a pod.
#[derive(Debug, Default)]
pub struct Terms {
    /// Required affinity.
    pub near: Vec<Term>,
    /// Required anti-affinity.
    pub far: Vec<Term>,
    /// Preferred, with weights; those of anti-affinity weigh negatively.
    pub preferred: Vec<(Term, i64)>,
}

impl Terms {
    /// Of a pod with this namespace and these labels.
    pub fn new(namespace: &str, labels: &BTreeMap<String, String>, affinity: &Affinity) -> Terms {
        let term = |t: &PodAffinityTerm| Term::new(namespace, labels, t);
        let mut terms = Terms::default();
        if let Some(near) = &affinity.pod_affinity {
            let required = near
                .required_during_scheduling_ignored_during_execution
                .iter();
            terms.near = required.flatten().map(term).collect();
            let preferred = near
                .preferred_during_scheduling_ignored_during_execution
                .iter();
            terms.preferred.extend(
                preferred
                    .flatten()
                    .map(|t| (term(&t.pod_affinity_term), i64::from(t.weight))),
            );
        }
        if let Some(far) = &affinity.pod_anti_affinity {
            let required = far
                .required_during_scheduling_ignored_during_execution
                .iter();
            terms.far = required.flatten().map(term).collect();
            let preferred = far
                .preferred_during_scheduling_ignored_during_execution
                .iter();
            terms.preferred.extend(
                preferred
                    .flatten()
                    .map(|t| (term(&t.pod_affinity_term), -i64::from(t.weight))),
            );
        }
        terms
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.preferred.is_empty()
    }

    /// The node labels that tell what is near.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let required = self.near.iter().chain(&self.far);
        required
            .chain(self.preferred.iter().map(|(t, _)| t))
            .map(|t| &*t.key)
    }
}

impl Term {
    /// The API server has merged `matchLabelKeys` into the selector; keys it did not (pods older than
    /// the field) are merged here (KEP-3633).
    fn new(namespace: &str, labels: &BTreeMap<String, String>, term: &PodAffinityTerm) -> Term {
        let wanted = term
            .label_selector
            .as_ref()
            .map(|s| with_labels(s, labels, term.match_label_keys.iter().flatten()));
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Term {
            key: term.topology_key.as_str().into(),
            selector: selector(wanted.as_ref()),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().map(|s| selector(Some(s))),
        }
    }

    /// Whether it is about pods of this namespace.
    pub fn covers(&self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let by_labels = |s: &Selector| {
            let labels = labels.into_iter().flatten();
            s.matches(labels.map(|(k, v)| (k.as_str(), v.as_str())))
        };
        self.namespaces.iter().any(|n| n == namespace)
            || self.namespace_selector.as_ref().is_some_and(by_labels)
    }
}

/// A selector ready for matching; none, or one that cannot be read, matches nothing.
pub fn selector(selector: Option<&LabelSelector>) -> Selector {
    selector
        .and_then(|s| serde_json::to_value(s).ok())
        .and_then(|v| Selector::from_label_selector(&v).ok())
        .unwrap_or_else(Selector::nothing)
}

/// Whether a selector asks for nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.as_ref();
    let expressions = selector.match_expressions.as_ref();
    labels.is_none_or(BTreeMap::is_empty) && expressions.is_none_or(Vec::is_empty)
}

/// The selector with a pod's own values of some labels added.
pub fn with_labels<'k>(
    selector: &LabelSelector,
    labels: &BTreeMap<String, String>,
    keys: impl Iterator<Item = &'k String>,
) -> LabelSelector {
    let mut wanted = selector.clone();
    for key in keys {
        if let Some(value) = labels.get(key) {
            wanted
                .match_labels
                .get_or_insert_default()
                .insert(key.clone(), value.clone());
        }
    }
    wanted
}
