//! One rule of a role, compiled.

use serde_json::{Map, Value};

use crate::authorization::Attributes;

/// What one rule allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `get`, or `*`.
    pub verbs: Vec<Box<str>>,
    /// Empty text for core, or `*`.
    pub groups: Vec<Box<str>>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<Box<str>>,
    /// None for all.
    pub names: Vec<Box<str>>,
    /// `/healthz`, `/healthz/*`, `*`.
    pub urls: Vec<Box<str>>,
}

fn texts(rule: &Value, key: &str) -> Vec<Box<str>> {
    rule.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}

fn has(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| &**item == "*" || &**item == wanted)
}

impl Rule {
    /// Compiles a `PolicyRule`.
    pub fn parse(rule: &Value) -> Rule {
        Rule {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            names: texts(rule, "resourceNames"),
            urls: texts(rule, "nonResourceURLs"),
        }
    }

    /// The `PolicyRule` again.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, list) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !list.is_empty() || key == "verbs" {
                map.insert(
                    key.to_owned(),
                    list.iter().map(|text| Value::from(&**text)).collect(),
                );
            }
        }
        Value::Object(map)
    }

    pub(super) fn to_resource_rule(&self) -> Value {
        self.to_value()
    }

    pub(super) fn to_path_rule(&self) -> Value {
        self.to_value()
    }

    /// Does the rule allow this?
    pub fn covers(&self, wanted: &Attributes<'_>) -> bool {
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        if !wanted.is_resource {
            return self.covers_path(wanted.path);
        }
        has(&self.groups, wanted.group)
            && self.covers_resource(wanted.resource, wanted.subresource)
            && (self.names.is_empty() || self.names.iter().any(|name| &**name == wanted.name))
    }

    fn covers_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources
            .iter()
            .any(|rule| match rule.split_once('/') {
                None if &**rule == "*" => true,
                None => subresource.is_empty() && &**rule == resource,
                Some((r, s)) => {
                    !subresource.is_empty() && s == subresource && (r == "*" || r == resource)
                }
            })
    }

    fn covers_path(&self, path: &str) -> bool {
        self.urls.iter().any(|url| {
            &**url == "*"
                || &**url == path
                || url
                    .strip_suffix('*')
                    .is_some_and(|start| path.starts_with(start))
        })
    }

    /// Is everything that `other` allows allowed by one of `held`? `other` is broken into single
    /// permissions first, so that several rules can cover it together.
    pub fn is_covered_by(&self, held: &[Rule]) -> bool {
        self.verbs.iter().all(|verb| {
            let paths = self.urls.iter().all(|url| {
                held.iter()
                    .any(|h| has(&h.verbs, verb) && h.urls.iter().any(|u| path_within(url, u)))
            });
            let names: Vec<Option<&str>> = if self.names.is_empty() {
                vec![None]
            } else {
                self.names.iter().map(|name| Some(&**name)).collect()
            };
            let resources = self.groups.iter().all(|group| {
                self.resources.iter().all(|resource| {
                    names.iter().all(|name| {
                        held.iter()
                            .any(|h| h.covers_single(verb, group, resource, *name))
                    })
                })
            });
            paths && resources
        })
    }

    fn covers_single(&self, verb: &str, group: &str, resource: &str, name: Option<&str>) -> bool {
        has(&self.verbs, verb)
            && has(&self.groups, group)
            && (has(&self.resources, resource)
                || resource.split_once('/').is_some_and(|(_, sub)| {
                    self.resources.iter().any(|r| **r == *format!("*/{sub}"))
                }))
            && (self.names.is_empty()
                || name.is_some_and(|name| self.names.iter().any(|n| &**n == name)))
    }
}

fn path_within(wanted: &str, held: &str) -> bool {
    held == "*"
        || held == wanted
        || held
            .strip_suffix('*')
            .is_some_and(|start| wanted.trim_end_matches('*').starts_with(start))
}
