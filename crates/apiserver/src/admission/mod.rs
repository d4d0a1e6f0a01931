//! Shall it be so? An ordered chain between decoding and storing: first the plugins that may change
//! the object, then those that only judge. Each is one small file.
//!
//! The order is upstream's recommended one: the built-in plugins, then policies, then webhooks, and
//! last [`quota`], which must count what will be stored. Policies and webhooks wait for others and see
//! every operation; the built-in plugins look at memory alone, save that a pod may wait a moment for its
//! namespace's default account.

mod attributes;
mod certificate_identity;
mod certificates;
mod claim_resize;
pub(crate) mod configuration;
mod default_classes;
mod default_tolerations;
mod device_selectors;
mod expression;
mod limit_ranger;
pub mod metrics;
mod namespace_lifecycle;
pub(crate) mod node_restriction;
mod pod_groups;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
pub(crate) mod policy;
mod priority;
mod quota;
mod rbac_escalation;
mod rules;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod webhook;

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::authentication::UserInfo;
use crate::bootstrap::follow::Follower;
use crate::objects::Objects;
use crate::registry::call::Call;
use policy::{Family, Policies};
use webhook::{Reinvoked, Step, Webhooks};

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
    /// The options of a delete; those of writes are the call's.
    pub options: Option<&'a Value>,
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
            options: None,
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

/// One request's way through the steps that may change its object.
#[derive(Default)]
pub(crate) struct Round {
    /// The chain runs for the second and last time.
    second: bool,
    /// Somebody changed the object: those before may want to see it again.
    again: bool,
    webhooks: Reinvoked,
    policies: Reinvoked,
}

/// The plugins in order, and what decides beside them.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    policies: Arc<Policies>,
    webhooks: Arc<Webhooks>,
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
                Box::new(claim_resize::PersistentVolumeClaimResize),
                Box::new(runtime_class::RuntimeClass),
                Box::new(certificates::Certificates),
                Box::new(default_classes::DefaultClasses),
                Box::new(pod_topology_labels::PodTopologyLabels),
                Box::new(pod_groups::PodGroups),
                Box::new(pod_resize::NodeDeclaredFeatures),
                Box::new(pod_resize::PodResize),
                Box::new(rbac_escalation::Escalation),
            ],
            policies: Arc::default(),
            webhooks: Arc::default(),
        }
    }

    /// Keeps policies and webhooks in step with their configurations, until `ending`.
    pub fn follow(&self, store: &Arc<Store>, ending: &CancellationToken) {
        let group = "admissionregistration.k8s.io";
        for family in [Family::Validating, Family::Mutating] {
            let [policies, bindings] = family.plurals();
            let kept = self.policies.clone();
            let seen = move |_: &str, name: &str, object: Option<&Value>| {
                kept.observe_policy(family, name, object);
            };
            Follower::new(store.clone(), group, policies).start(seen, ending.clone());
            let kept = self.policies.clone();
            let seen = move |_: &str, name: &str, object: Option<&Value>| {
                kept.observe_binding(family, name, object);
            };
            Follower::new(store.clone(), group, bindings).start(seen, ending.clone());
        }
        for step in [Step::Admit, Step::Validate] {
            let webhooks = self.webhooks.clone();
            let seen = move |_: &str, name: &str, object: Option<&Value>| {
                webhooks.observe(step, name, object);
            };
            Follower::new(store.clone(), group, step.plural()).start(seen, ending.clone());
        }
    }

    /// Lets everybody change the object who may. Says whether anything but a built-in plugin did:
    /// what was prepared by the old object is then to be prepared anew.
    pub async fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<bool, Status> {
        service_account::await_default(admission, object).await;
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.mutate(admission, object, old))?;
        let mut round = Round::default();
        let mut held = Some(std::mem::take(object));
        let mut dirty = self
            .others_mutate(admission, &mut held, old, &mut round)
            .await?;
        if round.again {
            round.second = true;
            if let Some(object) = &mut held {
                self.plugins
                    .iter()
                    .try_for_each(|plugin| plugin.mutate(admission, object, old))?;
            }
            dirty |= self
                .others_mutate(admission, &mut held, old, &mut round)
                .await?;
        }
        *object = held.unwrap_or_default();
        Ok(dirty)
    }

    async fn others_mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Option<Value>,
        old: Option<&Value>,
        round: &mut Round,
    ) -> Result<bool, Status> {
        let dirty = self.policies.mutate(admission, object, old, round).await?;
        Ok(self.webhooks.mutate(admission, object, old, round).await? | dirty)
    }

    /// Lets everybody judge the object; quotas count last, since they record what they admit.
    pub async fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.validate(admission, object, old))?;
        self.others_validate(admission, Some(object), old).await?;
        quota::admit(admission, object, old).await
    }

    async fn others_validate(
        &self,
        admission: &Admission<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.policies.validate(admission, object, old).await?;
        self.webhooks.validate(admission, object, old).await
    }

    /// Lets everybody judge a delete. There is no object then, only what goes.
    pub async fn delete(&self, admission: &Admission<'_>, live: &Value) -> Result<(), Status> {
        let mut round = Round::default();
        self.others_mutate(admission, &mut None, Some(live), &mut round)
            .await?;
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.validate(admission, live, Some(live)))?;
        self.others_validate(admission, None, Some(live)).await
    }
}
