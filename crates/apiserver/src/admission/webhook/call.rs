//! One call of one webhook, and what is counted and recorded of it.

use std::time::Duration;

use api::status::Status;
use serde_json::Value;
use tokio::time::Instant;

use super::review::{self, Answer};
use super::{Hook, Step};
use crate::admission::Admission;
use crate::admission::attributes::kind_of;
use crate::endpoint::Endpoint;
use crate::outbound::OutboundError;

/// What became of a webhook's part in a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It let the request pass.
    Answered(Answer),
    /// It refused: the client hears this.
    Refused(Status),
    /// It did not answer as it should: its failure policy decides.
    Failed {
        /// As the client hears it.
        message: String,
        /// What metrics count.
        code: u16,
    },
    /// The request cannot be put to it: the client hears this, whatever the failure policy.
    Impossible(Status),
}

/// A request that has no time left.
pub(super) fn out_of_time() -> Status {
    Status::timeout("request did not complete within requested timeout", 0)
}

/// Asks the webhook about the object, which is in `endpoint`'s version.
pub(super) async fn ask(
    hook: &Hook,
    admission: &Admission<'_>,
    endpoint: &Endpoint,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Outcome {
    let failed = |reason: &dyn std::fmt::Display, code: u16| Outcome::Failed {
        message: format!("failed calling webhook {:?}: {reason}", hook.name),
        code,
    };
    if admission.dry_run && !hook.without_side_effects {
        return Outcome::Impossible(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            hook.name
        )));
    }
    let Some(version) = hook.version else {
        return failed(
            &"could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
            400,
        );
    };
    let client = match &hook.client {
        Ok(client) => client,
        Err(error) => return failed(&format_args!("could not get REST client: {error}"), 500),
    };
    let server = &admission.call.server;
    let uid = crate::server::new_uid(&server.config.random);
    let kind = kind_of(&endpoint.resource, admission.subresource);
    let review = review::ask(
        version,
        &uid,
        review::request(admission, endpoint, kind),
        object.cloned().unwrap_or_default(),
        old.cloned().unwrap_or_default(),
    );
    let left = admission
        .call
        .deadline
        .saturating_duration_since(Instant::now());
    let timeout = hook.timeout.min(left);
    if timeout.is_zero() {
        return Outcome::Impossible(out_of_time());
    }
    let body = match serde_json::to_vec(&review) {
        Ok(body) => body.into(),
        Err(error) => return Outcome::Impossible(Status::internal(error)),
    };
    let called = server.outbound.call(client, body, timeout).await;
    let answer = match called {
        Ok(body) => review::answer(version, &uid, hook.step, &body),
        Err(error) => {
            let code = match &error {
                OutboundError::Answered { code, .. } => *code,
                _ => 503,
            };
            return failed(&format_args!("failed to call webhook: {error}"), code);
        }
    };
    match answer {
        Err(error) => failed(&error, 503),
        Ok(answer) => {
            for (key, value) in &answer.annotations {
                let key = format!("{}/{key}", hook.name);
                admission.call.annotations.add(key, value.clone());
            }
            for warning in &answer.warnings {
                admission.call.warn(warning.clone());
            }
            if answer.allowed {
                Outcome::Answered(answer)
            } else {
                Outcome::Refused(answer.denial.status(&hook.name))
            }
        }
    }
}

/// Counts the call. Says whether the request ends with it.
pub(super) fn count(
    hook: &Hook,
    admission: &Admission<'_>,
    outcome: &Outcome,
    took: Duration,
) -> bool {
    let (code, error) = match outcome {
        Outcome::Answered(_) => (200, None),
        Outcome::Refused(status) => (status.code, Some("no_error")),
        Outcome::Failed { code, .. } if hook.ignore_failures => (*code, None),
        Outcome::Failed { code, .. } => (*code, Some("calling_webhook_error")),
        Outcome::Impossible(_) => (0, Some("apiserver_internal_error")),
    };
    let metrics = &admission.call.server.metrics.admission;
    let (step, operation) = (hook.step.metric(), admission.operation.as_str());
    let rejected = error.is_some();
    metrics.webhook(&hook.name, step, operation, code, rejected, took);
    if let Some(error) = error {
        metrics.rejection(&hook.name, step, operation, error, code);
    }
    if let Outcome::Failed { message, .. } = outcome {
        if hook.ignore_failures {
            tracing::warn!(%message, "a webhook failed; the request goes on without it");
            metrics.fail_open(&hook.name, step);
        } else {
            tracing::warn!(%message, "a webhook failed; the request is refused");
        }
    }
    rejected
}

/// The annotation of a webhook that failed and was passed over.
pub(super) fn failed_open(hook: &Hook, admission: &Admission<'_>, round: usize, index: usize) {
    let step = match hook.step {
        Step::Admit => "mutation",
        Step::Validate => "validating",
    };
    admission.call.annotations.add(
        format!("failed-open.{step}.webhook.admission.k8s.io/round_{round}_index_{index}"),
        hook.name.clone(),
    );
}
