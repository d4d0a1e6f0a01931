//! The selectors of what owns pods: Services, ReplicationControllers, ReplicaSets and StatefulSets.
//! PodTopologySpread's default constraints count the pods they select.

use std::collections::{BTreeMap, HashMap};

use api::labels::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::cache::{class::Class, terms};

/// Name of an owner: namespace, kind, name.
type Name = (Box<str>, &'static str, Box<str>);

/// Selectors of the Services of one namespace, by name.
type Services = BTreeMap<Box<str>, BTreeMap<String, String>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Owners {
    services: HashMap<Box<str>, Services>,
    controllers: HashMap<Name, LabelSelector>,
}

impl Owners {
    /// A Service came, changed or (with none) went. Answers whether that changes anything.
    pub fn service(
        &mut self,
        namespace: &str,
        name: &str,
        selector: Option<BTreeMap<String, String>>,
    ) -> bool {
        let selector = selector.filter(|s| !s.is_empty());
        let there = self.services.entry(namespace.into()).or_default();
        let before = match &selector {
            Some(selector) => there.insert(name.into(), selector.clone()),
            None => there.remove(name),
        };
        if there.is_empty() {
            self.services.remove(namespace);
        }
        before != selector
    }

    /// A controller of pods came, changed or (with none) went. Answers whether that changes
    /// anything.
    pub fn controller(
        &mut self,
        namespace: &str,
        kind: &'static str,
        name: &str,
        selector: Option<LabelSelector>,
    ) -> bool {
        let key = (namespace.into(), kind, name.into());
        let before = match &selector {
            Some(selector) => self.controllers.insert(key, selector.clone()),
            None => self.controllers.remove(&key),
        };
        before != selector
    }

    /// The labels of every Service that selects the pods, and the selector of what controls them,
    /// together; none when nothing does.
    pub fn selector(&self, class: &Class) -> Option<Selector> {
        let mut together = LabelSelector::default();
        let services = self.services.get(&class.namespace).into_iter().flatten();
        for (_, selector) in services {
            if selector.iter().all(|(k, v)| class.labels.get(k) == Some(v)) {
                together
                    .match_labels
                    .get_or_insert_default()
                    .extend(selector.clone());
            }
        }
        if let Some((kind, name)) = &class.controller {
            let kind = ["ReplicationController", "ReplicaSet", "StatefulSet"]
                .into_iter()
                .find(|k| k == kind);
            let key = kind.map(|k| (class.namespace.clone(), k, name.as_str().into()));
            if let Some(own) = key.and_then(|k| self.controllers.get(&k)) {
                // All of it holds, also where a Service says otherwise of the same label.
                let labels = own.match_labels.iter().flatten();
                let labels = labels.map(|(key, value)| LabelSelectorRequirement {
                    key: key.clone(),
                    operator: "In".to_owned(),
                    values: Some(vec![value.clone()]),
                });
                together
                    .match_expressions
                    .get_or_insert_default()
                    .extend(labels);
                let more = own.match_expressions.iter().flatten().cloned();
                together
                    .match_expressions
                    .get_or_insert_default()
                    .extend(more);
            }
        }
        (!terms::is_empty(&together)).then(|| terms::selector(Some(&together)))
    }
}
