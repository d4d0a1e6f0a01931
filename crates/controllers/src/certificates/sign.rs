//! Signs approved requests of the signers that Kubernetes itself defines.

use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::{Key, Scope};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use kube::Api;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, has_condition, is_issued, request};
use crate::error::Error;
use crate::kit::Kit;
use crate::run::Signer;
use crate::write;

/// A certificate's life, unless less is asked for.
const YEAR: i64 = 365 * 24 * 3600;
/// Nobody gets less.
const SHORTEST: i64 = 600;
/// Clocks differ.
const BACKDATE: i64 = 300;

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit, signer: Signer) {
    let authority = KeyPair::from_pem(&signer.key_pem)
        .and_then(|key| Issuer::from_ca_cert_pem(&signer.certificate_pem, key));
    let authority = match authority {
        Ok(authority) => Arc::new(authority),
        Err(error) => {
            tracing::error!(
                "certificate requests are not signed: the signing key cannot be used: {error}"
            );
            kit.shutdown.cancelled().await;
            return;
        }
    };
    let requests = kit.informers.get::<CertificateSigningRequest>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&requests).await {
        return;
    }
    kit.follow_own(&requests, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, requests, authority) = (inner.clone(), requests.clone(), authority.clone());
        async move {
            let Some(request) = requests.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let ours = [KUBELET_CLIENT, KUBELET_SERVING, CLIENT, LEGACY]
                .contains(&request.spec.signer_name.as_str());
            if !ours
                || is_issued(&request)
                || !has_condition(&request, "Approved")
                || has_condition(&request, "Denied")
                || has_condition(&request, "Failed")
            {
                return Ok(Requeue::OnChange);
            }
            let mut status = request.status.clone().unwrap_or_default();
            match issue(&request, &authority, kit.now()) {
                Ok(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
                Err(why) => status.conditions.get_or_insert_default().push(
                    CertificateSigningRequestCondition {
                        type_: "Failed".to_owned(),
                        status: "True".to_owned(),
                        reason: Some("SignerValidationFailure".to_owned()),
                        message: Some(why),
                        last_update_time: Some(kit.time()),
                        last_transition_time: Some(kit.time()),
                    },
                ),
            }
            let api: Api<CertificateSigningRequest> = Api::all(kit.client.clone());
            write::status(&api, &*request, &request.status, &Some(status)).await?;
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

/// The certificate, or why there is none.
fn issue(
    request: &CertificateSigningRequest,
    authority: &Issuer<'_, KeyPair>,
    now: Timestamp,
) -> Result<String, String> {
    let asked = request::read(request)?;
    if let Some(objection) = request::objection(&request.spec, &asked) {
        return Err(objection);
    }
    let pem = String::from_utf8_lossy(&request.spec.request.0);
    let mut certificate = CertificateSigningRequestParams::from_pem(&pem)
        .map_err(|error| format!("the request cannot be read: {error}"))?;
    let seconds = request
        .spec
        .expiration_seconds
        .map_or(YEAR, |asked| i64::from(asked).clamp(SHORTEST, YEAR));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |second: i64| epoch + Duration::from_secs(second.max(0).unsigned_abs());
    let params = &mut certificate.params;
    params.not_before = at(now.as_second() - BACKDATE);
    params.not_after = at(now.as_second() + seconds);
    params.is_ca = IsCa::ExplicitNoCa;
    (params.key_usages, params.extended_key_usages) = usages(&request.spec);
    params.use_authority_key_identifier_extension = true;
    let signed = certificate
        .signed_by(authority)
        .map_err(|error| format!("signing failed: {error}"))?;
    Ok(signed.pem())
}

fn usages(
    spec: &CertificateSigningRequestSpec,
) -> (Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>) {
    let (mut keys, mut extended) = (Vec::new(), Vec::new());
    for usage in spec.usages.iter().flatten() {
        match usage.as_str() {
            "digital signature" | "signing" => keys.push(KeyUsagePurpose::DigitalSignature),
            "key encipherment" => keys.push(KeyUsagePurpose::KeyEncipherment),
            "key agreement" => keys.push(KeyUsagePurpose::KeyAgreement),
            "data encipherment" => keys.push(KeyUsagePurpose::DataEncipherment),
            "content commitment" => keys.push(KeyUsagePurpose::ContentCommitment),
            "client auth" => extended.push(ExtendedKeyUsagePurpose::ClientAuth),
            "server auth" => extended.push(ExtendedKeyUsagePurpose::ServerAuth),
            "any" => extended.push(ExtendedKeyUsagePurpose::Any),
            "code signing" => extended.push(ExtendedKeyUsagePurpose::CodeSigning),
            "email protection" => extended.push(ExtendedKeyUsagePurpose::EmailProtection),
            "timestamping" => extended.push(ExtendedKeyUsagePurpose::TimeStamping),
            "ocsp signing" => extended.push(ExtendedKeyUsagePurpose::OcspSigning),
            // A leaf signs neither certificates nor lists of revoked ones.
            _ => {}
        }
    }
    (keys, extended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType};
    use x509_parser::prelude::{FromDer, X509Certificate};

    #[test]
    fn a_kubelet_gets_a_certificate_of_its_name_and_time() {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = Issuer::new(ca, key);
        let kubelet = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, "system:node:a");
        let pem = params.serialize_request(&kubelet).unwrap().pem().unwrap();
        let mut request = CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(pem.into_bytes()),
                signer_name: KUBELET_CLIENT.into(),
                usages: Some(vec!["digital signature".into(), "client auth".into()]),
                expiration_seconds: Some(3_600),
                ..CertificateSigningRequestSpec::default()
            },
            ..CertificateSigningRequest::default()
        };
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let issued = issue(&request, &authority, now).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(
            certificate
                .subject()
                .iter_common_name()
                .next()
                .unwrap()
                .as_str(),
            Ok("system:node:a")
        );
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            now.as_second() + 3_600
        );
        let extended = certificate.extended_key_usage().unwrap().unwrap();
        assert!(extended.value.client_auth && !extended.value.server_auth);
        request.spec.usages = Some(vec!["server auth".into()]);
        assert!(issue(&request, &authority, now).is_err());
        request.spec.request = ByteString(b"nonsense".to_vec());
        assert!(
            issue(&request, &authority, now)
                .unwrap_err()
                .contains("not PEM")
        );
    }
}
