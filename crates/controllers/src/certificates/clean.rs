//! Removes requests that are done with, or that nobody answered.

use client::controller::Requeue;
use client::{Key, Scope};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;

use super::{has_condition, is_issued};
use crate::error::Error;
use crate::kit::{Kit, until};
use crate::write;

const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
const UNANSWERED: SignedDuration = SignedDuration::from_hours(24);

/// When the request may go.
fn expiry(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let answered = conditions
        .iter()
        .filter_map(|condition| condition.last_update_time.as_ref())
        .map(|time| time.0)
        .max();
    let created = request.metadata.creation_timestamp.as_ref()?.0;
    let done =
        is_issued(request) || has_condition(request, "Denied") || has_condition(request, "Failed");
    let (from, keep) = if done {
        (answered.unwrap_or(created), ANSWERED)
    } else {
        (created, UNANSWERED)
    };
    from.checked_add(keep).ok()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let requests = kit.informers.get::<CertificateSigningRequest>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&requests).await {
        return;
    }
    kit.follow_own(&requests, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, requests) = (inner.clone(), requests.clone());
        async move {
            let Some(request) = requests.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let now = kit.now();
            match expiry(&request) {
                Some(at) if at > now => return Ok(Requeue::After(until(at, now))),
                Some(_) => {
                    let api: Api<CertificateSigningRequest> = Api::all(kit.client.clone());
                    write::delete(&api, &*request, None, None).await?;
                }
                None => {}
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn answered_requests_go_sooner() {
        let request = |status: Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({
                "metadata": {"name": "r", "creationTimestamp": "2026-11-20T10:00:00Z"},
                "spec": {"request": "", "signerName": "x"}, "status": status,
            }))
            .unwrap()
        };
        let condition = |type_: &str| json!({"type": type_, "status": "True", "lastUpdateTime": "2026-11-20T12:00:00Z"});
        let cases = [
            (json!({}), "2026-11-21T10:00:00Z"),
            (
                json!({"conditions": [condition("Approved")]}),
                "2026-11-21T10:00:00Z",
            ),
            (
                json!({"conditions": [condition("Denied")]}),
                "2026-11-20T13:00:00Z",
            ),
            (
                json!({"conditions": [condition("Approved")], "certificate": "eA=="}),
                "2026-11-20T13:00:00Z",
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(
                expiry(&request(status.clone())),
                Some(expected.parse().unwrap()),
                "{status}"
            );
        }
    }
}
