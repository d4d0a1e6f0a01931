//! nftables: tables, chains, rules, sets and their elements, changed in atomic transactions.
//!
//! [`expression`] is what a rule is made of, [`Batch`] collects changes and commits them all or
//! none. A name in a batch may refer to what an earlier change of the same batch makes.

pub mod expression;
pub mod matches;
mod query;
mod transaction;

pub use expression::{Expression, Verdict};
pub use query::{delete_table, ending, table_exists};
pub use transaction::{Batch, Chain, Element, Ending, Hook, MapsTo, Rule, Set, Value, types};

/// Protocol family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `ip`.
    V4,
    /// `ip6`.
    V6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}
