//! IP addresses and CIDRs. Fields from before the forms were strict may hold IPv4 with leading zeros,
//! which `sloppy` reads as decimal, IPv4 within IPv6, and CIDRs with bits beyond their length; such
//! values stay, but new ones are refused. The strict checks are for fields that never took those,
//! and want the one canonical form.

use std::net::{IpAddr, Ipv4Addr};

use schema::{Path, field_error::FieldError};

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const LEADING_ZEROS: &str = "must not have leading 0s";
const MAPPED: &str = "must not be an IPv4-mapped IPv6 address";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const INTERFACE: &str =
    "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";

/// An address, also in the forms that were never right.
pub fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(plain(address));
    }
    if text.contains(':') {
        return None;
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() {
            0
        } else {
            digits.parse().ok()?
        };
    }
    parts
        .next()
        .is_none()
        .then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// IPv4 within IPv6 is IPv4.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some())
}

/// Is this IPv6?
pub fn is_v6(text: &str) -> bool {
    sloppy(text).is_some_and(|address| address.is_ipv6())
}

/// An address that is not ambiguous, for a field of old; it may be written in more ways than one.
pub fn ip(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let wrong = match (sloppy(text), text.parse::<IpAddr>()) {
        (None, _) => IP,
        (_, Err(_)) => LEADING_ZEROS,
        (_, Ok(parsed)) if is_mapped(parsed) => MAPPED,
        _ => return,
    };
    errors.push(FieldError::invalid(path, text, wrong));
}

/// An address in its one right form.
pub fn strict_ip(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(address) = sloppy(text) else {
        errors.push(FieldError::invalid(path, text, IP));
        return;
    };
    let wrong = match text.parse::<IpAddr>() {
        Err(_) => LEADING_ZEROS.to_owned(),
        Ok(parsed) if is_mapped(parsed) => MAPPED.to_owned(),
        Ok(_) if address.to_string() != text => {
            format!("must be in canonical form (\"{address}\")")
        }
        Ok(_) => return,
    };
    errors.push(FieldError::invalid(path, text, wrong));
}

/// A range of addresses: the address as written, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// As written.
    pub address: IpAddr,
    /// How many bits count.
    pub length: u8,
}

impl Range {
    /// From text, also in the forms that were never right.
    pub fn sloppy(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let parsed = sloppy(address)?;
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut length: u8 = length.parse().ok()?;
        let written_bits = if address.contains(':') { 128 } else { 32 };
        if length > written_bits {
            return None;
        }
        if written_bits == 128 && parsed.is_ipv4() {
            length = length.checked_sub(96)?;
        }
        Some(Range {
            address: parsed,
            length,
        })
    }

    /// Without the bits beyond the prefix.
    pub fn network(self) -> Self {
        let net = ipnet::IpNet::new(self.address, self.length);
        Range {
            address: net.map_or(self.address, |net| net.network()),
            ..self
        }
    }

    /// Does this range hold the address?
    pub fn holds(self, address: IpAddr) -> bool {
        ipnet::IpNet::new(self.address, self.length).is_ok_and(|net| net.contains(&address))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A CIDR that is not ambiguous, for a field of old; it may be written in more ways than one.
pub fn cidr(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) -> Option<Range> {
    let range = Range::sloppy(text);
    match &range {
        None => errors.push(FieldError::invalid(path, text, CIDR)),
        Some(range) => {
            if let Some(wrong) = ambiguous(text, *range) {
                errors.push(FieldError::invalid(path, text, wrong));
            }
        }
    }
    range
}

/// Why not all read the same in a CIDR.
fn ambiguous(text: &str, range: Range) -> Option<&'static str> {
    let written = text.split_once('/').map_or(text, |(address, _)| address);
    if !is_exact(text) {
        Some("must not have leading 0s in IP or prefix length")
    } else if written.parse().is_ok_and(is_mapped) {
        Some("must not have an IPv4-mapped IPv6 address")
    } else if range.network() != range {
        Some("must not have bits set beyond the prefix length")
    } else {
        None
    }
}

/// Is the text written without leading zeros?
fn is_exact(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    address.parse::<IpAddr>().is_ok() && (length == "0" || !length.starts_with('0'))
}

/// A CIDR in its one right form.
pub fn strict_cidr(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(range) = Range::sloppy(text) else {
        errors.push(FieldError::invalid(path, text, CIDR));
        return;
    };
    let network = range.network();
    let wrong = match ambiguous(text, range) {
        Some(wrong) => wrong.to_owned(),
        None if network.to_string() != text => {
            format!("must be in canonical form (\"{network}\")")
        }
        None => return,
    };
    errors.push(FieldError::invalid(path, text, wrong));
}

/// An interface's address with the length of its prefix, in its one right form.
pub fn interface(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match Range::sloppy(text) {
        None => errors.push(FieldError::invalid(path, text, INTERFACE)),
        Some(range) if range.to_string() != text => {
            let wrong = format!("must be in canonical form (\"{range}\")");
            errors.push(FieldError::invalid(path, text, wrong));
        }
        Some(_) => {}
    }
}

/// What the form of an address is warned of.
pub fn ip_warnings(text: &str, path: &str, warnings: &mut Vec<String>) {
    let Some(address) = sloppy(text) else {
        return;
    };
    match text.parse::<IpAddr>() {
        Ok(parsed) if !is_mapped(parsed) => {
            if parsed.is_ipv6() && parsed.to_string() != text {
                warnings.push(format!("{path}: IPv6 address \"{text}\" should be in RFC 5952 canonical format (\"{parsed}\")"));
            }
        }
        _ => warnings.push(format!(
            "{path}: non-standard IP address \"{text}\" is invalid: use \"{address}\""
        )),
    }
}

/// What the form of a CIDR is warned of.
pub fn cidr_warnings(text: &str, path: &str, warnings: &mut Vec<String>) {
    let Some(range) = Range::sloppy(text) else {
        return;
    };
    let network = range.network();
    let before = warnings.len();
    if network != range {
        let alone = Range {
            length: if range.address.is_ipv4() { 32 } else { 128 },
            ..range
        };
        warnings.push(format!("{path}: CIDR value \"{text}\" is ambiguous in this context (should be \"{network}\" or \"{alone}\"?)"));
    }
    let written = text.split_once('/').map_or(text, |(address, _)| address);
    if !is_exact(text) || written.parse().is_ok_and(is_mapped) {
        warnings.push(format!(
            "{path}: non-standard CIDR value \"{text}\" is invalid: use \"{network}\""
        ));
    }
    if warnings.len() == before && range.address.is_ipv6() && range.to_string() != text {
        warnings.push(format!("{path}: IPv6 CIDR value \"{text}\" should be in RFC 5952 canonical format (\"{range}\")"));
    }
}
