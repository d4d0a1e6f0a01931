//! Rules of webhooks and policies: which operations on which resources they are about.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use api::object::Object;
use serde_json::Value;

use super::Admission;
use crate::endpoint::Endpoint;

/// A `RuleWithOperations`, also with `resourceNames`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

/// What a rule is held against.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `CREATE`, …
    pub operation: &'a str,
    /// Empty for core.
    pub group: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The object lives in a namespace.
    pub namespaced: bool,
    /// The object's name.
    pub name: &'a str,
}

impl<'a> Asked<'a> {
    /// The question, as if it were asked of `endpoint`.
    pub fn of(admission: &Admission<'a>, endpoint: &'a Endpoint) -> Asked<'a> {
        let resource = &*endpoint.resource;
        Asked {
            operation: admission.operation.as_str(),
            group: &resource.gvk.group,
            version: &resource.gvk.version,
            resource: &resource.plural,
            subresource: admission.subresource,
            namespaced: resource.namespaced,
            name: admission.name,
        }
    }
}

fn has(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    /// From its JSON.
    pub fn read(rule: &Value) -> Rule {
        let texts = |field: &str| rule.texts(field).map(str::to_owned).collect();
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: rule.text("scope").to_owned(),
            names: texts("resourceNames"),
        }
    }

    /// Is it about this?
    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        let scope = match self.scope.as_str() {
            "" | "*" => true,
            "Namespaced" => asked.namespaced,
            "Cluster" => !asked.namespaced,
            _ => false,
        };
        scope
            && has(&self.operations, asked.operation)
            && has(&self.groups, asked.group)
            && has(&self.versions, asked.version)
            && self.resources.iter().any(|resource| {
                let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
                (resource == "*" || resource == asked.resource)
                    && (sub == "*" || sub == asked.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    /// The plurals it names; none when it is about any.
    pub fn plurals(&self) -> Option<impl Iterator<Item = &str>> {
        let plurals = self
            .resources
            .iter()
            .map(|resource| resource.split('/').next().unwrap_or_default());
        (!plurals.clone().any(|plural| plural == "*")).then_some(plurals)
    }
}

/// The plurals that any of the rules names; none when they are about any.
pub fn plurals(rules: &[Rule]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for rule in rules {
        all.extend(rule.plurals()?.map(str::to_owned));
    }
    Some(all)
}

/// Things by the plurals they are about, so that a request finds those about it with one look.
pub struct ByPlural<T> {
    /// Those about any resource.
    any: Arc<[T]>,
    /// Those about this plural, together with those about any.
    named: HashMap<String, Arc<[T]>>,
}

impl<T> Default for ByPlural<T> {
    fn default() -> Self {
        ByPlural {
            any: Arc::new([]),
            named: HashMap::new(),
        }
    }
}

impl<T: Clone> ByPlural<T> {
    /// In this order, each with the plurals it is about (none: any).
    pub fn new(items: &[(T, Option<BTreeSet<String>>)]) -> Self {
        let about = |wanted: Option<&str>| -> Arc<[T]> {
            items
                .iter()
                .filter(|(_, plurals)| match (plurals, wanted) {
                    (None, _) => true,
                    (Some(plurals), Some(plural)) => plurals.contains(plural),
                    (Some(_), None) => false,
                })
                .map(|(item, _)| item.clone())
                .collect()
        };
        let names: BTreeSet<&String> = items.iter().flat_map(|(_, p)| p).flatten().collect();
        ByPlural {
            any: about(None),
            named: names
                .into_iter()
                .map(|name| (name.clone(), about(Some(name))))
                .collect(),
        }
    }

    /// Those about this plural.
    pub fn get(&self, plural: &str) -> Arc<[T]> {
        self.named.get(plural).unwrap_or(&self.any).clone()
    }
}

/// The endpoint whose version of the resource one of the rules is about: the request's own, or, where
/// `equivalent` ones count as well, another of the same objects.
pub fn find(rules: &[Rule], equivalent: bool, admission: &Admission<'_>) -> Option<Arc<Endpoint>> {
    let own = &admission.call.endpoint;
    let asked = Asked::of(admission, own);
    if rules.iter().any(|rule| rule.matches(&asked)) {
        return Some(own.clone());
    }
    if !equivalent {
        return None;
    }
    let others = admission.call.server.endpoints.equivalent(own);
    rules.iter().find_map(|rule| {
        others.iter().find_map(|other| {
            let served = admission.subresource.is_empty()
                || other.resource.subresource(admission.subresource).is_some();
            (served && rule.matches(&Asked::of(admission, other))).then(|| other.clone())
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_about_what_it_names() {
        let asked = |path: &'static str, operation: &'static str, namespaced: bool| {
            let parts: Vec<&str> = path.split('/').collect();
            Asked {
                operation,
                group: parts[0],
                version: parts[1],
                resource: parts[2],
                subresource: parts.get(3).copied().unwrap_or(""),
                namespaced,
                name: "x",
            }
        };
        let cases = [
            // (rule changes, path, operation, namespaced, matches)
            (json!({}), "/v1/pods", "CREATE", true, true),
            (json!({}), "/v1/pods", "DELETE", true, false),
            (json!({}), "/v1/pods/status", "CREATE", true, false),
            (json!({}), "apps/v1/pods", "CREATE", true, false),
            (
                json!({"resources": ["pods/*"]}),
                "/v1/pods/status",
                "CREATE",
                true,
                true,
            ),
            (
                json!({"resources": ["pods/*"]}),
                "/v1/pods",
                "CREATE",
                true,
                true,
            ),
            (
                json!({"resources": ["pods/status"]}),
                "/v1/pods",
                "CREATE",
                true,
                false,
            ),
            (
                json!({"resources": ["*"]}),
                "/v1/pods/status",
                "CREATE",
                true,
                false,
            ),
            (
                json!({"resources": ["*/*"]}),
                "/v1/pods/status",
                "CREATE",
                true,
                true,
            ),
            (
                json!({"resources": ["*/scale"]}),
                "/v1/pods/scale",
                "CREATE",
                true,
                true,
            ),
            (
                json!({"operations": ["*"]}),
                "/v1/pods",
                "CONNECT",
                true,
                true,
            ),
            (
                json!({"scope": "Cluster"}),
                "/v1/pods",
                "CREATE",
                true,
                false,
            ),
            (
                json!({"scope": "Cluster"}),
                "/v1/pods",
                "CREATE",
                false,
                true,
            ),
            (
                json!({"scope": "Namespaced"}),
                "/v1/pods",
                "CREATE",
                false,
                false,
            ),
            (
                json!({"apiGroups": ["*"], "apiVersions": ["*"]}),
                "a/b/pods",
                "CREATE",
                true,
                true,
            ),
            (
                json!({"apiVersions": ["v2"]}),
                "/v1/pods",
                "CREATE",
                true,
                false,
            ),
            (
                json!({"resourceNames": ["y"]}),
                "/v1/pods",
                "CREATE",
                true,
                false,
            ),
            (
                json!({"resourceNames": ["y", "x"]}),
                "/v1/pods",
                "CREATE",
                true,
                true,
            ),
        ];
        for (changes, path, operation, namespaced, expected) in cases {
            let rule = schema::patch::merge(
                &json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["pods"], "scope": "*"}),
                &changes,
            );
            let matches = Rule::read(&rule).matches(&asked(path, operation, namespaced));
            assert_eq!(matches, expected, "{changes} {path} {operation}");
        }
    }
}
