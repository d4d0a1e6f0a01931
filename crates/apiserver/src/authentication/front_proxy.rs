//! Requests that an authenticating proxy in front (another server's aggregator, say) passes on in the
//! name of their users: the proxy shows a certificate of the front-proxy CA, headers name the user.

use std::sync::Arc;

use http::HeaderMap;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{UserInfo, x509};
use crate::aggregation::forward::{EXTRA, GROUPS, NAME, UID};
use crate::request::info::percent_decode;

/// The common name of certificates that may speak for others.
pub const ALLOWED: &str = "front-proxy-client";

/// Who may speak for others.
pub struct FrontProxy {
    verifier: Arc<dyn ClientCertVerifier>,
}

/// What a client certificate is to the front proxy's authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another authority's: it stands for its own subject.
    Foreign,
    /// The front-proxy authority's, and its bearer may speak for others.
    Proxy,
    /// The front-proxy authority's, for nobody who may: it stands for nobody at all.
    Nobody,
}

impl FrontProxy {
    /// Trusting this authority (PEM); none where it holds no usable certificate.
    pub fn new(ca: &str) -> Option<FrontProxy> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.ok()?).ok()?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Some(FrontProxy {
            verifier: verifier.build().ok()?,
        })
    }

    /// What the client's certificates are; TLS has verified them against all authorities together.
    pub fn standing(&self, chain: &[CertificateDer<'_>]) -> Standing {
        let Some((own, others)) = chain.split_first() else {
            return Standing::Foreign;
        };
        let now = UnixTime::now();
        match self.verifier.verify_client_cert(own, others, now) {
            Err(_) => Standing::Foreign,
            Ok(_) if x509::user(own).is_some_and(|user| user.name == ALLOWED) => Standing::Proxy,
            Ok(_) => Standing::Nobody,
        }
    }
}

/// The user that the headers name; none where they name none.
pub fn user(headers: &HeaderMap) -> Option<UserInfo> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let name = text(NAME);
    if name.is_empty() {
        return None;
    }
    let mut user = UserInfo {
        name: name.to_owned(),
        uid: text(UID).to_owned(),
        ..UserInfo::default()
    };
    let groups = headers.get_all(GROUPS).iter();
    user.groups = groups
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA)
            && let Ok(value) = value.to_str()
        {
            let held = user.extra.entry(percent_decode(key)).or_default();
            held.push(value.to_owned());
        }
    }
    Some(user.authenticated())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    #[test]
    fn only_the_proxys_own_certificate_speaks_for_others() {
        let now = jiff::Timestamp::now();
        let (front, cluster) = (
            Authority::generate("front", now).unwrap(),
            Authority::generate("cluster", now).unwrap(),
        );
        let proxy = FrontProxy::new(front.certificate_pem()).unwrap();
        for (authority, name, expected) in [
            (&front, ALLOWED, Standing::Proxy),
            (&front, "kubernetes-admin", Standing::Nobody),
            (&cluster, ALLOWED, Standing::Foreign),
        ] {
            let identity = authority.issue_client(name, &[], now).unwrap();
            let chain = identity.chain().unwrap();
            assert_eq!(proxy.standing(&chain), expected, "{name}");
        }
        assert_eq!(proxy.standing(&[]), Standing::Foreign);
    }

    #[test]
    fn headers_name_the_user() {
        let mut headers = HeaderMap::new();
        assert_eq!(user(&headers), None);
        headers.insert("x-remote-user", "jane".parse().unwrap());
        headers.append("x-remote-group", "a".parse().unwrap());
        headers.append("x-remote-group", "b".parse().unwrap());
        headers.insert("x-remote-extra-example.com%2fscopes", "x".parse().unwrap());
        let found = user(&headers).unwrap();
        assert_eq!(found.name, "jane");
        assert_eq!(found.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(found.extra["example.com/scopes"], ["x"]);
    }
}
