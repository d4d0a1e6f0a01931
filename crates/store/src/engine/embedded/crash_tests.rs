//! Power loss and failing disks, on a simulated one: it forgets an arbitrary part of what was
//! written since the last sync, or fails at an arbitrary operation.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use redb::StorageBackend;

use super::Embedded;
use super::disk::Medium;
use crate::attributes::Attributes;
use crate::engine::{
    Change, CommitError, Engine, Expect, Install, Op, Payload, Record, Sink, Value, Write,
};
use crate::entry::Stored;
use crate::key::{Key, Revision};
use crate::options::Options;

/// Disks keep or lose this much at once.
const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// At this operation and ever after, nothing works.
    PowerLoss(u64),
    /// This operation fails, the next works again.
    Once(u64, io::ErrorKind),
}

#[derive(Debug)]
enum Unsynced {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug)]
struct Sim {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
    operations: u64,
    fault: Option<Fault>,
}

impl Sim {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fault {
            Some(Fault::PowerLoss(at)) if self.operations >= at => {
                Err(io::Error::other("the power is gone"))
            }
            Some(Fault::Once(at, kind)) if self.operations == at => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// What is found when the power is back.
    fn after_power_loss(&self, mut random: u64) -> Vec<u8> {
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 64 == 0
        };
        let mut image = self.durable.clone();
        for unsynced in &self.unsynced {
            match unsynced {
                Unsynced::Length(len) if coin() => image.resize(*len as usize, 0),
                Unsynced::Length(_) => {}
                Unsynced::Write(offset, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        let at = *offset as usize + n * SECTOR;
                        if coin() && at + sector.len() <= image.len() {
                            image[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        image
    }
}

#[derive(Clone, Debug)]
struct Simulated(Arc<Mutex<Sim>>);

impl Simulated {
    fn new(image: Vec<u8>, fault: Option<Fault>) -> Self {
        let durable = image.clone();
        Simulated(Arc::new(Mutex::new(Sim {
            current: image,
            durable,
            unsynced: Vec::new(),
            operations: 0,
            fault,
        })))
    }
}

impl Medium for Simulated {
    fn open(&self, _: &Path) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }
}

impl StorageBackend for Simulated {
    fn len(&self) -> io::Result<u64> {
        let mut sim = self.0.lock();
        sim.operation()?;
        Ok(sim.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.operation()?;
        let range = offset as usize..offset as usize + out.len();
        let found = sim.current.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.operation()?;
        sim.current.resize(len as usize, 0);
        sim.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.operation()?;
        let Sim {
            durable, unsynced, ..
        } = &mut *sim;
        for unsynced in unsynced.drain(..) {
            match unsynced {
                Unsynced::Length(len) => durable.resize(len as usize, 0),
                Unsynced::Write(offset, data) => {
                    durable[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.operation()?;
        let range = offset as usize..offset as usize + data.len();
        sim.current
            .get_mut(range)
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        sim.unsynced.push(Unsynced::Write(offset, data.to_vec()));
        Ok(())
    }
}

type Contents = BTreeMap<String, (u64, Vec<u8>)>;

/// What a sink has been told, played back.
#[derive(Default)]
struct Told(Mutex<(Revision, Contents)>);

impl Sink for Told {
    fn apply(&self, changes: Vec<Change>) {
        let (last, contents) = &mut *self.0.lock();
        for change in changes {
            assert!(change.revision > *last, "in order");
            *last = change.revision;
            let key = change.key.as_str().to_owned();
            let bytes = match change.value {
                None => None,
                Some(Payload::Stored(stored)) => Some(stored.bytes.to_vec()),
                Some(Payload::Raw(raw)) => Some(raw.bytes.to_vec()),
            };
            match bytes {
                Some(bytes) => contents.insert(key, (change.revision.0, bytes)),
                None => contents.remove(&key),
            };
        }
    }

    fn trim(&self) {}

    fn closed(&self) {}
}

struct Collect(Arc<Mutex<Contents>>);

impl Install for Collect {
    fn record(&mut self, record: Record<'_>) -> Result<(), String> {
        let value = (record.revision.0, record.bytes.to_vec());
        self.0.lock().insert(record.key.to_owned(), value);
        Ok(())
    }

    fn done(&mut self, _: Revision) {}
}

async fn contents(engine: &Embedded) -> Contents {
    let found = Arc::new(Mutex::new(Contents::new()));
    engine
        .load("/t/t/", Box::new(Collect(found.clone())))
        .await
        .unwrap();
    std::mem::take(&mut *found.lock())
}

/// A new store's file.
fn image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let dir = directory();
            std::fs::read(dir.path().join("data.redb")).unwrap()
        })
        .clone()
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(Embedded::open(dir.path(), &Options::default()).unwrap());
    dir
}

fn options() -> Options {
    Options {
        max_history: 20,
        ..Options::default()
    }
}

/// What was acknowledged of a key, and what was tried since without an answer.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<Option<(u64, Vec<u8>)>>,
    in_doubt: Vec<Option<Vec<u8>>>,
}

/// Writes in rounds of concurrent ones until one fails, or to the end; goes on after failures
/// where told to.
async fn work(engine: &Embedded, seed: u64, go_on: bool) -> BTreeMap<String, Known> {
    let known = contents(engine).await.into_iter().map(|(key, value)| {
        let acknowledged = Some(Some(value));
        (
            key,
            Known {
                acknowledged,
                in_doubt: Vec::new(),
            },
        )
    });
    let mut known: BTreeMap<String, Known> = known.collect();
    let mut random = seed | 1;
    for round in 0..30u64 {
        let mut tried = Vec::new();
        for n in 0..1 + round % 5 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(n + 1);
            let key = format!("/t/t/-/k{n}-{}", (random >> 33) % 3);
            let before = known.entry(key.clone()).or_default();
            let exists = matches!(before.acknowledged, Some(Some(_)));
            if !before.in_doubt.is_empty() {
                continue;
            }
            let delete = exists && random >> 61 == 0;
            let bytes = vec![round as u8; 1 + (random >> 40) as usize % 9000];
            let stored = Stored::new(Bytes::from(bytes), Stored::NO_RV, Attributes::default());
            let value = Value {
                bytes: stored.bytes.clone(),
                sealed: false,
                expires_at: None,
                stored,
            };
            let new = (!delete).then(|| value.bytes.to_vec());
            let expect = if exists {
                Expect::Present
            } else {
                Expect::Absent
            };
            let op = if delete { Op::Delete } else { Op::Put(value) };
            let write = Write {
                key: Key::new(key.as_str()),
                expect,
                op,
            };
            let result = async { engine.commit(write).await };
            tried.push(async move { (key, new, result.await) });
        }
        let mut failed = false;
        for (key, new, result) in futures::future::join_all(tried).await {
            let known = known.entry(key).or_default();
            match result {
                Ok(committed) => {
                    known.acknowledged = Some(new.map(|new| (committed.revision.0, new)));
                }
                Err(CommitError::Conflict { .. }) => panic!("the model knows what is there"),
                Err(_) => {
                    known.in_doubt.push(new);
                    failed = true;
                }
            }
        }
        if failed && !go_on {
            break;
        }
    }
    known
}

fn check(known: &BTreeMap<String, Known>, found: &Contents) {
    for (key, known) in known {
        let found = found.get(key);
        let acknowledged = known.acknowledged.clone().flatten();
        if found == acknowledged.as_ref() {
            continue;
        }
        let maybe = found.map(|(_, bytes)| bytes.clone());
        assert!(
            known.in_doubt.contains(&maybe),
            "{key}: an acknowledged write is lost"
        );
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_machine_that_stops_loses_nothing_acknowledged(seed: u64, at in 1u64..1500, luck in 1u64..) {
        run(async {
            let dir = directory();
            let disk = Simulated::new(image(), Some(Fault::PowerLoss(at)));
            let Ok(engine) = Embedded::open_with(dir.path(), &options(), Box::new(disk.clone()))
            else {
                return;
            };
            engine.attach(Arc::new(Told::default()));
            let known = work(&engine, seed, false).await;
            drop(engine);

            let image = disk.0.lock().after_power_loss(luck);
            let disk = Simulated::new(image, None);
            let engine = Embedded::open_with(dir.path(), &options(), Box::new(disk)).unwrap();
            let told = Arc::new(Told::default());
            engine.attach(told.clone());
            check(&known, &contents(&engine).await);
            let last = known.values().filter_map(|k| k.acknowledged.clone().flatten());
            assert!(last.map(|(revision, _)| revision).max() <= Some(engine.opened_at().0));
            work(&engine, seed, false).await;
            assert!(told.0.lock().0 > engine.opened_at(), "revisions go on");
        });
    }

    #[test]
    fn a_failing_disk_is_survived_and_everybody_sees_what_is_on_it(
        seed: u64,
        at in 1u64..1500,
        full: bool,
    ) {
        run(async {
            let dir = directory();
            let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            let disk = Simulated::new(image(), Some(Fault::Once(at, kind)));
            let Ok(engine) = Embedded::open_with(dir.path(), &options(), Box::new(disk.clone()))
            else {
                return;
            };
            let told = Arc::new(Told::default());
            engine.attach(told.clone());
            let known = work(&engine, seed, true).await;
            disk.0.lock().fault = None;
            let failures = known.values().map(|known| known.in_doubt.len()).sum::<usize>();
            assert!(failures <= 5, "only one batch fails: {failures}");
            let found = contents(&engine).await;
            check(&known, &found);
            assert_eq!(found, told.0.lock().1);
            engine.close().await;

            let engine = Embedded::open_with(dir.path(), &options(), Box::new(disk)).unwrap();
            engine.attach(Arc::new(Told::default()));
            assert_eq!(contents(&engine).await, found);
        });
    }
}
