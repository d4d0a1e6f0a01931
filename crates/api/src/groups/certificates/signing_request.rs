//! CertificateSigningRequests.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use super::pem;
use crate::{
    clock,
    object::Object,
    strategy::{Part, Strategy},
    validation::signer,
};

const DECIDED: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What CertificateSigningRequests do specially. Who asks is written in by the API server.
pub struct SigningRequest;

/// The conditions of a type, by place.
fn of_type<'a>(object: &'a Value, kind: &'a str) -> impl Iterator<Item = (usize, &'a Value)> {
    object
        .list("status.conditions")
        .iter()
        .enumerate()
        .filter(move |(_, condition)| condition.text("type") == kind)
}

/// Conditions without times get them; one that says what it said before has been so since then.
fn times(object: &mut Value, old: &Value, now: Timestamp) {
    let now = clock::rfc3339(now);
    for condition in object.list_mut("status.conditions") {
        condition.set_default("lastUpdateTime", now.as_str());
        let (kind, status) = (condition.text("type"), condition.text("status"));
        let since = of_type(old, kind)
            .find(|(_, before)| before.text("status") == status && before.has("lastTransitionTime"))
            .map_or(now.as_str(), |(_, before)| {
                before.text("lastTransitionTime")
            })
            .to_owned();
        condition.set_default("lastTransitionTime", since);
    }
}

impl Strategy for SigningRequest {
    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, now: Timestamp) {
        match part {
            // A request never changes.
            Part::Main => object.restore("spec", old),
            Part::Sub("approval") => {
                times(object, old, now);
                let conditions = object.at("status.conditions").clone();
                object.restore("spec", old);
                object.restore("status", old);
                object.set("status.conditions", conditions);
            }
            Part::Status => {
                // Approval has a door of its own.
                for kind in DECIDED {
                    let before: Vec<&Value> = of_type(old, kind).map(|(_, c)| c).collect();
                    let places: Vec<usize> = of_type(object, kind).map(|(at, _)| at).collect();
                    if before.len() == places.len() {
                        let list = object.list_mut("status.conditions");
                        for (at, before) in places.into_iter().zip(before) {
                            list[at] = before.clone();
                        }
                    }
                }
                times(object, old, now);
            }
            Part::Sub(_) => {}
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        whole(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        whole(object, old, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Main {
            whole(object, old, errors);
        }
        let status = Path::ROOT.field("status");
        let mut forbid = |field: &str, wrong: String| {
            errors.push(FieldError::forbidden(status.field(field), wrong));
        };
        for kind in ["Approved", "Denied", "Failed"] {
            if of_type(object, kind).count() < of_type(old, kind).count() {
                let wrong = format!("updates may not remove a condition of type {kind:?}");
                forbid("conditions", wrong);
            }
        }
        if part != Part::Sub("approval") {
            for kind in DECIDED {
                let (new, before): (Vec<_>, Vec<_>) = (
                    of_type(object, kind).map(|(_, c)| c).collect(),
                    of_type(old, kind).map(|(_, c)| c).collect(),
                );
                if new.len() > before.len() {
                    let wrong = format!("updates may not add a condition of type {kind:?}");
                    forbid("conditions", wrong);
                } else if new.len() == before.len() && new != before {
                    let wrong = format!("updates may not modify a condition of type {kind:?}");
                    forbid("conditions", wrong);
                }
            }
        }
        let before = old.text("status.certificate");
        if object.text("status.certificate") != before {
            if part != Part::Status {
                let wrong = "updates may not set certificate content";
                forbid("certificate", wrong.to_owned());
            } else if !before.is_empty() {
                let wrong = "updates may not modify existing certificate content";
                forbid("certificate", wrong.to_owned());
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        crate::strategy::path_segment_name(name, prefix)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
}

/// Does any item come twice?
fn twice<'a>(items: impl Iterator<Item = &'a str>) -> bool {
    let items: Vec<&str> = items.collect();
    (0..items.len()).any(|at| items[..at].contains(&items[at]))
}

/// Everything wrong with a request that was another before; what was wrong then may be still.
fn whole(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let request = spec.text("request");
    let text = BASE64_STANDARD
        .decode(request)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let is_request = pem::blocks(&text)
        .first()
        .is_some_and(|block| block.label == "CERTIFICATE REQUEST");
    if !is_request {
        let wrong = "PEM block type must be CERTIFICATE REQUEST";
        let shown = spec.at("request").clone();
        errors.push(FieldError::invalid(path.field("request"), shown, wrong));
    }
    let list = path.field("usages");
    let usages: Vec<&str> = spec.texts("usages").collect();
    if usages.is_empty() {
        errors.push(FieldError::required(list, ""));
    }
    if old
        .texts("spec.usages")
        .all(|usage| USAGES.contains(&usage))
    {
        for (index, usage) in usages.iter().enumerate() {
            if !USAGES.contains(usage) {
                errors.push(FieldError::not_supported(
                    list.index(index),
                    *usage,
                    &USAGES,
                ));
            }
        }
    }
    if !twice(old.texts("spec.usages")) {
        for (index, usage) in usages.iter().enumerate() {
            if usages[..index].contains(usage) {
                errors.push(FieldError::duplicate(list.index(index), *usage));
            }
        }
    }
    const LEGACY: &str = "kubernetes.io/legacy-unknown";
    let name = spec.text("signerName");
    let field = path.field("signerName");
    if name == LEGACY && old.text("spec.signerName") != LEGACY {
        let wrong = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(field, name, wrong));
    } else {
        signer::name(name, &field, errors);
    }
    if let Some(seconds) = spec
        .int("expirationSeconds")
        .filter(|seconds| *seconds < 600)
    {
        let wrong = "may not specify a duration less than 600 seconds (10 minutes)";
        let field = path.field("expirationSeconds");
        errors.push(FieldError::invalid(field, seconds, wrong));
    }
    let status = Path::ROOT.field("status");
    conditions(object, old, &status.field("conditions"), errors);
    let certificate = object.text("status.certificate");
    let before = old.text("status.certificate");
    if !old.is_null()
        && certificate != before
        && bad_certificate(before).is_none()
        && let Some(wrong) = bad_certificate(certificate)
    {
        let shown = "<certificate data>";
        errors.push(FieldError::invalid(
            status.field("certificate"),
            shown,
            wrong,
        ));
    }
}

/// What is wrong with the certificates that were given out.
fn bad_certificate(data: &str) -> Option<String> {
    if data.is_empty() {
        return None;
    }
    let text = BASE64_STANDARD
        .decode(data)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let blocks = pem::blocks(&text);
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            let label = &block.label;
            return Some(format!(
                "only CERTIFICATE PEM blocks are allowed, found {label:?}"
            ));
        }
        if block.headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.bytes.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if !pem::is_certificate(&block.bytes) {
            return Some("x509: malformed certificate".to_owned());
        }
    }
    blocks
        .is_empty()
        .then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

fn conditions(object: &Value, old: &Value, list: &Path<'_>, errors: &mut Vec<FieldError>) {
    let types = |object: &'_ Value| -> Vec<String> {
        let list = object.list("status.conditions").iter();
        list.map(|c| c.text("type").to_owned()).collect()
    };
    let before = types(old);
    let had_both = DECIDED.iter().all(|kind| before.iter().any(|b| b == kind));
    let had_empty = before.iter().any(String::is_empty);
    let had_twice = twice(before.iter().map(String::as_str));
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in object.list("status.conditions").iter().enumerate() {
        let path = list.index(index);
        let (kind, status) = (condition.text("type"), condition.text("status"));
        if kind.is_empty() && !had_empty {
            errors.push(FieldError::required(path.field("type"), ""));
        }
        let known: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if status.is_empty() {
            errors.push(FieldError::required(path.field("status"), ""));
        } else if !known.contains(&status) {
            errors.push(FieldError::not_supported(
                path.field("status"),
                status,
                known,
            ));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !had_both && !other.is_empty() && seen.contains(&other) {
            let wrong = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(list, kind, wrong));
        }
        if !had_twice && seen.contains(&kind) {
            errors.push(FieldError::duplicate(path.field("type"), kind));
        }
        seen.push(kind);
    }
}
