//! CertificateSigningRequests.

use api::object::Object;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME,
        OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_POSTAL_CODE,
        OID_X509_SERIALNUMBER, OID_X509_STATE_OR_PROVINCE_NAME, OID_X509_STREET_ADDRESS, Oid,
    },
    pem::parse_x509_pem,
    prelude::FromDer,
};

use super::{
    Layout,
    page::{Page, Row, joined},
};

/// How CertificateSigningRequests are described.
pub const REQUEST: Layout = Layout::new(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Line("Labels", |r| joined(r.at("metadata.labels"))),
        Row::Line("Annotations", |r| joined(r.at("metadata.annotations"))),
        Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
        Row::Field("Requesting User", "spec.username"),
        Row::Given("Signer", "spec.signerName"),
        Row::GivenLine("Requested Duration", |r| {
            r.int("spec.expirationSeconds").map(api::duration::human)
        }),
        Row::Line("Status", status),
        Row::Part(request),
    ],
);

fn status(request: &Value) -> String {
    let has = |kind: &str| {
        request
            .list("status.conditions")
            .iter()
            .any(|c| c.text("type") == kind)
    };
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_string();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !request.text("status.certificate").is_empty() {
        status.push_str(",Issued");
    }
    status
}

/// Who is to be certified, out of the request itself.
fn request(object: &Value, page: &mut Page) {
    let pem = BASE64_STANDARD
        .decode(object.text("spec.request"))
        .unwrap_or_default();
    let Ok((_, pem)) = parse_x509_pem(&pem) else {
        page.line(
            0,
            "Error parsing CSR: PEM block type must be CERTIFICATE REQUEST",
        );
        return;
    };
    let Ok((_, csr)) = X509CertificationRequest::from_der(&pem.contents) else {
        page.line(0, "Error parsing CSR: it is no certificate request");
        return;
    };
    let subject = &csr.certification_request_info.subject;
    let of = |oid: &Oid<'_>| -> Vec<String> {
        let attributes = subject.iter_by_oid(oid);
        attributes
            .filter_map(|a| a.as_str().ok().map(str::to_string))
            .collect()
    };
    page.line(0, "Subject:");
    for (title, oid) in [
        ("Common Name", OID_X509_COMMON_NAME),
        ("Serial Number", OID_X509_SERIALNUMBER),
    ] {
        let text = of(&oid).pop().unwrap_or_default();
        page.field(0, &format!("\t{title}"), text);
    }
    for (title, oid) in [
        ("Organization", OID_X509_ORGANIZATION_NAME),
        ("Organizational Unit", OID_X509_ORGANIZATIONAL_UNIT),
        ("Country", OID_X509_COUNTRY_NAME),
        ("Locality", OID_X509_LOCALITY_NAME),
        ("Province", OID_X509_STATE_OR_PROVINCE_NAME),
        ("StreetAddress", OID_X509_STREET_ADDRESS),
        ("PostalCode", OID_X509_POSTAL_CODE),
    ] {
        list(title, &of(&oid), page);
    }
    let mut names: [Vec<String>; 4] = Default::default();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(all) = extension else {
            continue;
        };
        for name in &all.general_names {
            match name {
                GeneralName::DNSName(name) => names[0].push((*name).to_string()),
                GeneralName::RFC822Name(name) => names[1].push((*name).to_string()),
                GeneralName::URI(name) => names[2].push((*name).to_string()),
                GeneralName::IPAddress(bytes) => names[3].extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.iter().all(Vec::is_empty) {
        return;
    }
    page.line(0, "Subject Alternative Names:");
    let titles = ["DNS Names", "Email Addresses", "URIs", "IP Addresses"];
    for (title, names) in titles.iter().zip(&names) {
        list(title, names, page);
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

fn list(title: &str, values: &[String], page: &mut Page) {
    if !values.is_empty() {
        page.field(0, &format!("\t{title}"), values.join("\n\t\t"));
    }
}
