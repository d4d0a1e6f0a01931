//! ClusterTrustBundles.

use schema::{Path, Value, field_error::FieldError};

use super::pem;
use crate::{
    meta,
    object::Object,
    validation::{
        checks::{immutable, wrongs},
        signer,
    },
};

const SIZE_MAX: usize = 1024 * 1024;
const OMITTED: &str = "<value omitted>";

/// Everything wrong with a ClusterTrustBundle.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    validate_after(object, &Value::Null, errors);
}

/// As [`validate`], of a bundle that was another before: what was read then is not read again.
pub fn validate_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let metadata = Path::ROOT.field("metadata");
    let signer = object.text("spec.signerName");
    for (field, text) in [
        ("generateName", meta::generate_name(object)),
        ("name", meta::name(object)),
    ] {
        if !text.is_empty() {
            let whole = text.trim_end_matches('-');
            let text_to_judge = if field == "generateName" { whole } else { text };
            let bad = signer::bundle_name(signer, text_to_judge);
            wrongs(text, bad, &metadata.field(field), errors);
        }
    }
    let path = Path::ROOT.field("spec");
    if !signer.is_empty() {
        signer::name(signer, &path.field("signerName"), errors);
    }
    let bundle = object.text("spec.trustBundle");
    if old.is_null() || bundle != old.text("spec.trustBundle") {
        anchors(bundle, &path.field("trustBundle"), errors);
    }
}

/// Certificates of authorities, each once.
fn anchors(bundle: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if bundle.len() > SIZE_MAX {
        errors.push(FieldError::too_long(path, SIZE_MAX));
        return;
    }
    let before = errors.len();
    let mut seen: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for (index, block) in pem::blocks(bundle).into_iter().enumerate() {
        let wrong = if block.label != "CERTIFICATE" {
            format!("entry {index} has bad block type: {}", block.label)
        } else if block.headers {
            format!("entry {index} has PEM block headers")
        } else if !pem::is_certificate(&block.bytes) {
            format!("entry {index} does not parse as X.509")
        } else if !pem::is_authority(&block.bytes) {
            format!("entry {index} does not have the CA bit set")
        } else {
            match seen.iter_mut().find(|(bytes, _)| *bytes == block.bytes) {
                Some((_, places)) => places.push(index),
                None => seen.push((block.bytes, vec![index])),
            }
            continue;
        };
        errors.push(FieldError::invalid(path, OMITTED, wrong));
    }
    if errors.len() > before {
        return;
    }
    if seen.is_empty() {
        let wrong = "at least one trust anchor must be provided";
        errors.push(FieldError::invalid(path, OMITTED, wrong));
    }
    for (_, places) in seen.iter().filter(|(_, places)| places.len() > 1) {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let wrong = format!("duplicate trust anchor (indices [{}])", places.join(" "));
        errors.push(FieldError::invalid(path, OMITTED, wrong));
    }
}

/// What of a ClusterTrustBundle may not change.
pub fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    immutable(
        object.at("spec"),
        old.at("spec"),
        "signerName",
        &path,
        errors,
    );
}
