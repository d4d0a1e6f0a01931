//! AdmissionReview (`admission.k8s.io`): the question a webhook is asked, and what its answer means.
//! Versions v1 and v1beta1 differ in how much of the answer is checked.

use std::collections::BTreeMap;

use api::resource::Gvk;
use api::status::{Cause, Details, Status};
use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Step;
use crate::admission::Admission;
use crate::endpoint::Endpoint;

/// The `request` of a review (or of an expression), without the objects.
pub fn request(admission: &Admission<'_>, endpoint: &Endpoint, subresource_of: &Gvk) -> Value {
    let own = &*admission.call.endpoint.resource;
    let kind =
        |kind: &Gvk| json!({"group": &*kind.group, "version": &*kind.version, "kind": &*kind.kind});
    let resource = |resource: &api::resource::Resource| json!({"group": &*resource.gvk.group, "version": &*resource.gvk.version, "resource": &*resource.plural});
    let mut request = json!({
        "kind": kind(subresource_of),
        "resource": resource(&endpoint.resource),
        "requestKind": kind(admission.kind()),
        "requestResource": resource(own),
        "operation": admission.operation.as_str(),
        "userInfo": admission.user(),
        "dryRun": admission.dry_run,
        "options": admission.request_options(),
    });
    for (field, text) in [
        ("subResource", admission.subresource),
        ("requestSubResource", admission.subresource),
        ("name", admission.name),
        ("namespace", admission.namespace()),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    request
}

/// A review that asks.
pub fn ask(version: &str, uid: &str, mut request: Value, object: Value, old: Value) -> Value {
    request["uid"] = uid.into();
    request["object"] = object;
    request["oldObject"] = old;
    json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{version}"),
        "request": request,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    allowed: Option<bool>,
    #[serde(default)]
    status: Option<Denial>,
    #[serde(default)]
    patch: Option<String>,
    #[serde(default)]
    patch_type: Option<String>,
    #[serde(default)]
    audit_annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// The `Status` of an answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Denial {
    #[serde(default)]
    code: Option<i64>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    details: Option<Value>,
}

/// A checked answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// May the request go on?
    pub allowed: bool,
    /// Why not.
    pub denial: Denial,
    /// What to change (RFC 6902); empty for nothing.
    pub patch: Vec<u8>,
    /// For the audit log, without the webhook's name.
    pub annotations: BTreeMap<String, String>,
    /// For the client.
    pub warnings: Vec<String>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It cannot be read.
    #[error("failed to call webhook: {0}")]
    Unreadable(String),
    /// It is not what was asked for.
    #[error("received invalid webhook response: {0}")]
    Invalid(String),
}

/// Reads the answer to the review `uid`.
pub fn answer(version: &str, uid: &str, step: Step, body: &[u8]) -> Result<Answer, AnswerError> {
    let review: Review = serde_json::from_slice(body).map_err(|e| {
        AnswerError::Unreadable(format!("couldn't get version/kind; json parse error: {e}"))
    })?;
    let invalid = |why: String| Err(AnswerError::Invalid(why));
    let Some(response) = review.response else {
        return invalid("webhook response was absent".to_owned());
    };
    let patch = base64::engine::general_purpose::STANDARD
        .decode(response.patch.unwrap_or_default())
        .map_err(|e| AnswerError::Unreadable(format!("response.patch: {e}")))?;
    let patch_type = response.patch_type;
    if version == "v1" {
        let got = response.uid.unwrap_or_default();
        if got != uid {
            return invalid(format!("expected response.uid={uid:?}, got {got:?}"));
        }
        let api_version = review.api_version.unwrap_or_default();
        let kind = review.kind.unwrap_or_default();
        if kind != "AdmissionReview" || api_version != "admission.k8s.io/v1" {
            let (group, version) = api::meta::split_api_version(&api_version);
            return invalid(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}/{version}, Kind={kind}"
            ));
        }
        let wrong = match (step, patch.is_empty(), patch_type.as_deref()) {
            (Step::Admit, false, None) => {
                "webhook returned response.patch but not response.patchType".to_owned()
            }
            (Step::Admit, true, Some(_)) => {
                "webhook returned response.patchType but not response.patch".to_owned()
            }
            (Step::Admit, false, Some("")) => {
                "webhook returned invalid response.patchType of \"\"".to_owned()
            }
            (Step::Validate, false, _) => {
                "validating webhook may not return response.patch".to_owned()
            }
            (Step::Validate, true, Some(_)) => {
                "validating webhook may not return response.patchType".to_owned()
            }
            _ => String::new(),
        };
        if !wrong.is_empty() {
            return invalid(wrong);
        }
        if let Some(other) = patch_type.filter(|kind| kind != "JSONPatch") {
            return invalid(format!("unsupported patch type {other:?}"));
        }
    }
    Ok(Answer {
        allowed: response.allowed.unwrap_or(false),
        denial: response.status.unwrap_or_default(),
        patch: if step == Step::Admit {
            patch
        } else {
            Vec::new()
        },
        annotations: response.audit_annotations.unwrap_or_default(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

impl Denial {
    /// What the client hears of it: the webhook's own code, reason and details, and its message
    /// behind its name.
    pub fn status(self, webhook: &str) -> Status {
        let denied = format!("admission webhook {webhook:?} denied the request");
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let message = match (given(&self.message), given(&self.reason)) {
            (Some(why), _) | (None, Some(why)) => format!("{denied}: {why}"),
            (None, None) => format!("{denied} without explanation"),
        };
        let code = self
            .code
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (400..1000).contains(code))
            .unwrap_or(400);
        let mut status = Status::other(code, self.reason.unwrap_or_default(), message);
        status.details = self.details.as_ref().map(details);
        status
    }
}

/// Causes of a webhook's answer that are passed on.
const MAX_CAUSES: usize = 100;

fn details(details: &Value) -> Details {
    use api::object::Object;
    let causes = details.list("causes").iter().take(MAX_CAUSES);
    Details {
        name: details.text("name").to_owned(),
        group: details.text("group").to_owned(),
        kind: details.text("kind").to_owned(),
        uid: details.text("uid").to_owned(),
        causes: causes
            .map(|cause| Cause {
                reason: cause.text("reason").to_owned(),
                message: cause.text("message").to_owned(),
                field: cause.text("field").to_owned(),
            })
            .collect(),
        retry_after_seconds: details
            .int("retryAfterSeconds")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
    }
}
