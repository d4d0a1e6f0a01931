//! Values that only functions look into: addresses, quantities, versions, authorizers.

use std::{fmt, net::IpAddr, sync::Arc};

use api::quantity::Quantity;

use crate::{
    authorizer::{Check, Decision, Subject},
    functions::{format::NamedFormat, ip::Cidr, semver::Version, url::Url},
    types::Opaque,
};

/// What an opaque value holds.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum OpaqueValue<'a> {
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Url),
    Quantity(Quantity),
    Semver(Version),
    NamedFormat(&'static NamedFormat),
    /// Whom to ask, and about whom.
    Authorizer(Subject<'a>),
    PathCheck(Subject<'a>, Arc<str>),
    GroupCheck(Subject<'a>, Arc<str>),
    ResourceCheck(Subject<'a>, Check),
    Decision(Decision),
}

impl OpaqueValue<'_> {
    /// Which kind it is.
    pub fn kind(&self) -> Opaque {
        match self {
            OpaqueValue::Ip(_) => Opaque::Ip,
            OpaqueValue::Cidr(_) => Opaque::Cidr,
            OpaqueValue::Url(_) => Opaque::Url,
            OpaqueValue::Quantity(_) => Opaque::Quantity,
            OpaqueValue::Semver(_) => Opaque::Semver,
            OpaqueValue::NamedFormat(_) => Opaque::NamedFormat,
            OpaqueValue::Authorizer(_) => Opaque::Authorizer,
            OpaqueValue::PathCheck(..) => Opaque::PathCheck,
            OpaqueValue::GroupCheck(..) => Opaque::GroupCheck,
            OpaqueValue::ResourceCheck(..) => Opaque::ResourceCheck,
            OpaqueValue::Decision(_) => Opaque::Decision,
        }
    }

    /// Bytes of an address or prefix; one for anything else.
    pub(crate) fn size(&self) -> u64 {
        match self {
            OpaqueValue::Ip(IpAddr::V4(_)) => 4,
            OpaqueValue::Ip(IpAddr::V6(_)) => 16,
            OpaqueValue::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }

    /// Equal to another of its kind; none where the kinds differ or have no equality.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (OpaqueValue::Ip(a), OpaqueValue::Ip(b)) => a == b,
            (OpaqueValue::Cidr(a), OpaqueValue::Cidr(b)) => a == b,
            (OpaqueValue::Url(a), OpaqueValue::Url(b)) => a.text == b.text,
            (OpaqueValue::Quantity(a), OpaqueValue::Quantity(b)) => a == b,
            (OpaqueValue::Semver(a), OpaqueValue::Semver(b)) => {
                a.precedence(b) == std::cmp::Ordering::Equal
            }
            (OpaqueValue::NamedFormat(a), OpaqueValue::NamedFormat(b)) => a.name == b.name,
            _ => return None,
        })
    }
}

impl fmt::Display for OpaqueValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpaqueValue::Ip(ip) => write!(f, "{ip}"),
            OpaqueValue::Cidr(cidr) => write!(f, "{cidr}"),
            OpaqueValue::Url(url) => f.write_str(&url.text),
            OpaqueValue::Quantity(quantity) => write!(f, "{quantity}"),
            OpaqueValue::Semver(version) => write!(f, "{version}"),
            OpaqueValue::NamedFormat(format) => f.write_str(format.name),
            other => f.write_str(other.kind().name()),
        }
    }
}
