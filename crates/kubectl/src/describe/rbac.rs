//! Who may do what: roles and their bindings.

use api::object::Object;
use serde_json::Value;

use super::{
    Events, Layout,
    page::{Page, Row},
};

const fn layout(kind: &'static str, rows: &'static [Row]) -> Layout {
    Layout {
        events: Events::None,
        ..Layout::new("rbac.authorization.k8s.io/v1", kind, rows)
    }
}

const ROLE_ROWS: &[Row] = &[
    Row::Field("Name", "metadata.name"),
    Row::Labels("Labels", "metadata.labels"),
    Row::Annotations,
    Row::Words("PolicyRule:\n"),
    Row::Part(rules),
];

const BINDING_ROWS: &[Row] = &[
    Row::Field("Name", "metadata.name"),
    Row::Labels("Labels", "metadata.labels"),
    Row::Annotations,
    Row::Words("Role:\n"),
    Row::Field("  Kind", "roleRef.kind"),
    Row::Field("  Name", "roleRef.name"),
    Row::Words("Subjects:\n  Kind\tName\tNamespace\n  ----\t----\t---------\n"),
    Row::Part(|binding, page| {
        for subject in binding.list("subjects") {
            let cell = |field: &str| subject.text(field);
            page.line(
                1,
                format!("{}\t{}\t{}", cell("kind"), cell("name"), cell("namespace")),
            );
        }
    }),
];

/// How Roles are described.
pub const ROLE: Layout = layout("Role", ROLE_ROWS);
/// How ClusterRoles are described.
pub const CLUSTER_ROLE: Layout = layout("ClusterRole", ROLE_ROWS);
/// How RoleBindings are described.
pub const ROLE_BINDING: Layout = layout("RoleBinding", BINDING_ROWS);
/// How ClusterRoleBindings are described.
pub const CLUSTER_ROLE_BINDING: Layout = layout("ClusterRoleBinding", BINDING_ROWS);

/// What is allowed on one resource, object or path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Allowed {
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
    verbs: Vec<String>,
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

impl Allowed {
    /// What upstream sorts by: the rule's own text form, verbs first.
    fn order(&self) -> String {
        format!(
            "&PolicyRule{{Verbs:{},APIGroups:{},Resources:{},ResourceNames:{},NonResourceURLs:{},}}",
            list(&self.verbs),
            list(&self.groups),
            list(&self.resources),
            list(&self.names),
            list(&self.paths)
        )
    }

    /// `deployments.apps/scale`.
    fn resource(&self) -> String {
        let Some(resource) = self.resources.first() else {
            return String::new();
        };
        let (name, part) = match resource.split_once('/') {
            Some((name, part)) => (name, format!("/{part}")),
            None => (resource.as_str(), String::new()),
        };
        match self.groups.first().map(String::as_str) {
            None | Some("") => format!("{name}{part}"),
            Some(group) => format!("{name}.{group}{part}"),
        }
    }
}

fn rules(role: &Value, page: &mut Page) {
    page.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    page.line(1, "---------\t-----------------\t--------------\t-----");
    for row in permissions(role.list("rules")) {
        page.line(1, row.join("\t"));
    }
}

/// What rules allow: resource, paths, names and verbs of each, as kubectl groups them.
pub fn permissions(rules: &[Value]) -> Vec<[String; 4]> {
    let row = |rule: Allowed| {
        [
            rule.resource(),
            list(&rule.paths),
            list(&rule.names),
            list(&rule.verbs),
        ]
    };
    compact(rules).into_iter().map(row).collect()
}

/// Rules taken apart by group, resource and name, and the verbs of each put together again.
fn compact(rules: &[Value]) -> Vec<Allowed> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        rule.texts(field).map(str::to_string).collect()
    };
    let mut by_resource: Vec<Allowed> = Vec::new();
    let mut by_path = Vec::new();
    for rule in rules {
        let verbs = texts(rule, "verbs");
        let names: Vec<Vec<String>> = match texts(rule, "resourceNames") {
            none if none.is_empty() => vec![none],
            names => names.into_iter().map(|n| vec![n]).collect(),
        };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in &verbs {
                    for names in &names {
                        let known = by_resource.iter_mut().find(|a| {
                            a.groups == [group.clone()]
                                && a.resources == [resource.clone()]
                                && a.names == *names
                        });
                        match known {
                            Some(known) if known.verbs.contains(verb) => {}
                            Some(known) => known.verbs.push(verb.clone()),
                            None => by_resource.push(Allowed {
                                groups: vec![group.clone()],
                                resources: vec![resource.clone()],
                                names: names.clone(),
                                verbs: vec![verb.clone()],
                                ..Allowed::default()
                            }),
                        }
                    }
                }
            }
        }
        for path in texts(rule, "nonResourceURLs") {
            for verb in &verbs {
                by_path.push(Allowed {
                    paths: vec![path.clone()],
                    verbs: vec![verb.clone()],
                    ..Allowed::default()
                });
            }
        }
    }
    by_path.extend(by_resource);
    by_path.sort_by_cached_key(Allowed::order);
    by_path
}
