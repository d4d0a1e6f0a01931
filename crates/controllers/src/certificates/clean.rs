//! Removes requests that are done with, or that nobody answered.

use client::Scope;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{has_condition, is_issued};
use crate::expiry::sweep;
use crate::kit::Kit;

const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
const UNANSWERED: SignedDuration = SignedDuration::from_hours(24);

/// When the request may go; none while somebody else has to decide over it.
fn expiry(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let status = request.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    if conditions.is_empty() {
        let created = request.metadata.creation_timestamp.as_ref()?.0;
        return created.checked_add(UNANSWERED).ok();
    }
    let issued = is_issued(request);
    let by_condition = conditions.iter().filter_map(|condition| {
        let keep = match condition.type_.as_str() {
            "Denied" | "Failed" => ANSWERED,
            "Approved" if issued => ANSWERED,
            "Approved" => UNANSWERED,
            _ => return None,
        };
        let since = condition.last_update_time.as_ref()?.0;
        since.checked_add(keep).ok()
    });
    let approved = has_condition(request, "Approved");
    by_condition.chain(end(request).filter(|_| approved)).min()
}

/// When the certificate that was issued ends.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let issued = &request.status.as_ref()?.certificate.as_ref()?.0;
    let (_, pem) = x509_parser::pem::parse_x509_pem(issued).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let requests = kit.informers.get::<CertificateSigningRequest>(Scope::All);
    sweep(kit, requests, |client, _| Api::all(client), expiry).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// One that ends on this day.
    fn certificate(year: i32, month: u8, day: u8) -> Value {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let pem = params.self_signed(&key).unwrap().pem();
        json!(k8s_openapi::ByteString(pem.into_bytes()))
    }

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
                "2026-11-21T12:00:00Z",
            ),
            (
                json!({"conditions": [condition("Denied")]}),
                "2026-11-20T13:00:00Z",
            ),
            (
                json!({"conditions": [condition("Approved")], "certificate": "eA=="}),
                "2026-11-20T13:00:00Z",
            ),
            (
                json!({"conditions": [condition("Approved")], "certificate": certificate(2026, 11, 20)}),
                "2026-11-20T00:00:00Z",
            ),
            (
                json!({"conditions": [condition("Approved")], "certificate": certificate(2030, 1, 1)}),
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
