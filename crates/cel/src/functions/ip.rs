//! Addresses and prefixes, as Go's `net/netip` reads and writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Args, Row};
use crate::value::{Fault, OpaqueValue, Outcome, Value};

pub(super) const IP: &[Row] = &[
    ("ip", "string_to_ip", "(string) -> net.IP", ip),
    ("family", "ip_family", "net.IP.() -> int", family),
    (
        "ip.isCanonical",
        "ip_is_canonical",
        "(string) -> bool",
        is_canonical,
    ),
    (
        "isUnspecified",
        "ip_is_unspecified",
        "net.IP.() -> bool",
        is_unspecified,
    ),
    (
        "isLoopback",
        "ip_is_loopback",
        "net.IP.() -> bool",
        is_loopback,
    ),
    (
        "isLinkLocalMulticast",
        "ip_is_link_local_multicast",
        "net.IP.() -> bool",
        is_link_local_multicast,
    ),
    (
        "isLinkLocalUnicast",
        "ip_is_link_local_unicast",
        "net.IP.() -> bool",
        is_link_local_unicast,
    ),
    (
        "isGlobalUnicast",
        "ip_is_global_unicast",
        "net.IP.() -> bool",
        is_global_unicast,
    ),
    ("isIP", "is_ip", "(string) -> bool", is_ip),
    ("string", "ip_to_string", "(net.IP) -> string", to_string),
];

pub(super) const CIDR: &[Row] = &[
    ("cidr", "string_to_cidr", "(string) -> net.CIDR", cidr),
    (
        "containsIP",
        "cidr_contains_ip_string",
        "net.CIDR.(string) -> bool",
        contains_ip,
    ),
    (
        "containsIP",
        "cidr_contains_ip_ip",
        "net.CIDR.(net.IP) -> bool",
        contains_ip,
    ),
    (
        "containsCIDR",
        "cidr_contains_cidr_string",
        "net.CIDR.(string) -> bool",
        contains_cidr,
    ),
    (
        "containsCIDR",
        "cidr_contains_cidr",
        "net.CIDR.(net.CIDR) -> bool",
        contains_cidr,
    ),
    ("ip", "cidr_ip", "net.CIDR.() -> net.IP", cidr_ip),
    (
        "prefixLength",
        "cidr_prefix_length",
        "net.CIDR.() -> int",
        prefix_length,
    ),
    ("masked", "cidr_masked", "net.CIDR.() -> net.CIDR", masked),
    ("isCIDR", "is_cidr", "(string) -> bool", is_cidr),
    (
        "string",
        "cidr_to_string",
        "(net.CIDR) -> string",
        to_string,
    ),
];

/// An address and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address, as it was given.
    pub address: IpAddr,
    /// The prefix' length.
    pub bits: u8,
}

impl Cidr {
    fn contains(self, address: IpAddr) -> bool {
        masked_address(self.address, self.bits) == masked_address(address, self.bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn masked_address(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(bits.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(bits.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!(
            "IP address {text:?} with zone value is not allowed"
        ));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    if is_mapped(address) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(address)
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let failed = |what: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {what}"
        )
    };
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| failed("no '/'"))?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| failed(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let plain = !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits.len() == 1 || !bits.starts_with('0'));
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits
        .parse::<u8>()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| failed(&format!("bad bits after slash: {bits:?}")))?;
    if bits > most {
        return Err(failed("prefix length out of range"));
    }
    if is_mapped(address) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(Cidr { address, bits })
}

fn address(args: Args<'_, '_>, place: usize) -> Result<IpAddr, Fault> {
    match args.value(place)? {
        Value::String(text) => parse_ip(text.as_str()).map_err(Fault::new),
        _ => match args.opaque(place)? {
            OpaqueValue::Ip(address) => Ok(*address),
            _ => Err(Fault::no_such_overload()),
        },
    }
}

fn prefix(args: Args<'_, '_>, place: usize) -> Result<Cidr, Fault> {
    match args.value(place)? {
        Value::String(text) => parse_cidr(text.as_str()).map_err(|error| {
            Fault::new(format!(
                "network address parse error during conversion from string: {error}"
            ))
        }),
        _ => match args.opaque(place)? {
            OpaqueValue::Cidr(cidr) => Ok(*cidr),
            _ => Err(Fault::no_such_overload()),
        },
    }
}

fn ip<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::opaque(OpaqueValue::Ip(address(args, 0)?)))
}

fn family<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let family = if address(args, 0)?.is_ipv4() { 4 } else { 6 };
    Ok(Value::Int(family))
}

fn is_canonical<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let written = address(args, 0)?.to_string();
    Ok(Value::Bool(written == args.text(0)?))
}

fn is_ip<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(parse_ip(args.text(0)?).is_ok()))
}

fn is_unspecified<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(address(args, 0)?.is_unspecified()))
}

fn is_loopback<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(address(args, 0)?.is_loopback()))
}

fn link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [224, 0, 0, _]),
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(link_local_multicast(address(args, 0)?)))
}

fn is_link_local_unicast<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(link_local_unicast(address(args, 0)?)))
}

fn is_global_unicast<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let address = address(args, 0)?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    Ok(Value::Bool(
        !broadcast
            && !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !link_local_unicast(address),
    ))
}

fn cidr<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::opaque(OpaqueValue::Cidr(prefix(args, 0)?)))
}

fn is_cidr<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(parse_cidr(args.text(0)?).is_ok()))
}

fn contains_ip<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (cidr, address) = (prefix(args, 0)?, address(args, 1)?);
    Ok(Value::Bool(
        cidr.address.is_ipv4() == address.is_ipv4() && cidr.contains(address),
    ))
}

fn contains_cidr<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (outer, inner) = (prefix(args, 0)?, prefix(args, 1)?);
    Ok(Value::Bool(
        outer.address.is_ipv4() == inner.address.is_ipv4()
            && outer.bits <= inner.bits
            && outer.contains(inner.address),
    ))
}

fn cidr_ip<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::opaque(OpaqueValue::Ip(prefix(args, 0)?.address)))
}

fn prefix_length<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(prefix(args, 0)?.bits)))
}

fn masked<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let cidr = prefix(args, 0)?;
    Ok(Value::opaque(OpaqueValue::Cidr(Cidr {
        address: masked_address(cidr.address, cidr.bits),
        bits: cidr.bits,
    })))
}

fn to_string<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(args.opaque(0)?.to_string()))
}
