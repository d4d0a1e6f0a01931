//! The group rbac.authorization.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy, path_segment_name},
    validation::checks::{label_selector, required},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What Roles (and, with `cluster`, ClusterRoles) do specially.
pub struct Role {
    /// Of the whole cluster.
    pub cluster: bool,
}

impl Strategy for Role {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let list = Path::ROOT.field("rules");
        for (index, rule) in object.list("rules").iter().enumerate() {
            let path = list.index(index);
            if rule.list("verbs").is_empty() {
                errors.push(FieldError::required(
                    path.field("verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if !rule.list("nonResourceURLs").is_empty() {
                if !self.cluster {
                    let wrong = "namespaced rules cannot apply to non-resource URLs";
                    let value = rule.at("nonResourceURLs").clone();
                    errors.push(FieldError::invalid(
                        path.field("nonResourceURLs"),
                        value,
                        wrong,
                    ));
                }
                if ["apiGroups", "resources", "resourceNames"]
                    .iter()
                    .any(|field| !rule.list(field).is_empty())
                {
                    let wrong =
                        "rules cannot apply to both regular resources and non-resource URLs";
                    let value = rule.at("nonResourceURLs").clone();
                    errors.push(FieldError::invalid(
                        path.field("nonResourceURLs"),
                        value,
                        wrong,
                    ));
                }
                continue;
            }
            if rule.list("apiGroups").is_empty() {
                let wrong = "resource rules must supply at least one api group";
                errors.push(FieldError::required(path.field("apiGroups"), wrong));
            }
            if rule.list("resources").is_empty() {
                let wrong = "resource rules must supply at least one resource";
                errors.push(FieldError::required(path.field("resources"), wrong));
            }
        }
        if object.has("aggregationRule") {
            let rule = Path::ROOT.field("aggregationRule");
            let list = rule.field("clusterRoleSelectors");
            let selectors = object.list("aggregationRule.clusterRoleSelectors");
            if selectors.is_empty() {
                let wrong =
                    "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(FieldError::required(list, wrong));
            }
            for (index, selector) in selectors.iter().enumerate() {
                label_selector(selector, &list.index(index), errors);
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment_name(name, prefix)
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// What RoleBindings (and, with `cluster`, ClusterRoleBindings) do specially.
pub struct Binding {
    /// Of the whole cluster.
    pub cluster: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        role_binding(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("roleRef");
        let role = object.at("roleRef");
        let group = role.text("apiGroup");
        if group != GROUP {
            errors.push(FieldError::not_supported(
                path.field("apiGroup"),
                group,
                &[GROUP],
            ));
        }
        let known: &[&str] = if self.cluster {
            &["ClusterRole"]
        } else {
            &["Role", "ClusterRole"]
        };
        let kind = role.text("kind");
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(path.field("kind"), kind, known));
        }
        let name = required(role, "name", &path, errors);
        for wrong in names::path_segment(name) {
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
        let list = Path::ROOT.field("subjects");
        for (index, subject) in object.list("subjects").iter().enumerate() {
            let path = list.index(index);
            let name = required(subject, "name", &path, errors);
            let group = subject.text("apiGroup");
            match subject.text("kind") {
                "ServiceAccount" => {
                    if !name.is_empty() {
                        for wrong in names::dns1123_subdomain(name) {
                            errors.push(FieldError::invalid(path.field("name"), name, wrong));
                        }
                    }
                    if !group.is_empty() {
                        errors.push(FieldError::not_supported(
                            path.field("apiGroup"),
                            group,
                            &[""],
                        ));
                    }
                    if subject.text("namespace").is_empty() && self.cluster {
                        errors.push(FieldError::required(path.field("namespace"), ""));
                    }
                }
                "User" | "Group" => {
                    if group != GROUP {
                        errors.push(FieldError::not_supported(
                            path.field("apiGroup"),
                            group,
                            &[GROUP],
                        ));
                    }
                }
                other => {
                    let known = ["ServiceAccount", "User", "Group"];
                    errors.push(FieldError::not_supported(path.field("kind"), other, &known));
                }
            }
        }
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if object.at("roleRef") != old.at("roleRef") {
            let wrong = "cannot change roleRef";
            errors.push(FieldError::invalid(
                "roleRef",
                object.at("roleRef").clone(),
                wrong,
            ));
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment_name(name, prefix)
    }

    fn create_on_update(&self) -> bool {
        true
    }
}
/// Defaults of RoleBindings and ClusterRoleBindings.
fn role_binding(object: &mut Value) {
    object.set_default_text("roleRef.apiGroup", GROUP);
    for subject in object.list_mut("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.set_default_text("apiGroup", GROUP);
        }
    }
}
