//! Pieces of rules that several tables use.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Family;
use super::expression::{
    ADDRESS_LOCAL, Base, Compare, Connection, Expression, Meta, STATE_INVALID, STATE_NEW,
    STATUS_DNAT, address_bytes,
};

/// Offset and length of the source or destination address in the IP header.
fn address_at(family: Family, source: bool) -> (u32, u32) {
    match (family, source) {
        (Family::V4, true) => (12, 4),
        (Family::V4, false) => (16, 4),
        (Family::V6, true) => (8, 16),
        (Family::V6, false) => (24, 16),
    }
}

/// Loads the source or destination address.
#[must_use]
pub fn load_address(family: Family, source: bool, slot: u32) -> Expression {
    let (offset, length) = address_at(family, source);
    Expression::Payload {
        base: Base::Network,
        offset,
        length,
        slot,
    }
}

/// Loads protocol and destination port into two consecutive slots.
#[must_use]
pub fn load_port(slot: u32) -> [Expression; 2] {
    [
        Expression::Meta {
            key: Meta::Protocol,
            slot,
        },
        Expression::Payload {
            base: Base::Transport,
            offset: 2,
            length: 2,
            slot: slot + 1,
        },
    ]
}

fn equal(slot: u32, value: Vec<u8>) -> Expression {
    Expression::Compare {
        how: Compare::Equal,
        slot,
        value,
    }
}

/// Source or destination inside (or outside) a network.
#[must_use]
pub fn in_network(net: &IpNet, source: bool, inside: bool) -> Vec<Expression> {
    let family = if matches!(net, IpNet::V4(_)) {
        Family::V4
    } else {
        Family::V6
    };
    let mask = address_bytes(net.netmask());
    let xor = vec![0; mask.len()];
    let how = if inside {
        Compare::Equal
    } else {
        Compare::NotEqual
    };
    vec![
        load_address(family, source, 0),
        Expression::Bitwise { slot: 0, mask, xor },
        Expression::Compare {
            how,
            slot: 0,
            value: address_bytes(net.network()),
        },
    ]
}

/// Destination is this address.
#[must_use]
pub fn to_address(address: IpAddr) -> Vec<Expression> {
    let family = if address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    vec![
        load_address(family, false, 0),
        equal(0, address_bytes(address)),
    ]
}

/// Source or destination is one of the node's own addresses.
#[must_use]
pub fn local(source: bool) -> Vec<Expression> {
    vec![
        Expression::AddressType { source, slot: 0 },
        equal(0, ADDRESS_LOCAL.to_ne_bytes().to_vec()),
    ]
}

/// Came in by, or leaves by, an interface.
#[must_use]
pub fn interface(key: Meta, name: &str) -> Vec<Expression> {
    // Names are compared whole: sixteen bytes with the padding.
    let mut value = name.as_bytes().to_vec();
    value.resize(16, 0);
    vec![Expression::Meta { key, slot: 0 }, equal(0, value)]
}

/// The first packet of a connection.
#[must_use]
pub fn new_connection() -> Vec<Expression> {
    bits(Connection::State, STATE_NEW)
}

/// A packet that belongs to no connection and cannot begin one.
#[must_use]
pub fn invalid() -> Vec<Expression> {
    bits(Connection::State, STATE_INVALID)
}

/// A connection whose destination is translated.
#[must_use]
pub fn translated() -> Vec<Expression> {
    bits(Connection::Status, STATUS_DNAT)
}

fn bits(key: Connection, mask: u32) -> Vec<Expression> {
    let mut all = vec![Expression::Connection { key, slot: 0 }];
    all.extend(any_bit(mask));
    all
}

fn any_bit(mask: u32) -> [Expression; 2] {
    [
        Expression::Bitwise {
            slot: 0,
            mask: mask.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        },
        Expression::Compare {
            how: Compare::NotEqual,
            slot: 0,
            value: vec![0; 4],
        },
    ]
}

/// The packet carries this mark bit.
#[must_use]
pub fn marked(mask: u32) -> Vec<Expression> {
    let mut all = vec![Expression::Meta {
        key: Meta::Mark,
        slot: 0,
    }];
    all.extend(any_bit(mask));
    all
}

/// Sets (or clears) a bit of the packet's mark.
#[must_use]
pub fn set_mark(mask: u32, on: bool) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: Meta::Mark,
            slot: 0,
        },
        Expression::Bitwise {
            slot: 0,
            mask: (!mask).to_ne_bytes().to_vec(),
            xor: (if on { mask } else { 0 }).to_ne_bytes().to_vec(),
        },
        Expression::SetMark { slot: 0 },
    ]
}
