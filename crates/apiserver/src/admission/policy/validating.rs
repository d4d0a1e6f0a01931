//! ValidatingAdmissionPolicy: every policy in force that is about a request judges it, once for each
//! parameter of each binding; the bindings say what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::status::Status;
use cel::{Activation, Budget};
use serde_json::{Value, json};

use super::{
    Action, Binding, Family, Invocation, Policies, Policy, Validation, invocations, refusal,
};
use crate::admission::Admission;
use crate::admission::expression::{Seen, Verdict, namespace_object};

/// The longest value of an audit annotation; longer ones are cut.
const MAX_ANNOTATION: usize = 10 * 1024;

/// What one validation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The object may pass.
    Admit,
    /// It may not.
    Deny {
        /// Why.
        message: String,
        /// The status reason; empty for the default.
        reason: String,
    },
    /// It cannot be evaluated.
    Error(String),
}

/// What a policy says with one parameter.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// For each validation.
    pub decisions: Vec<Decision>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
    /// Annotations that cannot be evaluated.
    pub annotation_errors: Vec<String>,
}

impl Judgement {
    fn error(why: impl ToString) -> Judgement {
        Judgement {
            decisions: vec![Decision::Error(why.to_string())],
            ..Judgement::default()
        }
    }
}

/// A decision that refuses the request.
struct Denial {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    message: String,
    reason: String,
}

impl Policies {
    /// Lets the policies judge.
    pub async fn validate(
        &self,
        admission: &Admission<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let candidates = self.kept(Family::Validating).candidates(admission);
        if candidates.is_empty() {
            return Ok(());
        }
        let (found, wrong) = invocations(&candidates, admission, object, old).await;
        let mut denials: Vec<Denial> = wrong
            .into_iter()
            .filter(|wrong| !wrong.policy.ignore_failures)
            .map(|wrong| Denial {
                policy: wrong.policy,
                binding: wrong.binding,
                message: wrong.why,
                reason: String::new(),
            })
            .collect();
        if !found.is_empty() {
            let namespace = namespace_object(admission)?;
            let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for invocation in &found {
                let seen = Seen::new(admission, &invocation.endpoint, object, old).await?;
                let started = Instant::now();
                let judgement = judge(
                    &invocation.policy,
                    &seen,
                    invocation.param.as_ref(),
                    namespace.as_ref(),
                );
                let took = started.elapsed();
                enforce(
                    invocation,
                    admission,
                    judgement,
                    took,
                    &mut denials,
                    &mut notes,
                );
            }
            for (key, values) in notes {
                admission.call.annotations.add(key, values.join(", "));
            }
        }
        match denials.first() {
            None => Ok(()),
            Some(denial) => Err(status(admission, object, denial)),
        }
    }
}

fn status(admission: &Admission<'_>, object: Option<&Value>, denial: &Denial) -> Status {
    let policy = &denial.policy.name;
    let message = match &denial.binding {
        Some(binding) => format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{}' denied request: {}",
            binding.name, denial.message
        ),
        None => format!(
            "ValidatingAdmissionPolicy '{policy}' denied request: {}",
            denial.message
        ),
    };
    let mut status = refusal(admission, object, &message).with_cause("", message, "");
    let (code, reason) = match denial.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    status.code = code;
    status.reason = reason.into();
    status
}

/// Does what the binding says about a judgement.
fn enforce(
    invocation: &Invocation,
    admission: &Admission<'_>,
    judgement: Judgement,
    took: std::time::Duration,
    denials: &mut Vec<Denial>,
    notes: &mut BTreeMap<String, Vec<String>>,
) {
    let Invocation {
        policy, binding, ..
    } = invocation;
    let metrics = &admission.call.server.metrics.admission;
    let count = |error, action| metrics.policy(&policy.name, &binding.name, error, action, took);
    let mut deny = |message: String, reason: String| {
        denials.push(Denial {
            policy: policy.clone(),
            binding: Some(binding.clone()),
            message,
            reason,
        });
    };
    for (index, decision) in judgement.decisions.into_iter().enumerate() {
        let (message, reason, error) = match decision {
            Decision::Admit => continue,
            Decision::Error(_) if policy.ignore_failures => {
                count("invalid_error", "allow");
                continue;
            }
            Decision::Error(message) => (message, String::new(), "invalid_error"),
            Decision::Deny { message, reason } => (message, reason, "no_error"),
        };
        for action in &binding.actions {
            match action {
                Action::Deny => {
                    deny(message.clone(), reason.clone());
                    count(error, "deny");
                }
                Action::Warn => {
                    admission.call.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                        policy.name, binding.name
                    ));
                    count(error, "warn");
                }
                Action::Audit => {
                    let actions: Vec<String> =
                        binding.actions.iter().map(|a| format!("{a:?}")).collect();
                    let value = json!([{
                        "message": message, "policy": policy.name, "binding": binding.name,
                        "expressionIndex": index, "validationActions": actions,
                    }]);
                    admission.call.annotations.add(
                        "validation.policy.admission.k8s.io/validation_failure".to_owned(),
                        value.to_string(),
                    );
                    count(error, "audit");
                }
            }
        }
    }
    for (key, mut value) in judgement.annotations {
        let mut end = MAX_ANNOTATION.min(value.len());
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        let values = notes.entry(format!("{}/{key}", policy.name)).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    if !policy.ignore_failures {
        for why in judgement.annotation_errors {
            deny(why, String::new());
            count("invalid_error", "deny");
        }
    }
}

/// What the policy says.
pub(super) fn judge<'s>(
    policy: &'s Policy,
    seen: &'s Seen<'_>,
    param: Option<&'s Value>,
    namespace: Option<&'s Value>,
) -> Judgement {
    let mut activation = seen.activation(param, namespace);
    bind_variables(policy, &mut activation);
    match policy.conditions.decide(&activation) {
        Verdict::Matches => {}
        Verdict::Excluded => return Judgement::default(),
        Verdict::Failed(why) => return Judgement::error(why),
    }
    let mut budget = Budget::default();
    let mut outcomes = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        match validation.expression.evaluate(&activation, &mut budget) {
            Ok(outcome) => outcomes.push(outcome.map(|value| value.is_true())),
            Err(out) => return Judgement::error(out),
        }
    }
    let mut judgement = Judgement::default();
    for (validation, outcome) in policy.validations.iter().zip(outcomes) {
        judgement.decisions.push(match outcome {
            Ok(true) => Decision::Admit,
            Err(why) => Decision::Error(why),
            Ok(false) => match message(validation, &activation, &mut budget) {
                Ok(message) => Decision::Deny {
                    message,
                    reason: validation.reason.clone(),
                },
                Err(out) => Decision::Error(format!("failed messageExpression: {out}")),
            },
        });
    }
    let mut budget = Budget::default();
    for annotation in &policy.annotations {
        match annotation.expression.evaluate(&activation, &mut budget) {
            Err(out) => return Judgement::error(out),
            Ok(Err(why)) => judgement.annotation_errors.push(why),
            Ok(Ok(value)) => {
                if let Some(text) = value.as_str().map(str::trim).filter(|t| !t.is_empty()) {
                    judgement
                        .annotations
                        .push((annotation.key.clone(), text.to_owned()));
                }
            }
        }
    }
    judgement
}

/// Lets expressions read the policy's variables.
pub(super) fn bind_variables<'s>(policy: &'s Policy, activation: &mut Activation<'s>) {
    for variable in &policy.variables {
        if let Some(program) = variable.expression.program() {
            activation.add_variable(&variable.name, program);
        }
    }
}

/// Why the validation fails: what its message expression makes, else its message, else the expression.
fn message<'s>(
    validation: &'s Validation,
    activation: &Activation<'s>,
    budget: &mut Budget,
) -> Result<String, crate::admission::expression::OutOfBudget> {
    if let Some(expression) = &validation.message_expression {
        match expression.evaluate(activation, budget)? {
            Ok(value) => {
                let text = value.as_str().unwrap_or("").trim();
                if !text.is_empty()
                    && text.len() <= cel::limits::MESSAGE_BYTES
                    && !text.contains('\n')
                {
                    return Ok(text.to_owned());
                }
            }
            Err(error) => tracing::debug!(error, "a message expression fails"),
        }
    }
    if !validation.message.is_empty() {
        return Ok(validation.message.clone());
    }
    Ok(format!(
        "failed expression: {}",
        validation.expression.text().trim()
    ))
}
