//! The group certificates.k8s.io.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{immutable, required},
};

/// What CertificateSigningRequests do specially. Who asks is written in by the API server.
pub struct SigningRequest;

impl Strategy for SigningRequest {
    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        match part {
            // A request never changes.
            Part::Main => object.restore("spec", old),
            Part::Sub("approval") => {
                let conditions = object.at("status.conditions").clone();
                object.restore("spec", old);
                object.restore("status", old);
                if !conditions.is_null() {
                    object.set("status.conditions", conditions);
                }
            }
            Part::Status => {
                // Approval has a door of its own.
                let keep =
                    |condition: &&Value| matches!(condition.text("type"), "Approved" | "Denied");
                let decided: Vec<Value> = old
                    .list("status.conditions")
                    .iter()
                    .filter(keep)
                    .cloned()
                    .collect();
                let own = object
                    .list("status.conditions")
                    .iter()
                    .filter(|condition| !keep(condition));
                let conditions: Vec<Value> = decided.into_iter().chain(own.cloned()).collect();
                if !conditions.is_empty() {
                    object.set("status.conditions", conditions);
                }
            }
            Part::Sub(_) => {}
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        required(spec, "request", &path, errors);
        if spec.list("usages").is_empty() {
            errors.push(FieldError::required(path.field("usages"), ""));
        }
        let signer = required(spec, "signerName", &path, errors);
        if !signer.is_empty()
            && signer
                .split_once('/')
                .is_none_or(|(domain, name)| domain.is_empty() || name.is_empty())
        {
            let wrong =
                "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid(path.field("signerName"), signer, wrong));
        }
        if let Some(seconds) = spec
            .int("expirationSeconds")
            .filter(|seconds| *seconds < 600)
        {
            let wrong = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(
                path.field("expirationSeconds"),
                seconds,
                wrong,
            ));
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let status = Path::ROOT.field("status");
        let has = |kind: &str| {
            object
                .list("status.conditions")
                .iter()
                .any(|condition| condition.text("type") == kind)
        };
        if has("Approved") && has("Denied") {
            let wrong = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(
                status.field("conditions"),
                "Denied",
                wrong,
            ));
        }
        if part == Part::Status && !old.text("status.certificate").is_empty() {
            immutable(
                object.at("status"),
                old.at("status"),
                "certificate",
                &status,
                errors,
            );
        }
    }

    fn validate_name(&self, _name: &str, _prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
}

/// Everything wrong with a ClusterTrustBundle.
pub fn validate_bundle(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    required(object.at("spec"), "trustBundle", &path, errors);
    let signer = object.text("spec.signerName");
    let name = crate::meta::name(object);
    if signer.is_empty() {
        if name.contains(':') {
            let wrong = "ClusterTrustBundle without signer name must not have \":\" in its name";
            errors.push(FieldError::invalid("metadata.name", name, wrong));
        }
    } else if !name.starts_with(&format!("{}:", signer.replace('/', ":"))) {
        let wrong = format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {}:",
            signer.replace('/', ":")
        );
        errors.push(FieldError::invalid("metadata.name", name, wrong));
    }
}

/// What of a ClusterTrustBundle may not change.
pub fn update_bundle(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(
        object.at("spec"),
        old.at("spec"),
        "signerName",
        &Path::ROOT.field("spec"),
        errors,
    );
}
