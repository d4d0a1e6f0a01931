//! Making and opening the file. A new one is made aside and renamed, so that a crash on first
//! start leaves either no store or a whole one.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError};

use super::disk::{Guard, Medium};
use super::lock::is_full;
use super::{FORMAT, KEYS, META, VALUES};
use crate::engine::OpenError;
use crate::key::Revision;

/// An opened file.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) guard: Guard,
    pub(super) last: Revision,
    pub(super) compacted: Revision,
}

/// redb's unit of growth.
const PAGE: u64 = 4096;
/// How its files begin.
const MAGIC: &[u8; 4] = b"redb";

/// The file's name in the store's directory.
fn file(dir: &Path) -> PathBuf {
    dir.join("data.redb")
}

/// Opens the file, making it where there is none.
pub(super) fn ensure(
    dir: &Path,
    cache_bytes: usize,
    medium: &dyn Medium,
) -> Result<Opened, OpenError> {
    if !file(dir).exists() {
        make(dir, medium)?;
    }
    open(dir, cache_bytes, medium)
}

fn make(dir: &Path, medium: &dyn Medium) -> Result<(), OpenError> {
    let new = dir.join("data.redb.new");
    let failed = |source: std::io::Error| match source {
        source if is_full(&source) => OpenError::Full { path: new.clone() },
        source => OpenError::Unreadable {
            path: new.clone(),
            source,
        },
    };
    match std::fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let database = {
        let backend = Guard::default().wrap(medium.open(&new).map_err(failed)?);
        let made = Database::builder()
            .set_cache_size(1 << 20)
            .create_with_backend(backend);
        made.map_err(|error| open_error(&new, error))?
    };
    write_empty(&database).map_err(|error| storage_error(&new, error))?;
    drop(database);
    let renamed = std::fs::rename(&new, file(dir));
    renamed
        .and_then(|()| std::fs::File::open(dir)?.sync_all())
        .map_err(failed)
}

fn write_empty(database: &Database) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    txn.open_table(KEYS)?;
    txn.open_table(VALUES)?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("compacted", Revision::FIRST.0)?;
    }
    txn.commit()?;
    Ok(())
}

/// Opens the file that is there. After a crash redb mends it first.
pub(super) fn open(
    dir: &Path,
    cache_bytes: usize,
    medium: &dyn Medium,
) -> Result<Opened, OpenError> {
    let path = file(dir);
    let backend = medium.open(&path).map_err(|source| match source {
        source if is_full(&source) => OpenError::Full { path: path.clone() },
        source => OpenError::Unreadable {
            path: path.clone(),
            source,
        },
    })?;
    let unreadable = |source| OpenError::Unreadable {
        path: path.clone(),
        source,
    };
    match backend.len().map_err(unreadable)? {
        // redb would take an empty file for a new store, and the old one's loss would go unseen
        0 => {
            let detail = "the file is empty".into();
            return Err(OpenError::NotAStore { path, detail });
        }
        // Whole pages are all that was ever written; a part of one is left when the machine
        // stopped while the file grew, and redb would refuse the file for it
        len if len > PAGE && len % PAGE != 0 => {
            let mut magic = [0; MAGIC.len()];
            backend.read(0, &mut magic).map_err(unreadable)?;
            if magic == *MAGIC {
                backend.set_len(len - len % PAGE).map_err(unreadable)?;
            }
        }
        _ => {}
    }
    let guard = Guard::default();
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let opened = builder.create_with_backend(guard.wrap(backend));
    let database = opened.map_err(|error| open_error(&path, error))?;
    let (last, compacted) = inspect(&path, &database)?;
    Ok(Opened {
        database,
        guard,
        last,
        compacted,
    })
}

fn inspect(path: &Path, database: &Database) -> Result<(Revision, Revision), OpenError> {
    let not_a_store = |detail: &str| OpenError::NotAStore {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let storage = |error: redb::Error| storage_error(path, error);
    let txn = database.begin_read().map_err(|e| storage(e.into()))?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(storage(error.into())),
        Err(_) => return Err(not_a_store("a database of another program")),
    };
    let number = |name| meta.get(name).map(|v| v.map(|v| v.value()));
    let format = number("format").map_err(|e| storage(e.into()))?;
    let format = format.ok_or_else(|| not_a_store("it names no format"))?;
    if format > FORMAT {
        let path = path.to_owned();
        return Err(OpenError::NewerFormat {
            path,
            found: format,
            known: FORMAT,
        });
    }
    let compacted = number("compacted").map_err(|e| storage(e.into()))?;
    let compacted = compacted.unwrap_or(Revision::FIRST.0);
    let values = txn.open_table(VALUES).map_err(|e| storage(e.into()))?;
    let last = values.last().map_err(|e| storage(e.into()))?;
    // A deletion's own record goes when history is dropped through it
    let last = last.map_or(compacted, |(revision, _)| revision.value().max(compacted));
    Ok((Revision(last), Revision(compacted)))
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() == std::io::ErrorKind::InvalidData =>
        {
            OpenError::NotAStore {
                path: path.to_owned(),
                detail: source.to_string(),
            }
        }
        DatabaseError::UpgradeRequired(found) => OpenError::NewerFormat {
            path: path.to_owned(),
            found: found.into(),
            known: FORMAT,
        },
        DatabaseError::Storage(error) => storage_error(path, error.into()),
        other => OpenError::Io {
            path: path.to_owned(),
            message: other.to_string(),
        },
    }
}

fn storage_error(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) if is_full(&source) => OpenError::Full {
            path: path.to_owned(),
        },
        redb::Error::Io(source) => OpenError::Unreadable {
            path: path.to_owned(),
            source,
        },
        other => OpenError::Io {
            path: path.to_owned(),
            message: other.to_string(),
        },
    }
}
