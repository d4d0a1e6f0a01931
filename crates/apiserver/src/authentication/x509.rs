//! Client certificates: common name is the user, organizations are the groups. TLS has verified the
//! chain before this looks at it.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::UserInfo;

/// The user a verified certificate stands for; none without a common name.
pub fn user(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject
        .iter_common_name()
        .find_map(|n| n.as_str().ok())?
        .to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .map(str::to_owned)
        .collect();
    (!name.is_empty()).then(|| {
        UserInfo {
            name,
            groups,
            ..UserInfo::default()
        }
        .authenticated()
    })
}
