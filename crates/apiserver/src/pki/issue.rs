//! The certificate authority, and what it signs.

use std::net::IpAddr;
use std::path::Path;

use jiff::civil::Date;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Identity, PkiError};

const CA_YEARS: i64 = 10;
const LEAF_YEARS: i64 = 1;

/// A certificate authority that can sign.
pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

pub(super) fn new_key(subject: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue_error(subject))
}

fn issue_error(subject: &str) -> impl FnOnce(rcgen::Error) -> PkiError + '_ {
    move |e| PkiError::Issue {
        subject: subject.to_owned(),
        reason: e.to_string(),
    }
}

/// Validity from the day before `now` (clocks differ) over `years`.
fn valid(params: &mut CertificateParams, now: Timestamp, years: i64) {
    let day =
        |date: Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    let today = now.to_zoned(TimeZone::UTC).date();
    params.not_before = day(today.saturating_sub(Span::new().days(1)));
    params.not_after = day(today.saturating_add(Span::new().years(years)));
}

impl Authority {
    /// A new authority of this name.
    pub fn generate(cn: &str, now: Timestamp) -> Result<Authority, PkiError> {
        let key = new_key(cn)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        valid(&mut params, now, CA_YEARS);
        let certificate = params.self_signed(&key).map_err(issue_error(cn))?.pem();
        let key_pem = key.serialize_pem();
        Ok(Authority {
            certificate,
            key: key_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority whose certificate and key are given.
    pub fn load(
        cert_path: &Path,
        certificate: &str,
        key_path: &Path,
        key: &str,
    ) -> Result<Authority, PkiError> {
        let malformed = |path: &Path, what| {
            let path = path.to_owned();
            move |e: rcgen::Error| PkiError::Malformed {
                path,
                what,
                reason: e.to_string(),
            }
        };
        let pair = KeyPair::from_pem(key).map_err(malformed(key_path, "a PKCS #8 key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair)
            .map_err(malformed(cert_path, "a CA certificate"))?;
        Ok(Authority {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            issuer,
        })
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The private key, PEM.
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// A client certificate for `cn` in the groups `orgs` (at most two).
    pub fn issue_client(
        &self,
        cn: &str,
        orgs: &[&str],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        self.issue(cn, orgs, &[], ExtendedKeyUsagePurpose::ClientAuth, now)
    }

    /// A serving certificate for `cn`; `sans` are DNS names or addresses.
    pub fn issue_server(
        &self,
        cn: &str,
        sans: &[String],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        self.issue(cn, &[], sans, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    fn issue(
        &self,
        cn: &str,
        orgs: &[&str],
        sans: &[String],
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let key = new_key(cn)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // The library keeps one value per attribute type; the second organization goes in under
        // the numeric form of the same type.
        match orgs {
            [] => {}
            [one] => params
                .distinguished_name
                .push(DnType::OrganizationName, *one),
            [one, two] => {
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, *one);
                params
                    .distinguished_name
                    .push(DnType::CustomDnType(vec![2, 5, 4, 10]), *two);
            }
            _ => {
                return Err(PkiError::Issue {
                    subject: cn.to_owned(),
                    reason: "more than two organizations".to_owned(),
                });
            }
        }
        params.distinguished_name.push(DnType::CommonName, cn);
        for san in sans {
            params.subject_alt_names.push(match san.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(san.as_str().try_into().map_err(issue_error(cn))?),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_YEARS);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(issue_error(cn))?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn der(pem: &str) -> Option<rustls_pki_types::CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

/// The certificate has begun and does not end within `days`.
pub(super) fn lasts(pem: &str, now: Timestamp, days: i64) -> bool {
    let Some(der) = der(pem) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return false;
    };
    let validity = certificate.validity();
    let now = now.as_second();
    validity.not_before.timestamp() <= now && validity.not_after.timestamp() > now + days * 86_400
}

/// The certificate names all of `sans`.
pub(super) fn covers(pem: &str, sans: &[String]) -> bool {
    if sans.is_empty() {
        return true;
    }
    let Some(der) = der(pem) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return false;
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    let named: Vec<String> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => <[u8; 4]>::try_from(*octets)
                    .ok()
                    .map(|o| IpAddr::from(o).to_string()),
                16 => <[u8; 16]>::try_from(*octets)
                    .ok()
                    .map(|o| IpAddr::from(o).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    sans.iter().all(|san| named.contains(san))
}

/// The certificate's issuer is the subject of `ca`, and its key identifier agrees.
pub(super) fn signed_by(pem: &str, ca: &str) -> bool {
    let (Some(leaf), Some(ca)) = (der(pem), der(ca)) else {
        return false;
    };
    match (
        X509Certificate::from_der(&leaf),
        X509Certificate::from_der(&ca),
    ) {
        (Ok((_, leaf)), Ok((_, ca))) => {
            leaf.issuer() == ca.subject() && authority_key(&leaf) == subject_key(&ca)
        }
        _ => false,
    }
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    use x509_parser::extensions::ParsedExtension;
    certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|k| k.0.to_vec())
            }
            _ => None,
        })
}

fn subject_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    use x509_parser::extensions::ParsedExtension;
    certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
}
