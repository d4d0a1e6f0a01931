//! Who may have certificates approved, signed and attested: CertificateApproval, CertificateSigning,
//! CertificateSubjectRestriction and ClusterTrustBundleAttest. Beside the right to write the object it
//! takes one on the signer (`approve`, `sign`, `attest` on `signers`), by its name or its whole domain.

use api::meta;
use api::object::Object;
use api::status::Status;
use base64::Engine;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Admission, Operation, Plugin};
use crate::authentication::MASTERS;
use crate::authorization::{Attributes, Decision};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// See the module.
pub struct Certificates;

impl Plugin for Certificates {
    fn name(&self) -> &'static str {
        "Certificates"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let why = if admission.of(GROUP, REQUESTS) {
            request(admission, object, old)
        } else if admission.of(GROUP, "clustertrustbundles") {
            bundle(admission, object, old)
        } else {
            Ok(())
        };
        why.map_err(|why| admission.forbid(object, why))
    }
}

fn request(admission: &Admission<'_>, object: &Value, old: Option<&Value>) -> Result<(), String> {
    match (admission.operation, admission.subresource, old) {
        (Operation::Create, "", _) => restrict_subject(object),
        (Operation::Update, "approval", Some(old)) => {
            signer(admission, "approve", old, "approve requests with")
        }
        (Operation::Update, "status", Some(old)) => {
            let same = ["status.certificate", "status.conditions"]
                .iter()
                .all(|path| old.at(path) == object.at(path));
            if same {
                Ok(())
            } else {
                signer(admission, "sign", old, "sign requests with")
            }
        }
        _ => Ok(()),
    }
}

fn bundle(admission: &Admission<'_>, object: &Value, old: Option<&Value>) -> Result<(), String> {
    let written = matches!(admission.operation, Operation::Create | Operation::Update);
    if !written || object.text("spec.signerName").is_empty() {
        return Ok(());
    }
    // Owners and finalizers are the garbage collector's.
    if old.is_some_and(|old| old.at("spec") == object.at("spec") && same_metadata(old, object)) {
        return Ok(());
    }
    signer(admission, "attest", object, "attest for")
}

fn same_metadata(old: &Value, object: &Value) -> bool {
    let mut seen = [old.at("metadata").clone(), object.at("metadata").clone()];
    for metadata in &mut seen {
        let map = meta::map_mut(metadata);
        for field in [
            "ownerReferences",
            "finalizers",
            "managedFields",
            "resourceVersion",
        ] {
            map.remove(field);
        }
    }
    seen[0] == seen[1]
}

/// May the user do this with the object's signer?
fn signer(admission: &Admission<'_>, verb: &str, object: &Value, what: &str) -> Result<(), String> {
    let name = object.text("spec.signerName");
    let domain = name.split('/').next().unwrap_or_default();
    let allowed = |name: &str| {
        let attributes = Attributes {
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            ..Attributes::of(admission.user())
        };
        let decision = admission.call.server.authorizer.decide(&attributes);
        matches!(decision, Decision::Allow(_))
    };
    if allowed(name) || allowed(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(format!("user not permitted to {what} signerName {name:?}"))
}

/// Nobody becomes a member of `system:masters` by certificate.
fn restrict_subject(object: &Value) -> Result<(), String> {
    if object.text("spec.signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let failed = |why: &dyn std::fmt::Display| format!("failed to parse CSR: {why}");
    let pem = base64::engine::general_purpose::STANDARD
        .decode(object.text("spec.request"))
        .map_err(|e| failed(&e))?;
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).map_err(|e| failed(&e))?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|e| failed(&e))?;
    let subject = &parsed.certification_request_info.subject;
    if subject
        .iter_organization()
        .any(|organization| organization.as_str() == Ok(MASTERS))
    {
        return Err(format!(
            "use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
        ));
    }
    Ok(())
}
