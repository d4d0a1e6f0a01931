//! Admission policies (`admissionregistration.k8s.io`): expressions that judge a request
//! ([`validating`]) or change its object ([`mutating`]), each put into force by bindings. Policies and
//! bindings are followed from the store, compiled once, and kept by resource like webhooks.

mod mutating;
mod params;
mod parse;
pub(crate) mod typecheck;
mod validating;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::labels::Selector;
use api::meta;
use api::status::Status;
use parking_lot::RwLock;
use serde_json::Value;

use super::Admission;
use super::attributes::selects_object;
use super::expression::{Conditions, Expression};
use super::rules::{self, ByPlural, Rule};
use crate::endpoint::Endpoint;
use params::{ParamKind, ParamRef};

/// Which policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// ValidatingAdmissionPolicy.
    Validating,
    /// MutatingAdmissionPolicy.
    Mutating,
}

impl Family {
    /// The plurals of policies and their bindings.
    pub fn plurals(self) -> [&'static str; 2] {
        match self {
            Family::Validating => [
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
            ],
            Family::Mutating => [
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ],
        }
    }
}

/// What requests a policy or binding is about.
struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

impl Matching {
    /// The endpoint in whose version the request is seen; none when it is about other requests.
    fn find(
        &self,
        admission: &Admission<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Arc<Endpoint>>, String> {
        let namespaces = self.namespaces.as_ref().map_err(Clone::clone)?;
        // A missing namespace is told only of by policies that are about the request.
        let namespace = admission.selects_namespace(namespaces, object);
        if matches!(namespace, Ok(false)) {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Clone::clone)?;
        if !selects_object(objects, object, old)
            || rules::find(&self.excluded, self.equivalent, admission).is_some()
        {
            return Ok(None);
        }
        let found = if self.rules.is_empty() {
            Some(admission.call.endpoint.clone())
        } else {
            rules::find(&self.rules, self.equivalent, admission)
        };
        if found.is_some() {
            namespace.map_err(|status| status.message)?;
        }
        Ok(found)
    }
}

/// A variable that other expressions read.
struct Variable {
    name: Box<str>,
    expression: Expression,
}

struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

struct AuditAnnotation {
    key: String,
    expression: Expression,
}

enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// A compiled policy.
struct Policy {
    name: String,
    ignore_failures: bool,
    params: Option<ParamKind>,
    matching: Matching,
    conditions: Conditions,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
    annotations: Vec<AuditAnnotation>,
    mutations: Vec<Mutation>,
    again_if_needed: bool,
}

/// What a binding does about a failed validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Deny,
    Warn,
    Audit,
}

/// What puts a policy into force.
struct Binding {
    name: String,
    policy: String,
    params: Option<ParamRef>,
    /// None: whatever the policy is about.
    matching: Option<Matching>,
    actions: Vec<Action>,
}

/// A policy with its bindings.
#[derive(Clone)]
struct Bound {
    policy: Arc<Policy>,
    bindings: Arc<[Arc<Binding>]>,
}

#[derive(Default)]
struct State {
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
}

/// The policies of one family, kept in step with the store.
struct Kept {
    family: Family,
    state: RwLock<State>,
    index: RwLock<ByPlural<Bound>>,
}

/// All policies.
pub struct Policies {
    validating: Kept,
    mutating: Kept,
}

impl Default for Policies {
    fn default() -> Self {
        let kept = |family| Kept {
            family,
            state: RwLock::default(),
            index: RwLock::default(),
        };
        Policies {
            validating: kept(Family::Validating),
            mutating: kept(Family::Mutating),
        }
    }
}

impl Policies {
    fn kept(&self, family: Family) -> &Kept {
        match family {
            Family::Validating => &self.validating,
            Family::Mutating => &self.mutating,
        }
    }

    /// Takes note of a policy, or of its end.
    pub fn observe_policy(&self, family: Family, name: &str, object: Option<&Value>) {
        let kept = self.kept(family);
        let compiled = object.map(|object| Arc::new(parse::policy(family, object)));
        let mut state = kept.state.write();
        match compiled {
            Some(policy) => state.policies.insert(name.to_owned(), policy),
            None => state.policies.remove(name),
        };
        kept.index(&state);
    }

    /// Takes note of a binding, or of its end.
    pub fn observe_binding(&self, family: Family, name: &str, object: Option<&Value>) {
        let kept = self.kept(family);
        let read = object.map(|object| Arc::new(parse::binding(object)));
        let mut state = kept.state.write();
        match read {
            Some(binding) => state.bindings.insert(name.to_owned(), binding),
            None => state.bindings.remove(name),
        };
        kept.index(&state);
    }
}

impl Kept {
    /// Policies in the order of their names; those that nothing binds are left out.
    fn index(&self, state: &State) {
        let bound: Vec<_> = state
            .policies
            .values()
            .filter_map(|policy| {
                let bindings: Arc<[_]> = state
                    .bindings
                    .values()
                    .filter(|binding| binding.policy == policy.name)
                    .cloned()
                    .collect();
                if bindings.is_empty() {
                    return None;
                }
                let rules = &policy.matching.rules;
                let plurals = if rules.is_empty() {
                    None
                } else {
                    rules::plurals(rules)
                };
                let policy = policy.clone();
                Some((Bound { policy, bindings }, plurals))
            })
            .collect();
        tracing::debug!(family = ?self.family, policies = bound.len(), "policies in force");
        *self.index.write() = ByPlural::new(&bound);
    }

    /// The policies that may be about this request, in order.
    fn candidates(&self, admission: &Admission<'_>) -> Arc<[Bound]> {
        let plural = &*admission.call.endpoint.resource.plural;
        let found = self.index.read().get(plural);
        if found.is_empty() || !admission.is_exempt() {
            found
        } else {
            Arc::new([])
        }
    }
}

/// One binding of a policy that is about the request, with one of its parameters.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    endpoint: Arc<Endpoint>,
    param: Option<Value>,
}

impl Invocation {
    /// Who it is, over both rounds of a request.
    fn id(&self) -> String {
        let param = self.param.as_ref();
        let text = |read: fn(&Value) -> &str| param.map_or("", read);
        format!(
            "{}/{}/{}/{}",
            self.policy.name,
            self.binding.name,
            text(meta::namespace),
            text(meta::name)
        )
    }
}

/// A policy or binding that cannot be put to the request.
struct Misconfigured {
    policy: Arc<Policy>,
    /// None: the policy itself.
    binding: Option<Arc<Binding>>,
    why: String,
}

/// Which policies are about the request, with which parameters, and which cannot be asked.
async fn invocations(
    candidates: &[Bound],
    admission: &Admission<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> (Vec<Invocation>, Vec<Misconfigured>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for Bound { policy, bindings } in candidates {
        let failed = |binding: Option<&Arc<Binding>>, why: String| {
            let what = if binding.is_some() {
                "binding"
            } else {
                "policy"
            };
            Misconfigured {
                policy: policy.clone(),
                binding: binding.cloned(),
                why: format!("failed to configure {what}: {why}"),
            }
        };
        let endpoint = match policy.matching.find(admission, object, old) {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => continue,
            Err(why) => {
                wrong.push(failed(None, why));
                continue;
            }
        };
        let param_endpoint = match &policy.params {
            None => None,
            Some(kind) => match kind.endpoint(admission) {
                Ok(endpoint) => Some(endpoint),
                Err(why) => {
                    wrong.push(failed(None, why));
                    continue;
                }
            },
        };
        for binding in bindings.iter() {
            let matches = match &binding.matching {
                None => Ok(true),
                Some(matching) => matching.find(admission, object, old).map(|f| f.is_some()),
            };
            match matches {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    wrong.push(failed(Some(binding), why));
                    continue;
                }
            }
            let params = params::collect(
                param_endpoint.as_deref(),
                binding.params.as_ref(),
                admission,
            );
            match params.await {
                Ok(params) => found.extend(params.into_iter().map(|param| Invocation {
                    policy: policy.clone(),
                    binding: binding.clone(),
                    endpoint: endpoint.clone(),
                    param,
                })),
                Err(why) => wrong.push(failed(Some(binding), why)),
            }
        }
    }
    (found, wrong)
}

/// The 403 whose message is `message`.
fn refusal(admission: &Admission<'_>, object: Option<&Value>, message: &str) -> Status {
    let resource = &*admission.call.endpoint.resource;
    let name = super::attributes::shown_name(admission, object);
    Status::forbidden(resource, name, message)
}

#[cfg(test)]
mod tests;
