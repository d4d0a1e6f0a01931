//! Reading the file: current versions of a prefix, and changes of the past.

use redb::{Database, ReadableDatabase};

use super::record::Line;
use super::{KEYS, META, VALUES};
use crate::engine::{HistoryError, Install, LoadError, Past, PastChange};
use crate::key::{Revision, prefix_end};

/// A call ends after passing over this many changes of other prefixes, so that one read
/// transaction, which keeps pages from being reused, stays short.
const MAX_SCAN: usize = 20_000;

/// A call ends after gathering about this many bytes.
const MAX_BYTES: usize = 4 << 20;

/// Kept changes of `prefix` in (`after`, `upto`].
pub(super) fn changes(
    database: &Database,
    prefix: &str,
    after: Revision,
    upto: Revision,
    limit: usize,
) -> Result<Past, HistoryError> {
    if after >= upto {
        return Ok(Past {
            through: after,
            ..Past::default()
        });
    }
    let past = read(
        database,
        |e| HistoryError::Io(e.to_string()),
        |txn| {
            let meta = txn.open_table(META)?;
            let compacted = meta.get("compacted")?.map_or(0, |v| v.value());
            if after.0 < compacted {
                return Ok(Err(Revision(compacted)));
            }
            let values = txn.open_table(VALUES)?;
            let mut past = Past {
                through: upto,
                ..Past::default()
            };
            let mut bytes = 0;
            for (scanned, item) in values.range(after.0 + 1..=upto.0)?.enumerate() {
                let (revision, guard) = item?;
                let revision = Revision(revision.value());
                let Some(line) = Line::read(guard.value()) else {
                    return Err(damaged(revision));
                };
                if line.key.starts_with(prefix) {
                    let previous = match line.previous {
                        None => None,
                        Some(previous) => values.get(previous.0)?.and_then(|guard| {
                            let line = Line::read(guard.value())?;
                            Some((previous, line.created, line.raw()?))
                        }),
                    };
                    bytes += guard.value().len() + previous.as_ref().map_or(0, |p| p.2.bytes.len());
                    past.changes.push(PastChange {
                        change: line.change(revision),
                        previous,
                    });
                }
                if past.changes.len() >= limit || bytes >= MAX_BYTES || scanned >= MAX_SCAN {
                    past.through = revision;
                    break;
                }
            }
            Ok(Ok(past))
        },
    )?;
    past.map_err(|oldest| HistoryError::Compacted { oldest })
}

/// Changes of every prefix after `after`, without what they replaced: what a sink that missed
/// them is to be told.
pub(super) fn missed(
    database: &Database,
    after: Revision,
) -> Result<Vec<crate::engine::Change>, redb::Error> {
    read(
        database,
        |e| e,
        |txn| {
            let values = txn.open_table(VALUES)?;
            let mut changes = Vec::new();
            for item in values.range(after.0 + 1..)? {
                let (revision, guard) = item?;
                let revision = Revision(revision.value());
                let line = Line::read(guard.value()).ok_or_else(|| damaged(revision))?;
                changes.push(line.change(revision));
            }
            Ok(changes)
        },
    )
}

/// Hands the current versions of `prefix` over, and notes those that will expire.
pub(super) fn load(
    database: &Database,
    prefix: &str,
    install: &mut dyn Install,
    mut expiring: impl FnMut(&str, i64),
) -> Result<(), LoadError> {
    let failed = |error: redb::Error| LoadError::Io {
        prefix: prefix.to_owned(),
        message: error.to_string(),
    };
    read(database, failed, |txn| {
        let (keys, values) = (txn.open_table(KEYS)?, txn.open_table(VALUES)?);
        for item in keys.range::<&str>(prefix..prefix_end(prefix).as_str())? {
            let (key, versions) = item?;
            let revision = Revision(versions.value().0);
            let guard = values.get(revision.0)?.ok_or_else(|| damaged(revision))?;
            let line = Line::read(guard.value()).ok_or_else(|| damaged(revision))?;
            let record = line.record(revision).ok_or_else(|| damaged(revision))?;
            if let Some(at) = line.expires_at {
                expiring(line.key, at);
            }
            if let Err(message) = install.record(record) {
                return Ok(Err(LoadError::Record {
                    key: key.value().to_owned(),
                    message,
                }));
            }
        }
        Ok(Ok(()))
    })?
}

fn read<T, E>(
    database: &Database,
    failed: impl FnOnce(redb::Error) -> E,
    reader: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, E> {
    let txn = match database.begin_read() {
        Ok(txn) => txn,
        Err(error) => return Err(failed(error.into())),
    };
    reader(&txn).map_err(failed)
}

pub(super) fn damaged(revision: Revision) -> redb::Error {
    redb::Error::Corrupted(format!("the record of revision {revision} is damaged"))
}
