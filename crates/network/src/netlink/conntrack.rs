//! The kernel's table of connections: listing and deleting entries.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::Error;
use super::message::{self, Writer, flags};
use super::socket::Socket;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// IP protocol number.
    pub protocol: u8,
    /// From.
    pub source: (Ipv4Addr, u16),
    /// To.
    pub destination: (Ipv4Addr, u16),
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// As the first packet came.
    pub original: Tuple,
    /// As answers are expected: from the endpoint that was picked.
    pub reply: Tuple,
}

fn header(w: &mut Writer) {
    w.raw(&[libc::AF_INET as u8, 0, 0, 0]);
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let ip = message::find(bytes, TUPLE_IP)?;
    let ends = message::find(bytes, TUPLE_PROTOCOL)?;
    let address = |kind| {
        <[u8; 4]>::try_from(message::find(ip, kind)?)
            .ok()
            .map(Ipv4Addr::from)
    };
    let port = |kind| {
        <[u8; 2]>::try_from(message::find(ends, kind)?)
            .ok()
            .map(u16::from_be_bytes)
    };
    Some(Tuple {
        protocol: *message::find(ends, 1)?.first()?,
        source: (address(1)?, port(2)?),
        destination: (address(2)?, port(3)?),
    })
}

/// The connections of one protocol that `wanted` picks.
pub fn list(
    socket: &mut Socket,
    protocol: u8,
    mut wanted: impl FnMut(&Entry) -> bool,
) -> Result<Vec<Entry>, Error> {
    let mut found = Vec::new();
    socket.query(
        "list connections",
        |w, sequence| w.message(GET, flags::REQUEST | flags::DUMP, sequence, header),
        |message| {
            let attributes = message.body.get(4..).unwrap_or_default();
            let side = |kind| message::find(attributes, kind).and_then(tuple);
            if let (Some(original), Some(reply)) = (side(TUPLE_ORIGINAL), side(TUPLE_REPLY)) {
                let entry = Entry { original, reply };
                if original.protocol == protocol && wanted(&entry) {
                    found.push(entry);
                }
            }
        },
    )?;
    Ok(found)
}

/// Deletes a connection; one that is gone already is fine.
pub fn delete(socket: &mut Socket, entry: &Entry) -> Result<(), Error> {
    let t = entry.original;
    let what = format!(
        "delete connection {}:{} to {}:{}",
        t.source.0, t.source.1, t.destination.0, t.destination.1
    );
    let result = socket.request(&what, |w, sequence| {
        w.message(DELETE, flags::REQUEST | flags::ACK, sequence, |w| {
            header(w);
            w.nested(TUPLE_ORIGINAL, |w| {
                w.nested(TUPLE_IP, |w| {
                    w.attr(1, &t.source.0.octets());
                    w.attr(2, &t.destination.0.octets());
                });
                w.nested(TUPLE_PROTOCOL, |w| {
                    w.u8(1, t.protocol);
                    w.attr(2, &t.source.1.to_be_bytes());
                    w.attr(3, &t.destination.1.to_be_bytes());
                });
            });
        });
    });
    match result {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        other => other,
    }
}
