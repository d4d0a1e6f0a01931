//! What is asked of nftables outside transactions, and the removal of a whole table.

use std::time::Duration;

use rustix::io::Errno;

use super::Family;
use super::transaction::{BATCH_BEGIN, BATCH_END, DELTABLE, Ending, SUBSYSTEM, header};
use crate::netlink::Error;
use crate::netlink::message::{self, Writer, flags};
use crate::netlink::socket::{Socket, outcome};

const GETTABLE: u16 = SUBSYSTEM | 1;
const GETSETELEM: u16 = SUBSYSTEM | 13;

/// Removes a table with all it holds; one that is gone already is fine.
pub fn delete_table(socket: &mut Socket, family: Family, table: &str) -> Result<(), Error> {
    let mut writer = Writer::new();
    writer.message(BATCH_BEGIN, flags::REQUEST, 0, |w| w.raw(&[0, 0, 0, 10]));
    let sequence = socket.next_sequence();
    writer.message(DELTABLE, flags::REQUEST | flags::ACK, sequence, |w| {
        header(w, family);
        w.string(1, table);
    });
    writer.message(BATCH_END, flags::REQUEST, 0, |w| w.raw(&[0, 0, 0, 10]));
    socket.try_receive(|_| {})?;
    socket.send(writer.bytes())?;
    let mut result = None;
    socket.try_receive(|message| result = result.or(outcome(&message)))?;
    let request = format!("delete nftables table {table}");
    match result {
        Some(Ok(()) | Err(Errno::NOENT)) => Ok(()),
        Some(Err(errno)) => Err(Error::Refused { request, errno }),
        None => Err(Error::Malformed { request }),
    }
}

/// The keys of a set whose elements end; none when there is no such set.
pub fn ending(
    socket: &mut Socket,
    family: Family,
    table: &str,
    set: &str,
) -> Result<Vec<Ending>, Error> {
    let mut found = Vec::new();
    let result = socket.query(
        &format!("list elements of set {set}"),
        |w, sequence| {
            w.message(GETSETELEM, flags::REQUEST | flags::DUMP, sequence, |w| {
                header(w, family);
                w.string(1, table);
                w.string(2, set);
            });
        },
        |message| {
            let attributes = message.body.get(4..).unwrap_or_default();
            let list = message::find(attributes, 3).unwrap_or_default();
            found.extend(message::attributes(list).filter_map(|(_, element)| {
                let key = message::find(message::find(element, 1)?, 1)?.to_vec();
                let left = u64::from_be_bytes(message::find(element, 5)?.try_into().ok()?);
                Some(Ending {
                    key,
                    left: Duration::from_millis(left),
                })
            }));
        },
    );
    match result {
        Ok(()) => Ok(found),
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether a table exists.
pub fn table_exists(socket: &mut Socket, family: Family, table: &str) -> Result<bool, Error> {
    let result = socket.query(
        &format!("get nftables table {table}"),
        |w, sequence| {
            w.message(GETTABLE, flags::REQUEST | flags::ACK, sequence, |w| {
                header(w, family);
                w.string(1, table);
            });
        },
        |_| {},
    );
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
