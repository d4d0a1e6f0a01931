//! PodCertificateRequests.

use schema::{Path, Value, field_error::FieldError};

use super::pem;
use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy},
    validation::{
        checks::{conditions, immutable, wrongs},
        signer,
    },
};

const UID_MAX: usize = 128;
/// Longest public key, proof and request, in bytes.
const KEY_MAX: usize = 10 * 1024;
const CHAIN_MAX: usize = 100 * 1024;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];

/// What PodCertificateRequests do specially.
pub struct PodRequest;

impl Strategy for PodRequest {
    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let signer = spec.text("signerName");
        signer::name(signer, &path.field("signerName"), errors);
        user_annotations(spec, &path, errors);
        for (name, uid) in [
            ("podName", "podUID"),
            ("serviceAccountName", "serviceAccountUID"),
            ("nodeName", "nodeUID"),
        ] {
            let text = spec.text(name);
            wrongs(
                text,
                names::dns1123_subdomain(text),
                &path.field(name),
                errors,
            );
            let text = spec.text(uid);
            if text.is_empty() {
                errors.push(FieldError::invalid(
                    path.field(uid),
                    "",
                    "must not be empty",
                ));
            }
            if text.len() > UID_MAX {
                errors.push(FieldError::too_long(path.field(uid), UID_MAX));
            }
        }
        let field = path.field("maxExpirationSeconds");
        let Some(seconds) = spec.int("maxExpirationSeconds") else {
            errors.push(FieldError::required(field, "must be set"));
            return;
        };
        let most = if signer::is_kubernetes(signer) {
            DAY
        } else {
            91 * DAY
        };
        if !(HOUR..=most).contains(&seconds) {
            let wrong = format!("must be in the range [{HOUR}, {most}]");
            errors.push(FieldError::invalid(field, seconds, wrong));
        }
        keys(spec, &path, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => immutable(object, old, "spec", &Path::ROOT, errors),
            Part::Status => status(object, old, errors),
            Part::Sub(_) => {}
        }
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName", "spec.podName", "spec.nodeName"]
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// What the pod's owner tells the signer: keys with a domain before them.
fn user_annotations(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let field = path.field("unverifiedUserAnnotations");
    for (key, _) in spec.pairs("unverifiedUserAnnotations") {
        let key = key.to_lowercase();
        if key.contains('/') {
            wrongs(&key, names::qualified_name(&key), &field, errors);
        } else {
            let wrong = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(field, key, wrong));
        }
    }
    if meta::too_large(spec.at("unverifiedUserAnnotations")) {
        errors.push(FieldError::too_long(field, meta::ANNOTATIONS_MAX));
    }
}

/// A key with the proof that the pod has it, or a request that holds both.
fn keys(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let size = |field: &str| {
        let text = spec.text(field);
        (text.len() / 4 * 3).saturating_sub(text.len() - text.trim_end_matches('=').len())
    };
    let given = |field: &str| !spec.text(field).is_empty();
    let fields: &[&str] = match (
        given("stubPKCS10Request"),
        given("pkixPublicKey"),
        given("proofOfPossession"),
    ) {
        (true, false, false) => &["stubPKCS10Request"],
        (false, true, true) => &["pkixPublicKey", "proofOfPossession"],
        _ => {
            let wrong = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            errors.push(FieldError::invalid(path, Value::Null, wrong).unshown());
            return;
        }
    };
    for field in fields {
        if size(field) > KEY_MAX {
            errors.push(FieldError::too_long(path.field(field), KEY_MAX));
            return;
        }
    }
}

fn is_true(object: &Value, kind: &str) -> bool {
    meta::condition(object, kind).is_some_and(|condition| condition.text("status") == "True")
}

/// A status that ends the request, once.
fn status(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let list = object.list("status.conditions");
    let before = errors.len();
    let mut ends = 0;
    for (index, condition) in list.iter().enumerate() {
        // Upstream shows the place of a condition as a field.
        let place = format!("[{index}]");
        let conditions = path.field("conditions");
        let path = conditions.field(&place);
        let kind = condition.text("type");
        if !ENDS.contains(&kind) {
            errors.push(FieldError::not_supported(path.field("type"), kind, &ENDS));
            continue;
        }
        ends += 1;
        if ends > 1 {
            let wrong = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(path.field("type"), kind, wrong));
        }
        if condition.text("status") != "True" {
            let status = condition.text("status");
            errors.push(FieldError::not_supported(
                path.field("status"),
                status,
                &["True"],
            ));
        }
    }
    conditions(list, &path.field("conditions"), errors);
    if errors.len() > before {
        return;
    }
    let mut whole = |wrong: &str| {
        errors.push(FieldError::invalid(path, Value::Null, wrong).unshown());
    };
    let same = object.at("status") == old.at("status");
    if ENDS.iter().any(|kind| is_true(old, kind)) {
        if !same {
            whole("immutable after PodCertificateRequest is issued, denied, or failed");
        }
    } else if is_true(object, "Denied") || is_true(object, "Failed") {
        if object.map("status").is_some_and(|status| status.len() > 1) {
            whole(
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
            );
        }
    } else if is_true(object, "Issued") {
        issued(object, &path, errors);
    } else if !same {
        whole("status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"");
    }
}

/// The certificates of a request that was granted, and the times that go with them.
fn issued(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let chain = object.text("status.certificateChain");
    let field = path.field("certificateChain");
    if chain.len() > CHAIN_MAX {
        errors.push(FieldError::too_long(field, CHAIN_MAX));
        return;
    }
    let blocks = pem::blocks(chain);
    let wrong = match blocks.first() {
        None => "issued certificate chain must contain at least one certificate",
        Some(leaf) if leaf.label != "CERTIFICATE" => {
            "issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
        }
        Some(leaf) if !pem::is_certificate(&leaf.bytes) => {
            "leaf certificate does not parse as valid X.509"
        }
        Some(_) => "",
    };
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(field, chain, wrong));
        return;
    }
    let before = errors.len();
    for (time, wrong) in [
        (
            "notBefore",
            "must be present and consistent with the issued certificate",
        ),
        (
            "notAfter",
            "must be present and consistent with the issued certificate",
        ),
        (
            "beginRefreshAt",
            "must be present and in the range [notbefore+10min, notafter-10min]",
        ),
    ] {
        if !object.at("status").has(time) {
            errors.push(FieldError::required(path.field(time), wrong));
        }
    }
    if errors.len() > before {
        return;
    }
    let time = |field: &str| meta::time(object, &format!("status.{field}"));
    if let (Some(from), Some(to), Some(refresh)) =
        (time("notBefore"), time("notAfter"), time("beginRefreshAt"))
    {
        let wrong = if (refresh - from).get_seconds() < 600 {
            "must be at least 10 minutes after status.notBefore"
        } else if (to - refresh).get_seconds() < 600 {
            "must be at least 10 minutes before status.notAfter"
        } else {
            ""
        };
        if !wrong.is_empty() {
            let shown = object.at("status.beginRefreshAt").clone();
            errors.push(FieldError::invalid(
                path.field("beginRefreshAt"),
                shown,
                wrong,
            ));
            return;
        }
    }
    let mut wrong = |wrong: &str| errors.push(FieldError::invalid(field, chain, wrong));
    for block in &blocks[1..] {
        if block.label != "CERTIFICATE" {
            wrong("issued certificate chain must consist entirely of CERTFICATE PEM blocks");
            return;
        }
        if !pem::is_certificate(&block.bytes) {
            wrong("intermediate certificate does not parse as valid X.509");
            return;
        }
    }
}
