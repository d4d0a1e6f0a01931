//! ValidatingAdmissionWebhook: all webhooks that want to judge a request are asked at the same time; the
//! first, in their order, that refuses decides.

use std::sync::Arc;

use api::status::Status;
use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{self, Outcome};
use super::{Hook, Step, Webhooks};
use crate::admission::Admission;
use crate::admission::attributes::convert;
use crate::endpoint::Endpoint;

impl Webhooks {
    /// Asks those webhooks that want to judge the request.
    pub async fn validate(
        &self,
        admission: &Admission<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let candidates = self.candidates(Step::Validate, admission);
        let mut wanted: Vec<(&Hook, Arc<Endpoint>)> = Vec::new();
        for placed in candidates.iter() {
            if let Some(endpoint) = placed.hook.wants(admission, object, old).await? {
                wanted.push((&placed.hook, endpoint));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if admission.call.deadline <= Instant::now() {
            return Err(call::out_of_time());
        }
        let calls = wanted
            .iter()
            .enumerate()
            .map(|(index, (hook, endpoint))| judge(hook, admission, endpoint, object, old, index));
        join_all(calls).await.into_iter().collect()
    }
}

async fn judge(
    hook: &Hook,
    admission: &Admission<'_>,
    endpoint: &Endpoint,
    object: Option<&Value>,
    old: Option<&Value>,
    index: usize,
) -> Result<(), Status> {
    let own = &admission.call.endpoint;
    let mut seen = [None, None];
    for (seen, object) in seen.iter_mut().zip([object, old]) {
        if let Some(object) = object {
            *seen = Some(convert(own, endpoint, admission.subresource, object).await?);
        }
    }
    let [object, old] = &seen;
    let started = Instant::now();
    let outcome = call::ask(hook, admission, endpoint, object.as_deref(), old.as_deref()).await;
    let ends = call::count(hook, admission, &outcome, started.elapsed());
    match outcome {
        Outcome::Answered(_) => Ok(()),
        Outcome::Refused(status) | Outcome::Impossible(status) => Err(status),
        Outcome::Failed { message, .. } if ends => Err(Status::internal(message)),
        Outcome::Failed { .. } => {
            call::failed_open(hook, admission, 0, index);
            Ok(())
        }
    }
}
