//! MutatingAdmissionWebhook: webhooks are asked one after another, each about what the one before made
//! of the object. When something changed the object after a webhook that wants to see that
//! (`reinvocationPolicy: IfNeeded`), the whole mutating chain runs once more, and such webhooks are
//! asked again.

use std::collections::HashSet;

use api::status::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::{self, Outcome};
use super::{Hook, Step, Webhooks};
use crate::admission::attributes::{Typed, convert};
use crate::admission::{Admission, Round};
use crate::endpoint::Endpoint;

/// Who was asked in the first round, and who is to be asked in the second.
#[derive(Default)]
pub struct Reinvoked {
    asked: HashSet<String>,
    again: HashSet<String>,
    left: Option<Value>,
}

impl Reinvoked {
    /// Somebody changed the object after those asked so far.
    pub fn require(&mut self) {
        self.again.extend(self.asked.drain());
    }

    /// Takes note of one that wants to see later changes.
    pub fn asked(&mut self, id: &str) {
        self.asked.insert(id.to_owned());
    }

    /// Shall this one be asked in the second round?
    pub fn wanted(&self, id: &str) -> bool {
        self.again.contains(id)
    }

    /// In the second round: those before changed what the first round left.
    pub fn compare(&mut self, object: Option<&Value>) {
        if self.left.as_ref() != object {
            self.require();
        }
    }

    /// What the first round leaves.
    pub fn leave(&mut self, object: Option<&Value>) {
        self.left = object.cloned();
    }
}

impl Webhooks {
    /// Lets the webhooks change the object. Says whether one did.
    pub async fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Option<Value>,
        old: Option<&Value>,
        round: &mut Round,
    ) -> Result<bool, Status> {
        let candidates = self.candidates(Step::Admit, admission);
        if candidates.is_empty() {
            return Ok(false);
        }
        if round.second {
            round.webhooks.compare(object.as_ref());
        }
        let mut dirty = false;
        for placed in candidates.iter() {
            let hook = &*placed.hook;
            let Some(endpoint) = hook.wants(admission, object.as_ref(), old).await? else {
                continue;
            };
            if round.second && !round.webhooks.wanted(&hook.id) {
                continue;
            }
            let nth = usize::from(round.second);
            let changed = one(hook, admission, &endpoint, object, old, nth, placed.index).await?;
            annotate(hook, admission, nth, placed.index, changed);
            if changed {
                dirty = true;
                round.webhooks.require();
                round.again = true;
            }
            if hook.again_if_needed {
                round.webhooks.asked(&hook.id);
            }
        }
        if !round.second {
            round.webhooks.leave(object.as_ref());
        }
        Ok(dirty)
    }
}

/// Asks one webhook, and does what it says. Says whether the object changed.
async fn one(
    hook: &Hook,
    admission: &Admission<'_>,
    endpoint: &Endpoint,
    object: &mut Option<Value>,
    old: Option<&Value>,
    round: usize,
    index: usize,
) -> Result<bool, Status> {
    let own = &admission.call.endpoint;
    let subresource = admission.subresource;
    let seen = match object.as_ref() {
        Some(object) => Some(convert(own, endpoint, subresource, object).await?),
        None => None,
    };
    let old = match old {
        Some(old) => Some(convert(own, endpoint, subresource, old).await?),
        None => None,
    };
    let started = Instant::now();
    let outcome = call::ask(hook, admission, endpoint, seen.as_deref(), old.as_deref()).await;
    let outcome = match outcome {
        Outcome::Answered(answer) if !answer.patch.is_empty() => {
            match patched(hook, endpoint, subresource, seen.as_deref(), &answer.patch) {
                Ok(Some(new)) => {
                    let changed = seen.as_deref() != Some(&new);
                    let took = started.elapsed();
                    call::count(hook, admission, &Outcome::Answered(answer), took);
                    if changed {
                        let new = convert(endpoint, own, subresource, &new)
                            .await?
                            .into_owned();
                        *object = Some(new);
                    }
                    return Ok(changed);
                }
                Ok(None) => Outcome::Answered(answer),
                Err(outcome) => outcome,
            }
        }
        outcome => outcome,
    };
    let ends = call::count(hook, admission, &outcome, started.elapsed());
    match outcome {
        Outcome::Answered(_) => Ok(false),
        Outcome::Refused(status) | Outcome::Impossible(status) => Err(status),
        Outcome::Failed { message, .. } if ends => Err(Status::internal(message)),
        Outcome::Failed { .. } => {
            call::failed_open(hook, admission, round, index);
            if admission.call.deadline <= Instant::now() {
                return Err(call::out_of_time());
            }
            Ok(false)
        }
    }
}

/// The object with the patch applied, complete again; none when the patch is empty.
fn patched(
    hook: &Hook,
    endpoint: &Endpoint,
    subresource: &str,
    object: Option<&Value>,
    patch: &[u8],
) -> Result<Option<Value>, Outcome> {
    match serde_json::from_slice::<Value>(patch) {
        Ok(Value::Array(steps)) if steps.is_empty() => return Ok(None),
        Ok(Value::Null) => return Ok(None),
        Ok(Value::Array(_)) => {}
        other => {
            let why = match other {
                Ok(_) => "a patch is a list of operations".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(Outcome::Failed {
                message: format!(
                    "failed calling webhook {:?}: received undecodable patch in webhook response: {why}",
                    hook.name
                ),
                code: 503,
            });
        }
    }
    let impossible = |why: String| Outcome::Impossible(Status::internal(why));
    let Some(object) = object else {
        return Err(impossible(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    let typed = Typed::of(endpoint, subresource)
        .ok_or_else(|| impossible("the object's type is missing".to_owned()))?;
    let applied =
        schema::patch::json(object, patch).map_err(|error| impossible(error.to_string()))?;
    typed.complete(applied).map(Some).map_err(impossible)
}

fn annotate(hook: &Hook, admission: &Admission<'_>, round: usize, index: usize, mutated: bool) {
    // Nobody reads them where nothing is recorded.
    if admission.call.server.audit.enabled() {
        let value = json!({
            "configuration": hook.configuration, "webhook": hook.name, "mutated": mutated,
        });
        admission.call.annotations.add(
            format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}"),
            value.to_string(),
        );
    }
}
