//! The default RBAC policy as a table (`policy.tsv`): roles with their rules, and bindings.
//!
//! It is upstream's, with one difference: where a controller or the scheduler may `update`, it may
//! `patch` too, because Corten's write by patches that carry what they were planned from.

use serde_json::{Map, Value, json};

use crate::authorization::rbac::Rule;

const POLICY: &str = include_str!("policy.tsv");

/// One object of the default policy.
pub struct PolicyObject {
    /// `clusterroles`, `roles`, `clusterrolebindings`, `rolebindings`.
    pub plural: &'static str,
    /// Empty for the cluster's.
    pub namespace: &'static str,
    /// Name.
    pub name: &'static str,
    /// The object, as a create would send it.
    pub value: Value,
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn words(cell: &'static str) -> Vec<&'static str> {
    if cell == "-" {
        return Vec::new();
    }
    cell.split(',')
        .map(|word| if word == "core" { "" } else { word })
        .collect()
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = namespace.into();
    }
    value
}

/// Every role and binding, roles first.
pub fn objects() -> Vec<PolicyObject> {
    let mut all: Vec<PolicyObject> = Vec::new();
    for line in POLICY.lines().skip(1) {
        let cells: Vec<&'static str> = line.split('\t').collect();
        let [what, namespace, name, fourth, fifth, sixth, seventh, eighth] = cells[..] else {
            continue;
        };
        let namespace = if namespace == "-" { "" } else { namespace };
        match what {
            "role" => {
                let (plural, kind) = if namespace.is_empty() {
                    ("clusterroles", "ClusterRole")
                } else {
                    ("roles", "Role")
                };
                let mut value = object(kind, namespace, name);
                value["rules"] = json!([]);
                if let Some(part) = eighth.strip_prefix("aggregate-to=") {
                    let label = format!("{GROUP_LABEL}{part}");
                    value["metadata"]["labels"][label] = "true".into();
                }
                if let Some(parts) = fourth.strip_prefix("aggregates=") {
                    let selectors: Vec<Value> = parts
                        .split(',')
                        .map(|part| {
                            let mut labels = Map::new();
                            labels.insert(format!("{GROUP_LABEL}{part}"), "true".into());
                            json!({"matchLabels": labels})
                        })
                        .collect();
                    value["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
                }
                all.push(PolicyObject {
                    plural,
                    namespace,
                    name,
                    value,
                });
            }
            "rule" => {
                let mut rule = json!({"verbs": words(fourth)});
                for (key, cell) in [
                    ("apiGroups", fifth),
                    ("resources", sixth),
                    ("resourceNames", seventh),
                    ("nonResourceURLs", eighth),
                ] {
                    if cell != "-" {
                        rule[key] = words(cell).into();
                    }
                }
                if let Some(Value::Array(rules)) =
                    all.last_mut().and_then(|r| r.value.get_mut("rules"))
                {
                    rules.push(rule);
                }
            }
            _ => {
                let (plural, kind) = if namespace.is_empty() {
                    ("clusterrolebindings", "ClusterRoleBinding")
                } else {
                    ("rolebindings", "RoleBinding")
                };
                let mut value = object(kind, namespace, name);
                value["roleRef"] = json!({"apiGroup": GROUP, "kind": fifth, "name": sixth});
                if seventh != "-" {
                    value["subjects"] = seventh.split(';').filter_map(subject).collect();
                }
                all.push(PolicyObject {
                    plural,
                    namespace,
                    name,
                    value,
                });
            }
        }
    }
    aggregate(&mut all);
    all
}

const GROUP_LABEL: &str = "rbac.authorization.k8s.io/aggregate-to-";

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once('=')?;
    Some(match (kind, name.split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => {
            json!({"kind": kind, "name": name, "namespace": namespace})
        }
        _ => json!({"kind": kind, "apiGroup": GROUP, "name": name}),
    })
}

/// Fills the rules of the aggregating roles from the roles they select, as the controller for
/// aggregation would do later: the first start must not wait for it.
fn aggregate(all: &mut [PolicyObject]) {
    // `admin` takes in `edit`, which takes in `view`: as many rounds as there are levels.
    for _ in 0..3 {
        for at in 0..all.len() {
            let Some(selectors) = all[at]
                .value
                .pointer("/aggregationRule/clusterRoleSelectors")
            else {
                continue;
            };
            let labels: Vec<String> = selectors
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|s| s.get("matchLabels")?.as_object())
                .flat_map(Map::keys)
                .cloned()
                .collect();
            let mut rules: Vec<Value> = Vec::new();
            for (other, role) in all.iter().enumerate() {
                let selected = labels
                    .iter()
                    .any(|label| role.value["metadata"]["labels"].get(label).is_some());
                if other == at || !selected {
                    continue;
                }
                for rule in role.value["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            all[at].value["rules"] = rules.into();
        }
    }
}

/// The compiled rules of one ClusterRole of the table.
pub fn cluster_role_rules(name: &str) -> Vec<Rule> {
    objects()
        .iter()
        .find(|object| object.plural == "clusterroles" && object.name == name)
        .and_then(|object| {
            object.value["rules"]
                .as_array()
                .map(|rules| rules.iter().map(Rule::parse).collect())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_gives_whole_objects() {
        let all = objects();
        let find = |plural: &str, name: &str| {
            all.iter()
                .find(|o| o.plural == plural && o.name == name)
                .map(|o| o.value.clone())
                .unwrap()
        };
        assert_eq!(
            find("clusterroles", "cluster-admin")["rules"][0]["apiGroups"][0],
            "*"
        );
        let admin = find("clusterroles", "admin");
        let text = admin["rules"].to_string();
        assert!(
            text.contains("rolebindings")
                && text.contains("pods/exec")
                && text.contains("limitranges")
        );
        let binding = find("clusterrolebindings", "system:controller:job-controller");
        assert_eq!(binding["subjects"][0]["namespace"], "kube-system");
        assert!(cluster_role_rules("system:node").len() > 10);
    }
}
