//! Names of signers and of the trust bundles that belong to them.

use schema::{Path, field_error::FieldError};

use crate::names;

/// Longest DNS subdomain.
const DOMAIN_MAX: usize = 253;
/// A subdomain, a label and the dot between them.
const PATH_MAX: usize = DOMAIN_MAX + 63 + 1;

/// Does Kubernetes itself keep this signer?
pub fn is_kubernetes(signer: &str) -> bool {
    let host = signer.split_once('/').map_or(signer, |(host, _)| host);
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

/// A signer's name: `example.com/signer-name`.
pub fn name(signer: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if signer.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let segments: Vec<&str> = signer.split('/').collect();
    let [domain, rest] = segments[..] else {
        let wrong =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, signer, wrong));
        return;
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(FieldError::too_long(path, DOMAIN_MAX));
    }
    first_bad(domain, names::dns1123_label, path, errors);
    if !domain.contains('.') {
        let wrong = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, wrong));
    }
    first_bad(rest, names::dns1123_subdomain, path, errors);
    let max = DOMAIN_MAX + PATH_MAX + 1;
    if signer.len() > max {
        errors.push(FieldError::too_long(path, max));
    }
}

/// What is wrong with the first part between dots that is wrong: the others would say the same.
fn first_bad(
    text: &str,
    check: fn(&str) -> Vec<String>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    for label in text.split('.') {
        let wrongs = check(label);
        if wrongs.is_empty() {
            continue;
        }
        for wrong in wrongs {
            let wrong = format!("validating label {label:?}: {wrong}");
            errors.push(FieldError::invalid(path, text, wrong));
        }
        return;
    }
}

/// What is wrong with the name of a trust bundle of this signer (empty: of none).
pub fn bundle_name(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ];
        }
        return names::dns1123_subdomain(name);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns1123_subdomain(rest),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
}

/// The signer that a trust bundle's name tells of; empty where it tells of none.
pub fn of_bundle(name: &str) -> String {
    name.rsplit_once(':')
        .map_or_else(String::new, |(signer, _)| signer.replace(':', "/"))
}
