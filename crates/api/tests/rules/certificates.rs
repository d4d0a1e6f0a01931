//! The group certificates.k8s.io.

use api::strategy::Part;
use serde_json::json;

use super::{on_create, on_update};

/// A request with an empty middle, which nobody looks into before it is signed.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KZUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

#[test]
fn signing_requests() {
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"}, "spec": {"request": REQUEST, "usages": ["client auth"],
            "signerName": "a.example/s"}});
    on_create(
        &request,
        &[
            (
                &[("spec.request", json!("eA=="))],
                &[
                    "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                ],
            ),
            (
                &[("spec.usages", json!(["any", "any"]))],
                &["spec.usages[1]: Duplicate value: \"any\""],
            ),
            (
                &[("spec.signerName", json!("kubernetes.io/legacy-unknown"))],
                &[
                    "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
                ],
            ),
            (
                &[("spec.expirationSeconds", json!(599))],
                &[
                    "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
                ],
            ),
        ],
    );
    let mut decided = request;
    decided["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "r",
        "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let both = json!([{"type": "Approved", "status": "True", "reason": "r",
        "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Denied", "status": "True"}]);
    on_update(
        Part::Sub("approval"),
        &decided,
        &[
            (
                &[("status.conditions", json!([]))],
                &[
                    "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
                ],
            ),
            (
                &[("status.conditions", both.clone())],
                &[
                    "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &decided,
        &[(
            &[("status.conditions", both)],
            &[
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                "status.conditions: Forbidden: updates may not add a condition of type \"Denied\"",
            ],
        )],
    );
}

#[test]
fn bundles() {
    let empty = json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
        "metadata": {"name": "a.example:s:b"}, "spec": {"signerName": "a.example/s", "trustBundle": ""}});
    let (_, errors) = super::create(empty.clone());
    let none = "spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided";
    assert_eq!(errors, [none]);
    let mut odd = empty;
    odd["spec"]["trustBundle"] = json!("-----BEGIN KEY-----\neA==\n-----END KEY-----\n");
    let (_, errors) = super::create(odd);
    let key =
        "spec.trustBundle: Invalid value: \"<value omitted>\": entry 0 has bad block type: KEY";
    assert_eq!(errors, [key]);
}

#[test]
fn pod_requests() {
    let request = json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "PodCertificateRequest",
        "metadata": {"name": "p"}, "spec": {"signerName": "a.example/s", "podName": "p", "podUID": "1",
            "serviceAccountName": "s", "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3",
            "maxExpirationSeconds": 3600, "stubPKCS10Request": "eA=="}});
    on_create(
        &request,
        &[
            (
                &[("spec.podUID", json!(""))],
                &["spec.podUID: Invalid value: \"\": must not be empty"],
            ),
            (
                &[("spec.maxExpirationSeconds", json!(60))],
                &[
                    "spec.maxExpirationSeconds: Invalid value: 60: must be in the range [3600, 7862400]",
                ],
            ),
            (
                &[("spec.unverifiedUserAnnotations", json!({"a": "b"}))],
                &[
                    "spec.unverifiedUserAnnotations: Invalid value: \"a\": must be a domain-prefixed key (such as \"acme.io/foo\")",
                ],
            ),
        ],
    );
    on_update(
        Part::Status,
        &request,
        &[(
            &[(
                "status.conditions",
                json!([{"type": "Odd", "status": "True", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]),
            )],
            &[
                "status.conditions.[0].type: Unsupported value: \"Odd\": supported values: \"Issued\", \"Denied\", \"Failed\"",
            ],
        )],
    );
}
