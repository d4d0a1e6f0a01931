//! Transactions: a batch of changes that the kernel makes visible at once, or refuses as a whole.

use std::time::Duration;

use rustix::io::Errno;

use super::Family;
use super::expression::{Expression, Verdict};
use crate::netlink::Error;
use crate::netlink::message::{self, Writer, flags};
use crate::netlink::socket::{Socket, outcome};

pub(super) const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
pub(super) const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const DELCHAIN: u16 = SUBSYSTEM | 5;
const NEWRULE: u16 = SUBSYSTEM | 6;
const DELRULE: u16 = SUBSYSTEM | 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const DELSET: u16 = SUBSYSTEM | 11;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;
pub(super) const BATCH_BEGIN: u16 = 0x10;
pub(super) const BATCH_END: u16 = 0x11;

const SET_ANONYMOUS: u32 = 0x1;
const SET_CONSTANT: u32 = 0x2;
const SET_MAP: u32 = 0x8;
const SET_TIMEOUT: u32 = 0x10;
const SET_DYNAMIC: u32 = 0x20;
const DATA_VERDICT: u32 = 0xffff_ff00;

/// A list of elements is one attribute of at most 64 KiB; the longest element (three fields and a
/// chain's name) is under 500 bytes.
const ELEMENTS_PER_MESSAGE: usize = 100;

/// Type numbers of the `nft` program, which shows keys by them; several make a concatenation.
pub mod types {
    /// An IPv4 address.
    pub const IPV4: u32 = 7;
    /// An IPv6 address.
    pub const IPV6: u32 = 8;
    /// A transport protocol.
    pub const PROTOCOL: u32 = 12;
    /// A port.
    pub const PORT: u32 = 13;
    /// A plain number.
    pub const INTEGER: u32 = 4;

    /// The number of a concatenation.
    #[must_use]
    pub fn concatenation(parts: &[u32]) -> u32 {
        parts.iter().fold(0, |all, part| (all << 6) | part)
    }
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// Towards a local process.
    Input,
    /// Through the node.
    Forward,
    /// From a local process.
    Output,
    /// After routing.
    Postrouting,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// For a base chain: hook, priority, and whether it translates addresses.
    pub base: Option<(Hook, i32, bool)>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Its instructions.
    pub expressions: Vec<Expression>,
    /// Shown by `nft list`.
    pub comment: String,
}

/// What a set's elements carry beside their keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// Data.
    Data(Vec<u8>),
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Type numbers of the key's fields.
    pub key: Vec<u32>,
    /// Length of the key.
    pub key_length: u32,
    /// What elements map to.
    pub maps_to: MapsTo,
    /// For sets that rules add to: how long an element lives after it was last used.
    pub timeout: Option<Duration>,
}

/// What a map's elements hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapsTo {
    /// It is a plain set.
    Nothing,
    /// Verdicts.
    Verdicts,
    /// Data of these types and this length.
    Data {
        /// Type numbers of the fields.
        types: Vec<u32>,
        /// Length.
        length: u32,
    },
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Value,
}

/// A key of a set whose elements end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The key.
    pub key: Vec<u8>,
    /// What is left of its life.
    pub left: Duration,
}

/// Changes to one table that become visible together.
#[derive(Debug)]
pub struct Batch {
    family: Family,
    table: String,
    writer: Writer,
    /// Sequence number of a message → what it does, for error messages.
    steps: Vec<String>,
    next_set_id: u32,
}

pub(super) fn header(w: &mut Writer, family: Family) {
    w.raw(&[family.number(), 0, 0, 0]);
}

fn write_value(w: &mut Writer, value: &Value) {
    match value {
        Value::None => {}
        Value::Verdict(verdict) => w.nested(2, |w| verdict.write(w)),
        Value::Data(data) => w.nested(2, |w| w.attr(1, data)),
    }
}

impl Batch {
    /// An empty batch for a table.
    #[must_use]
    pub fn new(family: Family, table: &str) -> Self {
        let mut writer = Writer::new();
        writer.message(BATCH_BEGIN, flags::REQUEST, 0, |w| w.raw(&[0, 0, 0, 10]));
        Self {
            family,
            table: table.to_owned(),
            writer,
            steps: Vec::new(),
            next_set_id: 1,
        }
    }

    /// Whether nothing was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn step(&mut self, kind: u16, extra: u16, what: String, body: impl FnOnce(&mut Writer)) {
        self.steps.push(what);
        let sequence = self.steps.len() as u32;
        let family = self.family;
        self.writer
            .message(kind, flags::REQUEST | extra, sequence, |w| {
                header(w, family);
                body(w);
            });
    }

    /// Makes the table when it is not there.
    pub fn add_table(&mut self) {
        let table = self.table.clone();
        self.step(NEWTABLE, flags::CREATE, format!("add table {table}"), |w| {
            w.string(1, &table);
            w.be32(2, 0);
        });
    }

    /// Empties the table, whether it was there or not.
    pub fn reset_table(&mut self) {
        let table = self.table.clone();
        self.add_table();
        self.step(DELTABLE, 0, format!("delete table {table}"), |w| {
            w.string(1, &table)
        });
        self.add_table();
    }

    /// Makes a chain; one that exists is left as it is.
    pub fn add_chain(&mut self, chain: &Chain) {
        let table = self.table.clone();
        self.step(
            NEWCHAIN,
            flags::CREATE,
            format!("add chain {}", chain.name),
            |w| {
                w.string(1, &table);
                w.string(3, &chain.name);
                if let Some((hook, priority, translates)) = chain.base {
                    w.nested(4, |w| {
                        w.be32(
                            1,
                            match hook {
                                Hook::Prerouting => 0,
                                Hook::Input => 1,
                                Hook::Forward => 2,
                                Hook::Output => 3,
                                Hook::Postrouting => 4,
                            },
                        );
                        w.be32(2, priority as u32);
                    });
                    w.be32(5, 1);
                    w.string(7, if translates { "nat" } else { "filter" });
                }
            },
        );
    }

    /// Removes an empty chain that nothing refers to any more.
    pub fn delete_chain(&mut self, name: &str) {
        let table = self.table.clone();
        self.step(DELCHAIN, 0, format!("delete chain {name}"), |w| {
            w.string(1, &table);
            w.string(3, name);
        });
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        let table = self.table.clone();
        self.step(DELRULE, 0, format!("flush chain {name}"), |w| {
            w.string(1, &table);
            w.string(2, name);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        let mut ids = Vec::new();
        for expression in &rule.expressions {
            if let Expression::Pick { values, .. } = expression {
                ids.push(self.add_pick(values));
            }
        }
        let (table, family) = (self.table.clone(), self.family);
        self.step(
            NEWRULE,
            flags::CREATE | flags::APPEND,
            format!("add rule to chain {chain}"),
            |w| {
                w.string(1, &table);
                w.string(2, chain);
                w.nested(4, |w| {
                    let mut ids = ids.into_iter();
                    for expression in &rule.expressions {
                        expression.write(w, family, &mut ids);
                    }
                });
                if !rule.comment.is_empty() {
                    // Type 0 (comment), length, text with its NUL; a longer one is cut.
                    let text = rule.comment.as_bytes();
                    let text = &text[..text.len().min(250)];
                    let mut data = vec![0, text.len() as u8 + 1];
                    data.extend_from_slice(text);
                    data.push(0);
                    w.attr(7, &data);
                }
            },
        );
    }

    fn add_pick(&mut self, values: &[Vec<u8>]) -> u32 {
        let id = self.next_set_id;
        let set = Set {
            name: "__map%d".to_owned(),
            key: vec![types::INTEGER],
            key_length: 4,
            maps_to: MapsTo::Data {
                types: vec![types::INTEGER],
                length: values.first().map_or(0, Vec::len) as u32,
            },
            timeout: None,
        };
        self.write_set(&set, SET_ANONYMOUS | SET_CONSTANT, Some(values.len()));
        let elements: Vec<Element> = (0u32..)
            .zip(values)
            .map(|(number, value)| Element {
                key: number.to_ne_bytes().to_vec(),
                value: Value::Data(value.clone()),
            })
            .collect();
        self.write_elements(NEWSETELEM, "__map%d", Some(id), &elements);
        id
    }

    /// Makes a set or map; an equal one that exists is left as it is.
    pub fn add_set(&mut self, set: &Set) {
        self.write_set(set, 0, None);
    }

    fn write_set(&mut self, set: &Set, extra: u32, size: Option<usize>) {
        let id = self.next_set_id;
        self.next_set_id += 1;
        let table = self.table.clone();
        let mut set_flags = extra;
        if set.maps_to != MapsTo::Nothing {
            set_flags |= SET_MAP;
        }
        if set.timeout.is_some() {
            set_flags |= SET_TIMEOUT | SET_DYNAMIC;
        }
        self.step(
            NEWSET,
            flags::CREATE,
            format!("add set {}", set.name),
            |w| {
                w.string(1, &table);
                w.string(2, &set.name);
                w.be32(3, set_flags);
                w.be32(4, types::concatenation(&set.key));
                w.be32(5, set.key_length);
                match &set.maps_to {
                    MapsTo::Nothing => {}
                    MapsTo::Verdicts => {
                        w.be32(6, DATA_VERDICT);
                        w.be32(7, 0);
                    }
                    MapsTo::Data { types, length } => {
                        w.be32(6, types::concatenation(types));
                        w.be32(7, *length);
                    }
                }
                if let Some(size) = size {
                    w.nested(9, |w| w.be32(1, size as u32));
                }
                w.be32(10, id);
                if let Some(timeout) = set.timeout {
                    w.be64(11, timeout.as_millis() as u64);
                }
            },
        );
    }

    /// Removes a set that no rule refers to any more.
    pub fn delete_set(&mut self, name: &str) {
        let table = self.table.clone();
        self.step(DELSET, 0, format!("delete set {name}"), |w| {
            w.string(1, &table);
            w.string(2, name);
        });
    }

    /// Adds elements to a set. One that is there with the same value is left as it is; another
    /// value is an error.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.write_elements(NEWSETELEM, set, None, elements);
    }

    /// Adds keys to a set whose elements end, each with what is left of its life.
    pub fn add_ending(&mut self, set: &str, keys: &[Ending]) {
        let table = self.table.clone();
        for chunk in keys.chunks(ELEMENTS_PER_MESSAGE) {
            self.step(
                NEWSETELEM,
                flags::CREATE,
                format!("add elements of set {set}"),
                |w| {
                    w.string(1, &table);
                    w.string(2, set);
                    w.nested(3, |w| {
                        for element in chunk {
                            w.nested(1, |w| {
                                w.nested(1, |w| w.attr(1, &element.key));
                                w.be64(5, element.left.as_millis() as u64);
                            });
                        }
                    });
                },
            );
        }
    }

    /// Removes elements; they must be there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.write_elements(DELSETELEM, set, None, elements);
    }

    fn write_elements(&mut self, kind: u16, set: &str, id: Option<u32>, elements: &[Element]) {
        let table = self.table.clone();
        let (verb, extra) = if kind == NEWSETELEM {
            ("add", flags::CREATE)
        } else {
            ("delete", 0)
        };
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.step(kind, extra, format!("{verb} elements of set {set}"), |w| {
                w.string(1, &table);
                w.string(2, set);
                if let Some(id) = id {
                    w.be32(4, id);
                }
                w.nested(3, |w| {
                    for element in chunk {
                        w.nested(1, |w| {
                            w.nested(1, |w| w.attr(1, &element.key));
                            write_value(w, &element.value);
                        });
                    }
                });
            });
        }
    }

    /// Commits: all of it is in force when this returns, or nothing of it.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Error> {
        if self.steps.is_empty() {
            return Ok(());
        }
        self.request_acknowledgement();
        self.writer
            .message(BATCH_END, flags::REQUEST, 0, |w| w.raw(&[0, 0, 0, 10]));
        // Answers of an earlier, failed transaction must not be taken for this one's.
        socket.try_receive(|_| {})?;
        socket.send(self.writer.bytes())?;
        let mut refused: Option<(u32, Errno)> = None;
        let mut acknowledged = false;
        socket.try_receive(|message| {
            if message.kind != message::ERROR {
                return;
            }
            match outcome(&message) {
                Some(Ok(())) => acknowledged = true,
                Some(Err(errno)) => refused = refused.or(Some((message.sequence, errno))),
                None => {}
            }
        })?;
        let step = |sequence: u32| {
            let what = sequence
                .checked_sub(1)
                .and_then(|n| self.steps.get(n as usize));
            format!(
                "nftables table {}: {}",
                self.table,
                what.map_or("commit", String::as_str)
            )
        };
        match refused {
            Some((sequence, errno)) => Err(Error::Refused {
                request: step(sequence),
                errno,
            }),
            None if acknowledged => Ok(()),
            None => Err(Error::Malformed { request: step(0) }),
        }
    }

    /// One more message at the end that changes nothing and is acknowledged once the batch is
    /// committed.
    fn request_acknowledgement(&mut self) {
        self.steps.push("commit".to_owned());
        let (sequence, family, table) = (self.steps.len() as u32, self.family, self.table.clone());
        // Creating a table that exists changes nothing.
        self.writer.message(
            NEWTABLE,
            flags::REQUEST | flags::CREATE | flags::ACK,
            sequence,
            |w| {
                header(w, family);
                w.string(1, &table);
                w.be32(2, 0);
            },
        );
    }
}
