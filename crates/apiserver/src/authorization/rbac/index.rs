//! From subjects to bindings to rules.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::object::Object;
use serde_json::Value;

use super::rule::Rule;
use crate::authentication::UserInfo;

/// A Role (with namespace) or ClusterRole (without).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleKey {
    /// Empty for a ClusterRole.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl RoleKey {
    /// What a refusal says of a role that is not there.
    pub(super) fn missing(&self) -> String {
        if self.namespace.is_empty() {
            format!(
                "clusterrole.rbac.authorization.k8s.io {:?} not found",
                self.name
            )
        } else {
            format!("role.rbac.authorization.k8s.io {:?} not found", self.name)
        }
    }
}

/// One binding, as its subjects see it.
#[derive(Debug)]
pub struct Binding {
    /// Empty for a ClusterRoleBinding.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What is bound.
    pub role: RoleKey,
    subjects: Vec<Subject>,
}

impl Binding {
    pub(super) fn reason(&self, user: &UserInfo) -> String {
        let subject = self
            .subjects
            .iter()
            .find(|s| s.is(user))
            .map_or_else(String::new, Subject::shown);
        let role = if self.role.namespace.is_empty() {
            format!("ClusterRole {:?}", self.role.name)
        } else {
            format!(
                "Role {:?}",
                format!("{}/{}", self.role.name, self.role.namespace)
            )
        };
        let binding = if self.namespace.is_empty() {
            format!("ClusterRoleBinding {:?}", self.name)
        } else {
            format!(
                "RoleBinding {:?}",
                format!("{}/{}", self.name, self.namespace)
            )
        };
        format!("RBAC: allowed by {binding} of {role} to {subject}")
    }
}

/// A user or group; a ServiceAccount is its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

impl Subject {
    fn parse(subject: &Value, binding_namespace: &str) -> Option<Subject> {
        let name = subject.text("name");
        match subject.text("kind") {
            "User" => Some(Subject::User(name.into())),
            "Group" => Some(Subject::Group(name.into())),
            "ServiceAccount" => {
                let namespace = match subject.text("namespace") {
                    "" => binding_namespace,
                    namespace => namespace,
                };
                Some(Subject::User(
                    format!("system:serviceaccount:{namespace}:{name}").into(),
                ))
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Subject::User(name) => **name == *user.name,
            Subject::Group(name) => user.in_group(name),
        }
    }

    fn shown(&self) -> String {
        match self {
            Subject::User(name) => match name.strip_prefix("system:serviceaccount:") {
                Some(account) => {
                    let (namespace, name) = account.split_once(':').unwrap_or(("", account));
                    format!("ServiceAccount {:?}", format!("{name}/{namespace}"))
                }
                None => format!("User {name:?}"),
            },
            Subject::Group(name) => format!("Group {name:?}"),
        }
    }
}

struct Role {
    rules: Box<[Rule]>,
    labels: BTreeMap<String, String>,
}

/// The index itself.
#[derive(Default)]
pub struct Index {
    roles: HashMap<RoleKey, Role>,
    bindings: HashMap<(Box<str>, Box<str>), Arc<Binding>>,
    users: HashMap<Box<str>, Vec<Arc<Binding>>>,
    groups: HashMap<Box<str>, Vec<Arc<Binding>>>,
}

impl Index {
    pub(super) fn observe(
        &mut self,
        plural: &str,
        namespace: &str,
        name: &str,
        object: Option<&Value>,
    ) {
        match plural {
            "roles" | "clusterroles" => {
                let key = RoleKey {
                    namespace: namespace.into(),
                    name: name.into(),
                };
                match object {
                    Some(object) => {
                        let rules = object.list("rules").iter().map(Rule::parse).collect();
                        let labels = api::meta::labels(object)
                            .map(|(k, v)| (k.to_owned(), v.to_owned()))
                            .collect();
                        self.roles.insert(key, Role { rules, labels });
                    }
                    None => {
                        self.roles.remove(&key);
                    }
                }
            }
            "rolebindings" | "clusterrolebindings" => self.observe_binding(namespace, name, object),
            _ => {}
        }
    }

    fn observe_binding(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let key: (Box<str>, Box<str>) = (namespace.into(), name.into());
        if let Some(old) = self.bindings.remove(&key) {
            for subject in &old.subjects {
                let (map, name) = match subject {
                    Subject::User(name) => (&mut self.users, name),
                    Subject::Group(name) => (&mut self.groups, name),
                };
                if let Some(list) = map.get_mut(name) {
                    list.retain(|binding| !Arc::ptr_eq(binding, &old));
                    if list.is_empty() {
                        map.remove(name);
                    }
                }
            }
        }
        let Some(object) = object else { return };
        let role_namespace = if object.text("roleRef.kind") == "Role" {
            namespace
        } else {
            ""
        };
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in object
            .list("subjects")
            .iter()
            .filter_map(|s| Subject::parse(s, namespace))
        {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        let binding = Arc::new(Binding {
            namespace: namespace.into(),
            name: name.into(),
            role: RoleKey {
                namespace: role_namespace.into(),
                name: object.text("roleRef.name").into(),
            },
            subjects,
        });
        for subject in &binding.subjects {
            let (map, name) = match subject {
                Subject::User(name) => (&mut self.users, name),
                Subject::Group(name) => (&mut self.groups, name),
            };
            map.entry(name.clone()).or_default().push(binding.clone());
        }
        self.bindings.insert(key, binding);
    }

    /// The bindings of a user and its groups that count in a namespace (only the cluster's where
    /// empty).
    pub(super) fn bindings_for<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Binding> {
        let own = self.users.get(user.name.as_str()).into_iter().flatten();
        let groups = user
            .groups
            .iter()
            .filter_map(|g| self.groups.get(g.as_str()))
            .flatten();
        own.chain(groups)
            .map(|binding| &**binding)
            .filter(move |binding| binding.namespace.is_empty() || *binding.namespace == *namespace)
    }

    pub(super) fn rules(&self, key: &RoleKey) -> Option<&[Rule]> {
        self.roles.get(key).map(|role| &*role.rules)
    }

    pub(super) fn aggregate(
        &self,
        matches: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Vec<Rule> {
        let mut roles: Vec<(&RoleKey, &Role)> = self
            .roles
            .iter()
            .filter(|(key, role)| key.namespace.is_empty() && matches(&role.labels))
            .collect();
        roles.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut rules: Vec<Rule> = Vec::new();
        for rule in roles.iter().flat_map(|(_, role)| role.rules.iter()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
        rules
    }
}
