//! How answers of webhooks are read, denials told, and webhooks kept.

use serde_json::json;

use super::review::{AnswerError, answer};
use super::*;

fn answered(step: Step, version: &str, review: &Value) -> Result<super::review::Answer, String> {
    answer(version, "u", step, review.to_string().as_bytes()).map_err(|e| e.to_string())
}

fn review(response: &Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

#[test]
fn answers_are_checked_as_their_version_asks() {
    let invalid = |text: &str| Err(format!("received invalid webhook response: {text}"));
    let cases = [
        (
            Step::Admit,
            review(&json!({"uid": "u", "allowed": true})),
            Ok(()),
        ),
        (
            Step::Admit,
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}),
            invalid("webhook response was absent"),
        ),
        (
            Step::Admit,
            review(&json!({"uid": "x"})),
            invalid("expected response.uid=\"u\", got \"x\""),
        ),
        (
            Step::Admit,
            json!({"response": {"uid": "u"}}),
            invalid(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
        ),
        (
            Step::Admit,
            review(&json!({"uid": "u", "patch": "W10="})),
            invalid("webhook returned response.patch but not response.patchType"),
        ),
        (
            Step::Admit,
            review(&json!({"uid": "u", "patchType": "JSONPatch"})),
            invalid("webhook returned response.patchType but not response.patch"),
        ),
        (
            Step::Admit,
            review(&json!({"uid": "u", "patch": "W10=", "patchType": "Merge"})),
            invalid("unsupported patch type \"Merge\""),
        ),
        (
            Step::Validate,
            review(&json!({"uid": "u", "patch": "W10=", "patchType": "JSONPatch"})),
            invalid("validating webhook may not return response.patch"),
        ),
        (
            Step::Validate,
            review(&json!({"uid": "u", "patchType": "JSONPatch"})),
            invalid("validating webhook may not return response.patchType"),
        ),
    ];
    for (step, review, expected) in cases {
        assert_eq!(
            answered(step, "v1", &review).map(|_| ()),
            expected,
            "{review}"
        );
    }
    // The older version checks less.
    let old = json!({"response": {"uid": "x", "allowed": true, "patch": "W10="}});
    assert_eq!(answered(Step::Admit, "v1beta1", &old).unwrap().patch, b"[]");
    assert_eq!(
        answered(Step::Validate, "v1beta1", &old).unwrap().patch,
        b""
    );
    assert!(matches!(
        answer("v1", "u", Step::Admit, b"not json"),
        Err(AnswerError::Unreadable(_))
    ));
}

#[test]
fn denials_keep_what_the_webhook_says() {
    let cases = [
        (json!({}), 400, "", "denied the request without explanation"),
        (
            json!({"status": {"message": "no"}}),
            400,
            "",
            "denied the request: no",
        ),
        (
            json!({"status": {"reason": "Forbidden"}}),
            400,
            "Forbidden",
            "denied the request: Forbidden",
        ),
        (
            json!({"status": {"code": 402, "reason": "Custom", "message": "pay"}}),
            402,
            "Custom",
            "denied the request: pay",
        ),
        (
            json!({"status": {"code": 200}}),
            400,
            "",
            "denied the request without explanation",
        ),
        (
            json!({"status": {"code": -1}}),
            400,
            "",
            "denied the request without explanation",
        ),
    ];
    for (mut response, code, reason, message) in cases {
        response["uid"] = "u".into();
        let answer = answered(Step::Validate, "v1", &review(&response)).unwrap();
        let status = answer.denial.status("x");
        assert_eq!(status.code, code, "{response}");
        assert_eq!(status.reason, reason);
        assert_eq!(status.message, format!("admission webhook \"x\" {message}"));
    }
}

#[test]
fn webhooks_are_kept_by_resource_and_in_the_order_of_names() {
    let configuration = |name: &str, hooks: &[(&str, &str)]| {
        let hooks: Vec<Value> = hooks
            .iter()
            .map(|(name, resource)| {
                json!({"name": name, "rules": [{"operations": ["*"], "apiGroups": ["*"],
                    "apiVersions": ["*"], "resources": [resource]}]})
            })
            .collect();
        json!({"metadata": {"name": name}, "webhooks": hooks})
    };
    let webhooks = Webhooks::default();
    let about = |plural: &str| -> Vec<String> {
        let list = webhooks.admit.index.read().get(plural);
        let name = |placed: &Placed| format!("{} {}", placed.index, placed.hook.name);
        list.iter().map(name).collect()
    };
    let b = configuration("b", &[("pods", "pods/status"), ("all", "*/*")]);
    webhooks.observe(Step::Admit, "b", Some(&b));
    let a = configuration("a", &[("nodes", "nodes")]);
    webhooks.observe(Step::Admit, "a", Some(&a));
    assert_eq!(about("pods"), ["1 pods", "2 all"]);
    assert_eq!(about("nodes"), ["0 nodes", "2 all"]);
    assert_eq!(about("secrets"), ["2 all"]);
    webhooks.observe(Step::Admit, "b", None);
    assert_eq!(about("pods"), [] as [String; 0]);
    assert_eq!(about("nodes"), ["0 nodes"]);
}

proptest::proptest! {
    #[test]
    fn no_answer_is_fatal(body in ".{0,200}", step in 0..2) {
        let step = if step == 0 { Step::Admit } else { Step::Validate };
        for version in ["v1", "v1beta1"] {
            let _ = answer(version, "u", step, body.as_bytes());
        }
    }
}
