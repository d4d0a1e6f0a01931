//! Shall it be so? An ordered chain between decoding and storing: first the plugins that may change
//! the object, then those that only judge. Each is one small file.
//!
//! The order is upstream's recommended one. Webhooks and policies come in as further plugins: their
//! place is after the built-in mutating ones, and before [`quota`], which must count what will be
//! stored.

mod certificate_identity;
mod default_classes;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
pub(crate) mod node_restriction;
mod pod_security;
mod priority;
mod quota;
mod rbac_escalation;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;

use api::status::Status;
use serde_json::Value;

use crate::authentication::UserInfo;
use crate::objects::Objects;
use crate::registry::call::Call;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
    /// A connection to it is opened.
    Connect,
}

/// One question to the chain.
pub struct Admission<'a> {
    /// The request.
    pub call: &'a Call,
    /// What is being done.
    pub operation: Operation,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The object's name; empty where the object says it.
    pub name: &'a str,
    /// Nothing will be stored: plugins must not either.
    pub dry_run: bool,
}

impl<'a> Admission<'a> {
    /// A write of the call's object.
    pub fn write(
        call: &'a Call,
        operation: Operation,
        subresource: &'a str,
        dry_run: bool,
    ) -> Admission<'a> {
        Admission {
            call,
            operation,
            subresource,
            name: &call.info.name,
            dry_run,
        }
    }

    /// Is the question about this resource itself (no subresource)?
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.of(group, plural)
    }

    /// Is the question about this resource or one of its subresources?
    pub fn of(&self, group: &str, plural: &str) -> bool {
        let resource = &self.call.endpoint.resource;
        *resource.gvk.group == *group && *resource.plural == *plural
    }

    /// The objects as they are.
    pub fn objects(&self) -> &Objects {
        &self.call.server.objects
    }

    /// Who asks.
    pub fn user(&self) -> &UserInfo {
        &self.call.user
    }

    /// The 403 of a plugin that refuses.
    pub fn forbid(&self, object: &Value, why: impl std::fmt::Display) -> Status {
        let name = match api::meta::name(object) {
            "" => self.name,
            name => name,
        };
        Status::forbidden(&*self.call.endpoint.resource, name, why)
    }
}

/// One plugin of the chain.
pub trait Plugin: Send + Sync {
    /// As upstream calls it.
    fn name(&self) -> &'static str;

    /// May change the object. Not asked about deletes.
    fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let _ = (admission, object, old);
        Ok(())
    }

    /// Judges the object as it will be stored; for a delete, as it is.
    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let _ = (admission, object, old);
        Ok(())
    }
}

/// The plugins in order.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    /// The plugins that are on by default.
    pub fn builtin() -> Chain {
        Chain {
            plugins: vec![
                Box::new(namespace_lifecycle::NamespaceLifecycle),
                Box::new(certificate_identity::CertificateIdentity),
                Box::new(limit_ranger::LimitRanger),
                Box::new(service_account::ServiceAccount),
                Box::new(node_restriction::NodeRestriction),
                Box::new(taint_nodes::TaintNodesByCondition),
                Box::new(pod_security::PodSecurity),
                Box::new(priority::Priority),
                Box::new(default_tolerations::DefaultTolerationSeconds),
                Box::new(storage_in_use::StorageObjectInUseProtection),
                Box::new(runtime_class::RuntimeClass),
                Box::new(default_classes::DefaultClasses),
                Box::new(rbac_escalation::Escalation),
            ],
        }
    }

    /// Lets every plugin change the object.
    pub async fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.mutate(admission, object, old))
    }

    /// Lets every plugin judge the object; quotas count last, since they record what they admit.
    pub async fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.validate(admission, object, old))?;
        quota::admit(admission, object, old).await
    }
}
