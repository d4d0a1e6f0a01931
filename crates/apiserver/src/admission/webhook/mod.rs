//! Admission webhooks (`admissionregistration.k8s.io/v1`): servers outside that may change an object
//! ([`mutating`]) or judge it ([`validating`]). Their configurations are followed from the store and
//! kept by resource, so that requests no webhook is about cost one look into a map.

mod call;
mod mutating;
pub(super) mod review;
mod validating;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::labels::Selector;
use api::meta;
use api::object::Object;
use api::status::Status;
use parking_lot::RwLock;
use serde_json::Value;

use super::Admission;
use super::attributes::selects_object;
use super::expression::{Conditions, Scope, Verdict};
use super::rules::{self, ByPlural, Rule};
use crate::endpoint::Endpoint;
use crate::outbound::{ClientConfig, ConfigError};
pub use mutating::Reinvoked;

/// Which webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Those that may change the object.
    Admit,
    /// Those that judge it.
    Validate,
}

impl Step {
    /// The plural of their configurations.
    pub fn plural(self) -> &'static str {
        match self {
            Step::Admit => "mutatingwebhookconfigurations",
            Step::Validate => "validatingwebhookconfigurations",
        }
    }

    /// As metrics name it.
    pub fn metric(self) -> &'static str {
        match self {
            Step::Admit => "admit",
            Step::Validate => "validating",
        }
    }
}

/// One webhook of one configuration.
pub struct Hook {
    name: String,
    configuration: String,
    step: Step,
    /// Configuration, name and place within those of one name: who it is, over time.
    id: String,
    client: Result<ClientConfig, ConfigError>,
    rules: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
    conditions: Conditions,
    ignore_failures: bool,
    timeout: Duration,
    without_side_effects: bool,
    again_if_needed: bool,
    /// The first version of reviews that both sides know.
    version: Option<&'static str>,
}

/// The largest timeout a configuration can have.
const MAX_TIMEOUT: i64 = 30;

impl Hook {
    fn read(step: Step, configuration: &str, id: String, hook: &Value) -> Hook {
        let selector =
            |field: &str| Selector::from_label_selector(hook.at(field)).map_err(|e| e.to_string());
        let ignore_failures = hook.text("failurePolicy") == "Ignore";
        Hook {
            name: hook.text("name").to_owned(),
            configuration: configuration.to_owned(),
            step,
            id,
            client: ClientConfig::read(hook.at("clientConfig")),
            rules: hook.list("rules").iter().map(Rule::read).collect(),
            equivalent: hook.text("matchPolicy") == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            conditions: Conditions::compile(
                hook.list("matchConditions"),
                &Scope::new(false, true),
                ignore_failures,
            ),
            ignore_failures,
            timeout: Duration::from_secs(
                hook.int("timeoutSeconds")
                    .unwrap_or(10)
                    .clamp(1, MAX_TIMEOUT) as u64,
            ),
            without_side_effects: matches!(hook.text("sideEffects"), "None" | "NoneOnDryRun"),
            again_if_needed: hook.text("reinvocationPolicy") == "IfNeeded",
            version: hook
                .texts("admissionReviewVersions")
                .find_map(|version| ["v1", "v1beta1"].into_iter().find(|v| *v == version)),
        }
    }

    /// The endpoint whose version of the object the webhook wants to be asked about; none when it
    /// does not want to be asked. `object` and `old` are in the request's version.
    async fn wants(
        &self,
        admission: &Admission<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Arc<Endpoint>>, Status> {
        let namespaces = self.namespaces.as_ref().map_err(Status::internal)?;
        // A missing namespace is told only of by webhooks that are about the request.
        let namespace = admission.selects_namespace(namespaces, object);
        if matches!(namespace, Ok(false)) {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Status::internal)?;
        if !selects_object(objects, object, old) {
            return Ok(None);
        }
        let Some(endpoint) = rules::find(&self.rules, self.equivalent, admission) else {
            return Ok(None);
        };
        namespace?;
        if self.conditions.is_empty() {
            return Ok(Some(endpoint));
        }
        let seen = super::expression::Seen::new(admission, &endpoint, object, old).await?;
        match self.conditions.decide(&seen.activation(None, None)) {
            Verdict::Matches => Ok(Some(endpoint)),
            Verdict::Excluded => {
                admission.call.server.metrics.admission.excluded(
                    &self.name,
                    "webhook",
                    self.step.metric(),
                    admission.operation.as_str(),
                );
                Ok(None)
            }
            Verdict::Failed(why) => {
                let resource = &*admission.call.endpoint.resource;
                Err(Status::forbidden(resource, admission.name, why))
            }
        }
    }
}

/// A webhook, and its place among all of its step.
#[derive(Clone)]
struct Placed {
    index: usize,
    hook: Arc<Hook>,
}

/// The webhooks of one step, kept in step with the store.
#[derive(Default)]
struct Kept {
    configurations: RwLock<BTreeMap<String, Vec<Arc<Hook>>>>,
    index: RwLock<ByPlural<Placed>>,
}

/// All webhooks.
#[derive(Default)]
pub struct Webhooks {
    admit: Kept,
    validate: Kept,
}

impl Webhooks {
    fn kept(&self, step: Step) -> &Kept {
        match step {
            Step::Admit => &self.admit,
            Step::Validate => &self.validate,
        }
    }

    /// Takes note of a configuration, or of its end.
    pub fn observe(&self, step: Step, name: &str, object: Option<&Value>) {
        let kept = self.kept(step);
        let mut configurations = kept.configurations.write();
        match object {
            None => {
                configurations.remove(name);
            }
            Some(object) => {
                configurations.insert(name.to_owned(), read(step, object));
            }
        }
        // The configurations' names give the order, then the order within each.
        let hooks: Vec<_> = configurations
            .values()
            .flatten()
            .enumerate()
            .map(|(index, hook)| {
                let hook = hook.clone();
                let plurals = rules::plurals(&hook.rules);
                (Placed { index, hook }, plurals)
            })
            .collect();
        *kept.index.write() = ByPlural::new(&hooks);
    }

    /// The webhooks that may be about this request, in order.
    fn candidates(&self, step: Step, admission: &Admission<'_>) -> Arc<[Placed]> {
        let plural = &*admission.call.endpoint.resource.plural;
        let found = self.kept(step).index.read().get(plural);
        if found.is_empty() || !admission.is_exempt() {
            return found;
        }
        Arc::new([])
    }
}

fn read(step: Step, object: &Value) -> Vec<Arc<Hook>> {
    let configuration = meta::name(object);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    object
        .list("webhooks")
        .iter()
        .map(|hook| {
            let name = hook.text("name");
            let nth = seen.entry(name).or_default();
            let id = format!("{configuration}/{name}/{nth}");
            *nth += 1;
            Arc::new(Hook::read(step, configuration, id, hook))
        })
        .collect()
}

#[cfg(test)]
mod tests;
