//! The one thread that writes the file. It takes whatever waits, commits it with one sync, tells
//! the sink, and only then answers the writers; what arrives meanwhile is the next batch.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::clock::Clock;
use parking_lot::{Condvar, Mutex};
use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::batch::{self, Drop as DropHistory, Ending};
use super::disk::{Guard, Medium};
use super::lock::is_full;
use super::record::Line;
use super::schedule::{Schedule, When};
use super::{KEYS, Shared, VALUES, history, open};
use crate::engine::{CommitError, Committed, Expect, Install, LoadError, Op, Sink, Write};
use crate::key::{Key, Revision};
use crate::options::Options;

/// Writes in one transaction at most: bounds its memory and everybody's wait.
const MAX_BATCH: usize = 4096;
/// How long writers that come in company are waited for: a small part of a sync.
const GATHER: Duration = Duration::from_micros(50);
/// Changes dropped from history in one transaction of their own.
const COMPACT_STEP: usize = 512;
/// After the file could not be opened anew, writes fail without another try for this long.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// What the thread is asked to do.
pub(super) enum Command {
    Write(Write, oneshot::Sender<Result<Committed, CommitError>>),
    Load(
        String,
        Box<dyn Install>,
        oneshot::Sender<Result<(), LoadError>>,
    ),
    Maintain(Option<Revision>, oneshot::Sender<Result<(), CommitError>>),
}

/// What waits for the thread.
pub(super) struct Queue {
    state: Mutex<Waiting>,
    arrived: Condvar,
    max: usize,
}

struct Waiting {
    commands: VecDeque<Command>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        let state = Waiting {
            commands: VecDeque::new(),
            closed: false,
        };
        Queue {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            max,
        }
    }

    /// Refuses when closed or full.
    pub(super) fn push(&self, command: Command) -> Result<(), CommitError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        if state.commands.len() >= self.max {
            return Err(CommitError::Busy {
                waiting: state.commands.len(),
            });
        }
        state.commands.push_back(command);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// What has been taken in is still done; nothing more is.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The next commands; none after `wait`; `None` when closed and done. Where more than one came the
    /// last time, others are about to come: they get a moment, since a transaction costs as much as
    /// several writes in it.
    fn take(&self, wait: Option<Duration>, company: bool) -> Option<Vec<Command>> {
        let mut state = self.state.lock();
        if state.commands.is_empty() && !state.closed {
            match wait {
                Some(wait) => drop(self.arrived.wait_for(&mut state, wait)),
                None => self.arrived.wait(&mut state),
            }
        }
        if state.commands.is_empty() && state.closed {
            return None;
        }
        if company && !state.closed {
            drop(state);
            std::thread::sleep(GATHER);
            state = self.state.lock();
        }
        let count = state.commands.len().min(MAX_BATCH);
        Some(state.commands.drain(..count).collect())
    }
}

/// Closes the queue however the thread ends, so that nobody waits for it in vain.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.queue.state.lock().commands.clear();
    }
}

/// What a writer starts from.
pub(super) struct Start {
    pub(super) last: Revision,
    pub(super) guard: Guard,
    pub(super) lock: File,
    pub(super) medium: Box<dyn Medium>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    cache_bytes: usize,
    last: Revision,
    schedule: Schedule,
    guard: Guard,
    medium: Box<dyn Medium>,
    failed: Option<(CommitError, Instant)>,
    _lock: File,
}

type Reply = Option<oneshot::Sender<Result<Committed, CommitError>>>;

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, options: &Options, start: Start) -> Self {
        let clock = options.clock.clone();
        let compacted = Revision(shared.compacted.load(Ordering::Acquire));
        let now = clock.now().as_millisecond();
        Writer {
            shared,
            clock,
            cache_bytes: options.engine_cache_bytes,
            last: start.last,
            schedule: Schedule::new(options, compacted, start.last, now),
            guard: start.guard,
            medium: start.medium,
            failed: None,
            _lock: start.lock,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    pub(super) fn run(mut self, sink: Arc<dyn Sink>) {
        let sink = &*sink;
        let _close = CloseOnExit(self.shared.clone());
        let mut company = false;
        while let Some(commands) = self.shared.queue.take(self.wait(), company) {
            company = commands.len() > 1;
            let mut writes = Vec::with_capacity(commands.len());
            for command in commands {
                match command {
                    Command::Write(write, reply) => writes.push((write, Some(reply))),
                    Command::Load(prefix, install, reply) => {
                        self.write(std::mem::take(&mut writes), sink);
                        let _ = reply.send(self.load(&prefix, install, sink));
                    }
                    Command::Maintain(through, reply) => {
                        self.write(std::mem::take(&mut writes), sink);
                        let _ = reply.send(self.maintain(through, sink));
                    }
                }
            }
            self.write(writes, sink);
            self.work(When::Gathered, sink);
        }
        if self.schedule.dirty() {
            self.commit(Vec::new(), None, Ending::QuickRepair, sink);
        }
        // Before the lock goes: closes the file in good order
        drop(self.shared.handle.write().take());
        sink.closed();
    }

    /// How long to sleep when nothing arrives.
    fn wait(&self) -> Option<Duration> {
        let wait = self.schedule.wait(self.now())?;
        // With the file shut, work that is due cannot be done: look again now and then
        Some(if self.failed.is_some() {
            wait.max(REOPEN_PAUSE)
        } else {
            wait
        })
    }

    fn write(&mut self, writes: Vec<(Write, Reply)>, sink: &dyn Sink) {
        if writes.is_empty() {
            return;
        }
        let now = self.now();
        // History that is due goes along without a sync of its own
        let drop = self.schedule.compaction(When::Gathered, now);
        let budget = 64 + 2 * writes.len();
        let drop = drop.map(|(from, target)| DropHistory {
            from,
            target,
            budget,
        });
        self.commit(writes, drop, Ending::Fast, sink);
    }

    /// Commits one transaction and answers; says whether it was committed.
    fn commit(
        &mut self,
        writes: Vec<(Write, Reply)>,
        drop: Option<DropHistory>,
        ending: Ending,
        sink: &dyn Sink,
    ) -> bool {
        let (writes, replies): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
        let expiries: Vec<_> = writes.iter().map(expiry).collect();
        let database = match self.database(sink) {
            Ok(database) => database,
            Err(error) => {
                answer_all(replies, &error);
                return false;
            }
        };
        let outcome = match batch::run(&database, writes, self.last, drop, ending) {
            Ok(outcome) => outcome,
            Err(error) => {
                std::mem::drop(database);
                let error = self.fail(error, sink);
                answer_all(replies, &error);
                return false;
            }
        };
        let now = self.now();
        if let Some(compacted) = outcome.compacted {
            self.schedule.note_compacted(compacted);
            self.shared.compacted.store(compacted.0, Ordering::Release);
        }
        if let Some(change) = outcome.changes.last() {
            self.last = change.revision;
            self.schedule.note_changes(self.last, now);
            let count = outcome.changes.len() as u64;
            self.shared.writes.fetch_add(count, Ordering::Relaxed);
            self.shared.batches.fetch_add(1, Ordering::Relaxed);
        }
        if !outcome.changes.is_empty()
            || outcome.compacted.is_some()
            || ending == Ending::QuickRepair
        {
            self.schedule
                .note_commit(ending == Ending::QuickRepair, now);
        }
        for ((key, at), result) in expiries.iter().zip(&outcome.results) {
            if result.is_ok() {
                self.schedule.note_expiry(key, *at);
            }
        }
        if !outcome.changes.is_empty() {
            sink.apply(outcome.changes);
        }
        for (reply, result) in replies.into_iter().zip(outcome.results) {
            if let Some(reply) = reply {
                let _ = reply.send(result.map_err(|current| CommitError::Conflict { current }));
            }
        }
        true
    }

    fn load(
        &mut self,
        prefix: &str,
        mut install: Box<dyn Install>,
        sink: &dyn Sink,
    ) -> Result<(), LoadError> {
        let database = self.database(sink).map_err(|error| LoadError::Io {
            prefix: prefix.to_owned(),
            message: error.to_string(),
        })?;
        let schedule = &mut self.schedule;
        let expiring = |key: &str, at| schedule.note_expiry(&Key::new(key), Some(at));
        history::load(&database, prefix, &mut *install, expiring)?;
        install.done(self.last);
        Ok(())
    }

    fn maintain(&mut self, through: Option<Revision>, sink: &dyn Sink) -> Result<(), CommitError> {
        if let Some(through) = through {
            self.schedule.compact(through.min(self.last));
        }
        while self.work(When::Strict, sink) {}
        match &self.failed {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Does a bounded step of what is due; says whether there may be more.
    fn work(&mut self, when: When, sink: &dyn Sink) -> bool {
        let now = self.now();
        if self.failed.is_some() && self.database(sink).is_err() {
            return false;
        }
        let expired = self.schedule.expired(when, now);
        if !expired.is_empty() {
            self.expire(expired, now, sink);
            return self.failed.is_none();
        }
        if let Some((from, target)) = self.schedule.compaction(when, now) {
            let drop = DropHistory {
                from,
                target,
                budget: COMPACT_STEP,
            };
            sink.trim();
            return self.commit(Vec::new(), Some(drop), Ending::Fast, sink);
        }
        if self.schedule.flush(now) {
            self.commit(Vec::new(), None, Ending::QuickRepair, sink);
        }
        false
    }

    fn expire(&mut self, keys: Vec<Key>, now: i64, sink: &dyn Sink) {
        let Ok(database) = self.database(sink) else {
            return;
        };
        let due = match still_expired(&database, &keys, now) {
            Ok(due) => due,
            Err(error) => {
                drop(database);
                self.fail(error, sink);
                return;
            }
        };
        drop(database);
        let delete = |(key, revision)| Write {
            key,
            expect: Expect::At(revision),
            op: Op::Delete,
        };
        let writes: Vec<_> = due.into_iter().map(|due| (delete(due), None)).collect();
        let again: Vec<Key> = writes.iter().map(|(write, _)| write.key.clone()).collect();
        if !writes.is_empty() && !self.commit(writes, None, Ending::Fast, sink) {
            for key in again {
                self.schedule.note_expiry(&key, Some(now));
            }
        }
    }

    /// The file; opened anew after a failure.
    fn database(&mut self, sink: &dyn Sink) -> Result<Arc<Database>, CommitError> {
        if let Some(database) = &*self.shared.handle.read() {
            return Ok(database.clone());
        }
        match &self.failed {
            Some((error, at)) if at.elapsed() < REOPEN_PAUSE => return Err(error.clone()),
            _ => {}
        }
        match self.reopen(sink) {
            Ok(database) => {
                tracing::info!(dir = %self.shared.dir.display(), "the store works again");
                self.failed = None;
                Ok(database)
            }
            Err(error) => {
                self.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    fn reopen(&mut self, sink: &dyn Sink) -> Result<Arc<Database>, CommitError> {
        let (dir, medium) = (&self.shared.dir, &*self.medium);
        let opened = open::open(dir, self.cache_bytes, medium).map_err(|error| match error {
            crate::OpenError::Full { .. } => CommitError::Full { path: dir.clone() },
            other => CommitError::Io {
                path: dir.clone(),
                message: other.to_string(),
            },
        })?;
        let database = Arc::new(opened.database);
        // A commit that failed may have reached the disk all the same. Its writers were told that
        // it is not known; from here on it is, and everybody must see it
        if opened.last > self.last {
            let missed = history::missed(&database, self.last);
            let missed = missed.map_err(|error| self.describe(&error))?;
            let now = self.now();
            self.schedule.note_changes(opened.last, now);
            sink.apply(missed);
            self.last = opened.last;
        }
        self.guard = opened.guard;
        *self.shared.handle.write() = Some(database.clone());
        self.schedule.note_commit(false, self.now());
        Ok(database)
    }

    /// Lets go of the file, whose state is unknown after an error, and tries to open it anew.
    fn fail(&mut self, error: redb::Error, sink: &dyn Sink) -> CommitError {
        let described = self.describe(&error);
        tracing::error!(%error, dir = %self.shared.dir.display(), "the store cannot write");
        self.shared.failed_batches.fetch_add(1, Ordering::Relaxed);
        self.guard.cut();
        drop(self.shared.handle.write().take());
        self.failed = Some((described.clone(), Instant::now()));
        if let Ok(database) = self.reopen(sink) {
            drop(database);
            self.failed = None;
        }
        described
    }

    fn describe(&self, error: &redb::Error) -> CommitError {
        let path = self.shared.dir.clone();
        match error {
            redb::Error::Io(source) if is_full(source) => CommitError::Full { path },
            other => CommitError::Io {
                path,
                message: other.to_string(),
            },
        }
    }
}

fn expiry(write: &Write) -> (Key, Option<i64>) {
    let at = match &write.op {
        Op::Put(value) => value.expires_at,
        Op::Delete => None,
    };
    (write.key.clone(), at)
}

fn answer_all(replies: Vec<Reply>, error: &CommitError) {
    for reply in replies.into_iter().flatten() {
        let _ = reply.send(Err(error.clone()));
    }
}

/// Those of the keys whose current version has expired, with its revision.
fn still_expired(
    database: &Database,
    candidates: &[Key],
    now: i64,
) -> Result<Vec<(Key, Revision)>, redb::Error> {
    let txn = database.begin_read()?;
    let (keys, values) = (txn.open_table(KEYS)?, txn.open_table(VALUES)?);
    let mut due = Vec::new();
    for key in candidates {
        let Some(versions) = keys.get(key.as_str())? else {
            continue;
        };
        let revision = Revision(versions.value().0);
        let guard = values
            .get(revision.0)?
            .ok_or_else(|| history::damaged(revision))?;
        let line = Line::read(guard.value()).ok_or_else(|| history::damaged(revision))?;
        if line.expires_at.is_some_and(|at| at <= now) {
            due.push((key.clone(), revision));
        }
    }
    Ok(due)
}
