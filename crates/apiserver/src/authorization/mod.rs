//! May they? `system:masters`, then the Node authorizer, then RBAC; the first that says yes decides.

pub mod node;
pub mod rbac;

use std::sync::Arc;

use api::status::{About, Status};

use crate::authentication::{MASTERS, UserInfo};
use crate::objects::Objects;
use rbac::Rbac;

/// What is asked for, as authorizers see it.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, …
    pub verb: &'a str,
    /// The other fields tell of an API object; else `path` counts.
    pub is_resource: bool,
    /// Empty for core.
    pub group: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// Empty for the cluster.
    pub namespace: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// For paths that are no resource.
    pub path: &'a str,
    /// The field selector of a list or watch.
    pub field_selector: &'a str,
}

/// An authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allow(String),
    /// Not by this authorizer, and why not.
    NoOpinion(String),
}

impl<'a> Attributes<'a> {
    /// Nothing asked yet, by this user.
    pub fn of(user: &'a UserInfo) -> Attributes<'a> {
        Attributes {
            user,
            verb: "",
            is_resource: false,
            group: "",
            version: "",
            namespace: "",
            resource: "",
            subresource: "",
            name: "",
            path: "",
            field_selector: "",
        }
    }

    /// The resource with its subresource, as rules name it.
    pub fn qualified(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// Decides what users may do.
pub struct Authorizer {
    rbac: Arc<Rbac>,
    objects: Arc<Objects>,
}

impl Authorizer {
    /// An authorizer over these rules and objects.
    pub fn new(rbac: Arc<Rbac>, objects: Arc<Objects>) -> Authorizer {
        Authorizer { rbac, objects }
    }

    /// The RBAC rules in force.
    pub fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    /// Decides.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = String::new();
        if let Some(name) = attributes.user.node() {
            match node::decide(name, attributes, &self.objects) {
                Decision::NoOpinion(reason) => reasons = reason,
                allow @ Decision::Allow(_) => return allow,
            }
        }
        match self.rbac.decide(attributes) {
            Decision::NoOpinion(reason) if reasons.is_empty() => Decision::NoOpinion(reason),
            Decision::NoOpinion(_) => Decision::NoOpinion(reasons),
            allow @ Decision::Allow(_) => allow,
        }
    }

    /// Decides; a refusal becomes the answer the client gets.
    pub fn require(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(refusal(attributes, &reason)),
        }
    }
}

/// The 403 for these attributes.
pub fn refusal(attributes: &Attributes<'_>, reason: &str) -> Status {
    let Attributes {
        user,
        verb,
        group,
        namespace,
        path,
        name,
        ..
    } = attributes;
    let user = &user.name;
    let mut text = if attributes.is_resource {
        let resource = attributes.qualified();
        let place = if namespace.is_empty() {
            " at the cluster scope".to_owned()
        } else {
            format!(" in the namespace {namespace:?}")
        };
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?}{place}")
    } else {
        format!("User {user:?} cannot {verb} path {path:?}")
    };
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    let about = About::new(group, attributes.resource);
    Status::forbidden(about, name, text)
}
