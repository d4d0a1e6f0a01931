//! What a certificate request asks for, and whether a kubelet may ask for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING};

/// A PKCS #10 request, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub hosts: usize,
    /// Of those, names.
    pub names: Vec<String>,
    /// Of those, addresses.
    pub addresses: Vec<IpAddr>,
    /// Addresses of people and URIs, which no certificate here has.
    pub strange_names: usize,
}

/// Reads the PEM in the request.
pub(super) fn read(request: &CertificateSigningRequest) -> Result<Asked, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(&request.spec.request.0)
        .map_err(|error| format!("the request is not PEM: {error}"))?;
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents)
        .map_err(|error| format!("the request is not a PKCS #10 request: {error}"))?;
    parsed
        .verify_signature()
        .map_err(|error| format!("the request is not signed by its own key: {error}"))?;
    let subject = &parsed.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        value.as_str().map(str::to_owned).unwrap_or_default()
    };
    let mut asked = Asked {
        common_name: subject
            .iter_common_name()
            .next()
            .map(text)
            .unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Asked::default()
    };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    asked.hosts += 1;
                    asked.names.push((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    asked.hosts += 1;
                    asked.addresses.extend(address(bytes));
                }
                _ => asked.strange_names += 1,
            }
        }
    }
    Ok(asked)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn usages(spec: &CertificateSigningRequestSpec) -> BTreeSet<&str> {
    spec.usages
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|usage| *usage != "key encipherment")
        .collect()
}

fn is_node(asked: &Asked) -> bool {
    asked.organizations == ["system:nodes"]
        && asked.common_name.starts_with("system:node:")
        && asked.strange_names == 0
}

/// Why the signer does not sign this; none if it does.
pub(super) fn objection(spec: &CertificateSigningRequestSpec, asked: &Asked) -> Option<String> {
    let usages = usages(spec);
    if spec.signer_name == CLIENT {
        const FIT: [&str; 2] = ["digital signature", "client auth"];
        if let Some(other) = usages.iter().find(|usage| !FIT.contains(usage)) {
            return Some(format!("invalid usage for client certificate: {other}"));
        }
    }
    let why = match spec.signer_name.as_str() {
        KUBELET_CLIENT if !is_node(asked) || asked.hosts > 0 => {
            Some("not the request of a kubelet for a client certificate")
        }
        KUBELET_CLIENT if usages != BTreeSet::from(["digital signature", "client auth"]) => {
            Some("usages did not match [client auth digital signature]")
        }
        KUBELET_SERVING if !is_node(asked) || asked.hosts == 0 => {
            Some("not the request of a kubelet for a serving certificate")
        }
        KUBELET_SERVING if usages != BTreeSet::from(["digital signature", "server auth"]) => {
            Some("usages did not match [digital signature server auth]")
        }
        CLIENT if !usages.contains("client auth") => {
            Some("missing required usage for client certificate: client auth")
        }
        CLIENT
            if asked
                .organizations
                .iter()
                .any(|group| group == "system:masters") =>
        {
            Some("the group system:masters is not given out")
        }
        _ => None,
    };
    why.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_get_what_is_theirs() {
        let node = Asked {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Asked::default()
        };
        let serving = Asked {
            hosts: 2,
            ..node.clone()
        };
        let other = Asked {
            organizations: vec!["system:masters".into()],
            ..node.clone()
        };
        let cases = [
            (
                KUBELET_CLIENT,
                vec!["digital signature", "key encipherment", "client auth"],
                &node,
                true,
            ),
            (
                KUBELET_CLIENT,
                vec!["digital signature", "client auth"],
                &node,
                true,
            ),
            (
                KUBELET_CLIENT,
                vec!["digital signature", "client auth", "server auth"],
                &node,
                false,
            ),
            (
                KUBELET_CLIENT,
                vec!["digital signature", "client auth"],
                &serving,
                false,
            ),
            (
                KUBELET_CLIENT,
                vec!["digital signature", "client auth"],
                &other,
                false,
            ),
            (
                KUBELET_SERVING,
                vec!["digital signature", "server auth"],
                &serving,
                true,
            ),
            (
                KUBELET_SERVING,
                vec!["digital signature", "server auth"],
                &node,
                false,
            ),
            (CLIENT, vec!["client auth"], &node, true),
            (CLIENT, vec!["client auth"], &other, false),
            (CLIENT, vec!["server auth"], &node, false),
            (CLIENT, vec!["key encipherment"], &node, false),
            (CLIENT, vec!["client auth", "server auth"], &node, false),
            (
                CLIENT,
                vec!["client auth", "key encipherment", "digital signature"],
                &node,
                true,
            ),
        ];
        for (signer, usages, asked, expected) in cases {
            let spec = CertificateSigningRequestSpec {
                signer_name: signer.to_owned(),
                usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
                ..CertificateSigningRequestSpec::default()
            };
            assert_eq!(
                objection(&spec, asked).is_none(),
                expected,
                "{signer} {usages:?} {asked:?}"
            );
        }
    }
}
