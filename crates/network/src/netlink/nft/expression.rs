//! Expressions: the instructions rules are made of.
//!
//! Registers are addressed in slots of four bytes; a concatenation occupies consecutive slots.

use std::net::IpAddr;

use crate::netlink::message::Writer;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Ends evaluation of this hook's chain.
    Accept,
    /// The packet disappears.
    Drop,
    /// Back to the calling chain.
    Return,
    /// To a chain, and back afterwards.
    Jump(String),
    /// To a chain, and not back.
    Goto(String),
}

impl Verdict {
    pub(crate) fn write(&self, w: &mut Writer) {
        let (code, chain): (i32, Option<&str>) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Return => (-5, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        w.nested(2, |w| {
            w.be32(1, code as u32);
            if let Some(chain) = chain {
                w.string(2, chain);
            }
        });
    }

    /// The chain it leads to.
    #[must_use]
    pub fn chain(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

/// Where a payload expression counts its offset from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// A packet's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meta {
    /// The packet mark.
    Mark,
    /// Name of the interface it came in by.
    InterfaceIn,
    /// Name of the interface it leaves by.
    InterfaceOut,
    /// The transport protocol.
    Protocol,
}

impl Meta {
    fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::InterfaceIn => 6,
            Self::InterfaceOut => 7,
            Self::Protocol => 16,
        }
    }
}

/// A packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {
    /// The state bits ([`STATE_NEW`] and so on).
    State,
    /// The status bits ([`STATUS_DNAT`]).
    Status,
}

/// Connection state: none.
pub const STATE_INVALID: u32 = 1;
/// Connection state: the first packet.
pub const STATE_NEW: u32 = 8;
/// Connection status: its destination is translated.
pub const STATUS_DNAT: u32 = 1 << 5;

/// How a comparison must come out for the rule to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Expression {
    /// Loads bytes of the packet.
    Payload {
        /// From where `offset` counts.
        base: Base,
        /// First byte.
        offset: u32,
        /// Number of bytes.
        length: u32,
        /// Destination slot.
        slot: u32,
    },
    /// Loads metadata.
    Meta {
        /// Which.
        key: Meta,
        /// Destination slot.
        slot: u32,
    },
    /// Sets the packet mark from a slot.
    SetMark {
        /// Source slot.
        slot: u32,
    },
    /// Loads a property of the connection.
    Connection {
        /// Which.
        key: Connection,
        /// Destination slot.
        slot: u32,
    },
    /// Loads the kind of the packet's source or destination address; see [`ADDRESS_LOCAL`].
    AddressType {
        /// The source instead of the destination.
        source: bool,
        /// Destination slot.
        slot: u32,
    },
    /// Ends the rule unless the comparison holds.
    Compare {
        /// How.
        how: Compare,
        /// Compared slot.
        slot: u32,
        /// With what.
        value: Vec<u8>,
    },
    /// `slot = (slot & mask) ^ xor`.
    Bitwise {
        /// The slot.
        slot: u32,
        /// And this.
        mask: Vec<u8>,
        /// Exclusive or this.
        xor: Vec<u8>,
    },
    /// Loads a value.
    Immediate {
        /// Destination slot.
        slot: u32,
        /// The value.
        value: Vec<u8>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Ends the rule unless the key is in the set (with `inverted`: unless it is not).
    Member {
        /// The set.
        set: String,
        /// First slot of the key.
        slot: u32,
        /// Whether to turn the answer round.
        inverted: bool,
    },
    /// Looks a key up in a map; ends the rule when it is not there.
    Map {
        /// The map.
        map: String,
        /// First slot of the key.
        slot: u32,
        /// First slot of the value.
        to: u32,
    },
    /// Looks a key up in a map of verdicts and takes the one found.
    VerdictMap {
        /// The map.
        map: String,
        /// First slot of the key.
        slot: u32,
    },
    /// Picks one of several values at random.
    Pick {
        /// The values, of equal length.
        values: Vec<Vec<u8>>,
        /// First slot of the value.
        slot: u32,
    },
    /// Loads a number drawn at random from zero up to below `below`.
    Random {
        /// How many numbers there are.
        below: u32,
        /// Destination slot.
        slot: u32,
    },
    /// Puts a key into a dynamic set, or renews its life.
    Remember {
        /// The set.
        set: String,
        /// First slot of the key.
        slot: u32,
    },
    /// Translates the destination to the address in `slot` and the port in the slot after it.
    TranslateDestination {
        /// Slot of the address.
        slot: u32,
        /// Slot of the port.
        port_slot: u32,
    },
    /// Translates the source to the outgoing interface's address.
    Masquerade,
    /// Answers with ICMP port unreachable.
    Reject,
    /// Counts packets and bytes.
    Counter,
}

/// Address type: one of the node's own.
pub const ADDRESS_LOCAL: u32 = 2;

/// The register of a slot. The first has the name `nft` gives it in listings.
fn register(slot: u32) -> u32 {
    if slot == 0 { 1 } else { 8 + slot }
}

/// Bytes of an address as they stand in a packet.
#[must_use]
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Joins the fields of a concatenation, each padded to whole slots.
#[must_use]
pub fn concat(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for field in fields {
        bytes.extend_from_slice(field);
        while !bytes.len().is_multiple_of(4) {
            bytes.push(0);
        }
    }
    bytes
}

fn data(w: &mut Writer, kind: u16, value: &[u8]) {
    w.nested(kind, |w| w.attr(1, value));
}

fn expression(w: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    w.nested(1, |w| {
        w.string(1, name);
        w.nested(2, body);
    });
}

impl Expression {
    /// Writes it; `family` is the table's, `anonymous` gives the ids of the sets made for picks, in
    /// order.
    pub(super) fn write(
        &self,
        w: &mut Writer,
        family: super::Family,
        anonymous: &mut impl Iterator<Item = u32>,
    ) {
        match self {
            Self::Payload {
                base,
                offset,
                length,
                slot,
            } => expression(w, "payload", |w| {
                w.be32(1, register(*slot));
                w.be32(2, if *base == Base::Network { 1 } else { 2 });
                w.be32(3, *offset);
                w.be32(4, *length);
            }),
            Self::Meta { key, slot } => expression(w, "meta", |w| {
                w.be32(2, key.number());
                w.be32(1, register(*slot));
            }),
            Self::SetMark { slot } => expression(w, "meta", |w| {
                w.be32(2, Meta::Mark.number());
                w.be32(3, register(*slot));
            }),
            Self::Connection { key, slot } => expression(w, "ct", |w| {
                w.be32(2, if *key == Connection::State { 0 } else { 2 });
                w.be32(1, register(*slot));
            }),
            Self::AddressType { source, slot } => expression(w, "fib", |w| {
                w.be32(1, register(*slot));
                w.be32(2, 3);
                w.be32(3, if *source { 1 } else { 2 });
            }),
            Self::Compare { how, slot, value } => expression(w, "cmp", |w| {
                w.be32(1, register(*slot));
                w.be32(2, if *how == Compare::Equal { 0 } else { 1 });
                data(w, 3, value);
            }),
            Self::Bitwise { slot, mask, xor } => expression(w, "bitwise", |w| {
                w.be32(1, register(*slot));
                w.be32(2, register(*slot));
                w.be32(3, mask.len() as u32);
                data(w, 4, mask);
                data(w, 5, xor);
            }),
            Self::Immediate { slot, value } => expression(w, "immediate", |w| {
                w.be32(1, register(*slot));
                data(w, 2, value);
            }),
            Self::Verdict(verdict) => expression(w, "immediate", |w| {
                w.be32(1, 0);
                w.nested(2, |w| verdict.write(w));
            }),
            Self::Member {
                set,
                slot,
                inverted,
            } => expression(w, "lookup", |w| {
                w.string(1, set);
                w.be32(2, register(*slot));
                if *inverted {
                    w.be32(5, 1);
                }
            }),
            Self::Map { map, slot, to } => expression(w, "lookup", |w| {
                w.string(1, map);
                w.be32(2, register(*slot));
                w.be32(3, register(*to));
            }),
            Self::VerdictMap { map, slot } => expression(w, "lookup", |w| {
                w.string(1, map);
                w.be32(2, register(*slot));
                w.be32(3, 0);
            }),
            Self::Pick { values, slot } => {
                draw(w, values.len() as u32, 0);
                let id = anonymous.next().unwrap_or_default();
                expression(w, "lookup", |w| {
                    w.string(1, "__map%d");
                    w.be32(4, id);
                    w.be32(2, register(0));
                    w.be32(3, register(*slot));
                });
            }
            Self::Random { below, slot } => draw(w, *below, *slot),
            Self::Remember { set, slot } => expression(w, "dynset", |w| {
                w.string(1, set);
                w.be32(3, 1);
                w.be32(4, register(*slot));
            }),
            Self::TranslateDestination { slot, port_slot } => expression(w, "nat", |w| {
                w.be32(1, 1);
                w.be32(2, u32::from(family.number()));
                w.be32(3, register(*slot));
                w.be32(5, register(*port_slot));
            }),
            // Fully random source ports: two connections that leave at once must not fight for one.
            Self::Masquerade => expression(w, "masq", |w| w.be32(1, 1 << 4)),
            Self::Reject => expression(w, "reject", |w| {
                w.be32(1, 0);
                w.u8(2, if family == super::Family::V4 { 3 } else { 4 });
            }),
            Self::Counter => expression(w, "counter", |_| {}),
        }
    }
}

fn draw(w: &mut Writer, below: u32, slot: u32) {
    expression(w, "numgen", |w| {
        w.be32(1, register(slot));
        w.be32(2, below);
        w.be32(3, 1);
        w.be32(4, 0);
    });
}
