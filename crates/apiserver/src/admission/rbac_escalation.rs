//! Nobody gives out rights they do not have: roles are written by those who hold all of their rules
//! (or may `escalate`), bindings by those who hold the bound role's rules (or may `bind` it). Upstream
//! does this in the storage of these kinds.

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};
use crate::authentication::MASTERS;
use crate::authorization::rbac::{RoleKey, Rule};
use crate::authorization::{Attributes, Decision};

/// See the module.
pub struct Escalation;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let asked = matches!(admission.operation, Operation::Create | Operation::Update);
        if !asked
            || *admission.call.endpoint.resource.gvk.group != *GROUP
            || admission.user().in_group(MASTERS)
        {
            return Ok(());
        }
        let plural = &*admission.call.endpoint.resource.plural;
        match plural {
            "roles" | "clusterroles" => {
                let same = |path: &str| old.is_some_and(|old| old.at(path) == object.at(path));
                if same("rules") && same("aggregationRule") {
                    return Ok(());
                }
                let rules: Vec<Rule> = object.list("rules").iter().map(Rule::parse).collect();
                if may(admission, "escalate", plural, meta::name(object)) {
                    return Ok(());
                }
                if object.has("aggregationRule") {
                    let all = Rule::parse(&serde_json::json!({
                        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]
                    }));
                    if !same("aggregationRule") {
                        return held(
                            admission,
                            object,
                            &[all],
                            "must have cluster-admin privileges to use the aggregationRule",
                        );
                    }
                }
                held(admission, object, &rules, "")
            }
            _ => {
                if old.is_some_and(|old| {
                    old.at("roleRef") == object.at("roleRef")
                        && old.at("subjects") == object.at("subjects")
                }) {
                    return Ok(());
                }
                let name = object.text("roleRef.name");
                let namespaced = object.text("roleRef.kind") == "Role";
                let plural = if namespaced { "roles" } else { "clusterroles" };
                if may(admission, "bind", plural, name) {
                    return Ok(());
                }
                let namespace = if namespaced {
                    admission.call.namespace()
                } else {
                    ""
                };
                let key = RoleKey {
                    namespace: namespace.into(),
                    name: name.into(),
                };
                let Some(rules) = admission.call.server.authorizer.rbac().role(&key) else {
                    return Err(Status::not_found(
                        api::status::About::new(GROUP, plural),
                        name,
                    ));
                };
                held(admission, object, &rules, "")
            }
        }
    }
}

fn may(admission: &Admission<'_>, verb: &str, plural: &str, name: &str) -> bool {
    let attributes = Attributes {
        verb,
        is_resource: true,
        group: GROUP,
        version: "v1",
        resource: plural,
        namespace: admission.call.namespace(),
        name,
        ..Attributes::of(admission.user())
    };
    matches!(
        admission.call.server.authorizer.decide(&attributes),
        Decision::Allow(_)
    )
}

fn held(
    admission: &Admission<'_>,
    object: &Value,
    rules: &[Rule],
    why: &str,
) -> Result<(), Status> {
    let user = admission.user();
    let held = admission
        .call
        .server
        .authorizer
        .rbac()
        .held(user, admission.call.namespace());
    let missing: Vec<String> = rules
        .iter()
        .filter(|rule| !rule.is_covered_by(&held))
        .map(|rule| rule.to_value().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        missing.join("\n")
    );
    if !why.is_empty() {
        text = why.to_owned();
    }
    Err(admission.forbid(object, text))
}
