//! One transaction of the writer: the conditions of its writes are checked and the writes applied
//! one after the other, as though each had come alone; then one commit makes them durable.

use redb::{Database, ReadableTable, Table};

use super::record::Line;
use super::{KEYS, META, VALUES, history};
use crate::engine::{Change, Committed, Op, Payload, Write};
use crate::entry::Stored;
use crate::key::Revision;

/// History to drop along with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drop {
    /// It has been dropped through here.
    pub(super) from: Revision,
    /// It may be dropped through here.
    pub(super) target: Revision,
    /// At most this many changes now.
    pub(super) budget: usize,
}

/// What a committed batch did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// For each write, in order: committed, or the revision that contradicted it.
    pub(super) results: Vec<Result<Committed, Option<Revision>>>,
    /// The changes made, in revision order.
    pub(super) changes: Vec<Change>,
    /// History has been dropped through here.
    pub(super) compacted: Option<Revision>,
}

/// How a batch's transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// One sync. After a crash the next opening has to walk the file.
    Fast,
    /// Two syncs, and a file that opens at once after a crash.
    QuickRepair,
}

/// Applies and commits. Nothing is written when no write's condition holds and there is no
/// history to drop, unless the ending is quick-repair.
pub(super) fn run(
    database: &Database,
    writes: Vec<Write>,
    last: Revision,
    drop: Option<Drop>,
    ending: Ending,
) -> Result<Outcome, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(ending == Ending::QuickRepair);
    let mut outcome = Outcome {
        results: Vec::with_capacity(writes.len()),
        changes: Vec::with_capacity(writes.len()),
        compacted: None,
    };
    {
        let mut values = txn.open_table(VALUES)?;
        if !writes.is_empty() {
            let mut keys = txn.open_table(KEYS)?;
            let mut next = Revision(last.0 + 1);
            for write in writes {
                let result = apply(&mut keys, &mut values, write, next)?;
                outcome.results.push(match result {
                    Ok((committed, change)) => {
                        outcome.changes.push(change);
                        next = Revision(next.0 + 1);
                        Ok(committed)
                    }
                    Err(current) => Err(current),
                });
            }
        }
        if let Some(drop) = drop {
            let compacted = drop_history(&mut values, drop)?;
            txn.open_table(META)?.insert("compacted", compacted.0)?;
            outcome.compacted = Some(compacted);
        }
    }
    let idle = outcome.changes.is_empty() && outcome.compacted.is_none();
    if idle && ending == Ending::Fast {
        txn.abort()?;
    } else {
        txn.commit()?;
    }
    Ok(outcome)
}

type Applied = Result<(Committed, Change), Option<Revision>>;

fn apply(
    keys: &mut Table<'_, &'static str, (u64, u64)>,
    values: &mut Table<'_, u64, &'static [u8]>,
    write: Write,
    revision: Revision,
) -> Result<Applied, redb::Error> {
    let Write { key, expect, op } = write;
    let current = keys.get(key.as_str())?.map(|guard| guard.value());
    let previous = current.map(|(revision, _)| Revision(revision));
    if !expect.holds(previous) || (matches!(op, Op::Delete) && previous.is_none()) {
        return Ok(Err(previous));
    }
    let created = current.map_or(revision, |(_, created)| Revision(created));
    let deletion = Line {
        value: None,
        sealed: false,
        rv_at: Stored::NO_RV,
        created,
        previous,
        expires_at: None,
        key: key.as_str(),
    };
    let line = match &op {
        Op::Delete => deletion,
        Op::Put(value) => Line {
            value: Some(&value.bytes),
            sealed: value.sealed,
            rv_at: value.stored.rv_at,
            expires_at: value.expires_at,
            ..deletion
        },
    };
    line.write(values.insert_reserve(revision.0, line.len())?.as_mut());
    match &op {
        Op::Delete => drop(keys.remove(key.as_str())?),
        Op::Put(_) => drop(keys.insert(key.as_str(), (revision.0, created.0))?),
    }
    let value = match op {
        Op::Delete => None,
        Op::Put(value) => Some(Payload::Stored(value.stored)),
    };
    let change = Change {
        key,
        revision,
        created,
        value,
    };
    Ok(Ok((Committed { revision, previous }, change)))
}

/// Walks changes forward, deletes the version each replaced, and deletions themselves.
fn drop_history(
    values: &mut Table<'_, u64, &'static [u8]>,
    drop: Drop,
) -> Result<Revision, redb::Error> {
    let mut through = drop.target;
    let mut unneeded = Vec::new();
    let range = values.range(drop.from.0 + 1..=drop.target.0.max(drop.from.0 + 1))?;
    for (done, item) in range.enumerate() {
        let (revision, guard) = item?;
        let revision = Revision(revision.value());
        if done == drop.budget {
            through = Revision(revision.0 - 1);
            break;
        }
        let line = Line::read(guard.value()).ok_or_else(|| history::damaged(revision))?;
        unneeded.extend(line.previous);
        if line.value.is_none() {
            unneeded.push(revision);
        }
    }
    for revision in unneeded {
        values.remove(revision.0)?;
    }
    Ok(through)
}
