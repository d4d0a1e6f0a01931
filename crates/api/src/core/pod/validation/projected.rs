//! Projected volumes.

use schema::{Path, Value, field_error::FieldError};

use super::volume::{downward_item, keys, mode};
use crate::{
    meta, names,
    object::Object,
    validation::{
        checks::{label_selector, required, unreserved_path, wrongs},
        signer,
    },
};

const DAY: i64 = 24 * 60 * 60;

/// Paths within the volume that are taken.
#[derive(Default)]
struct Taken<'a>(Vec<&'a str>);

impl<'a> Taken<'a> {
    /// Takes a path; `shown` is what upstream shows of who comes too late.
    fn take(
        &mut self,
        target: &'a str,
        shown: &str,
        path: &Path<'_>,
        errors: &mut Vec<FieldError>,
    ) {
        if self.0.contains(&target) {
            let wrong = "conflicting duplicate paths";
            errors.push(FieldError::invalid(path, shown, wrong));
        } else {
            self.0.push(target);
        }
    }
}

/// A `ProjectedVolumeSource`.
pub fn projected(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    mode(value, "defaultMode", path, errors);
    let mut taken = Taken::default();
    let list = path.field("sources");
    for (index, part) in value.list("sources").iter().enumerate() {
        let source_path = list.index(index);
        let mut count = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let source = part.at(kind);
            if source.is_null() {
                continue;
            }
            count += 1;
            let own = source_path.field(kind);
            match kind {
                "secret" | "configMap" => {
                    let name = required(source, "name", &own, errors);
                    keys(source, &own, errors);
                    for item in source.list("items") {
                        let target = item.text("path");
                        if !target.is_empty() {
                            taken.take(target, name, path, errors);
                        }
                    }
                }
                "downwardAPI" => {
                    for item in source.list("items") {
                        downward_item(item, &own, errors);
                        let target = item.text("path");
                        if !target.is_empty() {
                            taken.take(target, target, path, errors);
                        }
                    }
                }
                "serviceAccountToken" => token(source, &own, path, errors),
                "clusterTrustBundle" => {
                    bundle(source, &own, errors);
                    let target = source.text("path");
                    taken.take(target, target, path, errors);
                }
                _ => certificate(source, &own, &mut taken, path, errors),
            }
        }
        if count > 1 {
            let wrong = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(source_path, wrong));
        }
    }
}

fn token(source: &Value, own: &Path<'_>, volume: &Path<'_>, errors: &mut Vec<FieldError>) {
    let seconds = source.int("expirationSeconds").unwrap_or(0);
    let expiration = own.field("expirationSeconds");
    if seconds < 600 {
        let wrong = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(expiration, seconds, wrong));
    }
    if seconds > 1 << 32 {
        let wrong = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(expiration, seconds, wrong));
    }
    let target = required(source, "path", volume, errors);
    unreserved_path(target, &volume.field("path"), errors);
}

fn bundle(source: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match (source.has("name"), source.has("signerName")) {
        (true, true) => {
            let wrong = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, source.clone(), wrong));
        }
        (true, false) => {
            let name = source.text("name");
            let field = path.field("name");
            if name.is_empty() {
                errors.push(FieldError::required(field, "must be a valid object name"));
            }
            for wrong in signer::bundle_name(&signer::of_bundle(name), name) {
                let wrong = format!("not a valid clustertrustbundlename: {wrong}");
                errors.push(FieldError::invalid(field, name, wrong));
            }
            if source.has("labelSelector") {
                errors.push(FieldError::invalid(
                    path.field("labelSelector"),
                    source.at("labelSelector").clone(),
                    "labelSelector must be unset if name is specified",
                ));
            }
        }
        (false, true) => {
            let name = source.text("signerName");
            let field = path.field("signerName");
            if name.is_empty() {
                errors.push(FieldError::required(field, "must be a valid signer name"));
            }
            signer::name(name, &field, errors);
            let selector = path.field("labelSelector");
            label_selector(source.at("labelSelector"), &selector, errors);
        }
        (false, false) => {
            let wrong = "either name or signerName must be specified";
            errors.push(FieldError::required(path, wrong));
        }
    }
    let target = required(source, "path", path, errors);
    unreserved_path(target, &path.field("path"), errors);
}

fn certificate<'a>(
    source: &'a Value,
    own: &Path<'_>,
    taken: &mut Taken<'a>,
    volume: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let signer = source.text("signerName");
    signer::name(signer, &own.field("signerName"), errors);
    let annotations = own.field("userAnnotations");
    for (key, _) in source.pairs("userAnnotations") {
        prefixed_key(&key.to_lowercase(), &annotations, errors);
    }
    if meta::too_large(source.at("userAnnotations")) {
        errors.push(FieldError::too_long(annotations, meta::ANNOTATIONS_MAX));
    }
    let kinds = [
        "RSA3072",
        "RSA4096",
        "ECDSAP256",
        "ECDSAP384",
        "ECDSAP521",
        "ED25519",
    ];
    let kind = source.text("keyType");
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(
            own.field("keyType"),
            kind,
            &kinds,
        ));
    }
    if let Some(seconds) = source.int("maxExpirationSeconds") {
        let field = own.field("maxExpirationSeconds");
        if seconds < 3600 {
            let wrong = "if provided, maxExpirationSeconds must be >= 3600";
            errors.push(FieldError::invalid(field, seconds, wrong));
        }
        let max = if signer::is_kubernetes(signer) {
            DAY
        } else {
            91 * DAY
        };
        if seconds > max {
            let wrong = format!("if provided, maxExpirationSeconds must be <= {max}");
            errors.push(FieldError::invalid(field, seconds, wrong));
        }
    }
    let mut paths = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let target = source.text(field);
        if !target.is_empty() {
            paths += 1;
            unreserved_path(target, &own.field(field), errors);
            taken.take(target, target, volume, errors);
        }
    }
    if paths == 0 {
        let wrong =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(own, wrong));
    }
}

/// A key that must have a domain before it: `acme.io/foo`.
pub fn prefixed_key(key: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if key.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let bad = names::qualified_name(key);
    if bad.is_empty() && !key.contains('/') {
        let wrong = "must be a domain-prefixed key (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(path, key, wrong));
    }
    wrongs(key, bad, path, errors);
}
