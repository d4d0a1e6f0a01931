//! Who asks for a certificate is who sent the request, whatever the request says: approvers trust
//! `spec.username` and its siblings. Afterwards nobody changes what was asked for.

use serde_json::{Value, json};

use api::object::Object;
use api::status::Status;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct CertificateIdentity;

impl Plugin for CertificateIdentity {
    fn name(&self) -> &'static str {
        "CertificateIdentity"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        request: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        match (admission.operation, old) {
            (Operation::Create, _) => {
                let user = admission.user();
                let spec = &mut request["spec"];
                for field in ["username", "uid", "groups", "extra"] {
                    if let Some(spec) = spec.as_object_mut() {
                        spec.remove(field);
                    }
                }
                if !spec.is_object() {
                    // Validation says what is missing.
                    return Ok(());
                }
                spec["username"] = json!(user.name);
                spec["groups"] = json!(user.groups);
                if !user.uid.is_empty() {
                    spec["uid"] = json!(user.uid);
                }
                if !user.extra.is_empty() {
                    spec["extra"] = json!(user.extra);
                }
            }
            (Operation::Update, Some(old)) => request.restore("spec", old),
            _ => {}
        }
        Ok(())
    }
}
