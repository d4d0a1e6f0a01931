//! A process that is killed, and a disk that is full: whatever was acknowledged stays.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use store::engine::CommitError;
use store::{Expect, Options, Revision, Store, WriteError};

use crate::fixture::{n, numbered, object, open, open_with, pod};

const CHILD: &str = "STORE_TEST_CHILD_DIR";
const WRITERS: u64 = 8;

/// Not a test by itself: the process that [`kill_at_any_moment_loses_nothing`] starts and kills.
/// Prints a line for each write after it was acknowledged.
#[test]
fn child_writer() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&dir)).await;
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0u64.. {
                    let key = pod(&format!("w{writer}-{}", i % 50));
                    let expect = match store.get(&key) {
                        Some(entry) => Expect::At(entry.revision),
                        None => Expect::Absent,
                    };
                    let made = store
                        .update(key.clone(), expect, numbered(i))
                        .await
                        .unwrap();
                    println!("ack {} {} {i}", made.revision, key.name());
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

#[tokio::test]
async fn kill_at_any_moment_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Revision(1);
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_writer", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // In the middle of things, after another number of writes each time
        let enough = 40 + (round * 977) % 600;
        let mut killed = false;
        // What was acknowledged but not read when the signal went out counts too
        while let Some(Ok(line)) = lines.next() {
            let Some(line) = line.split_once("ack ").map(|(_, rest)| rest.to_owned()) else {
                continue;
            };
            let parts: Vec<_> = line.split(' ').collect();
            let [revision, key, value] = parts[..] else {
                assert!(killed, "a line may only be cut off by the signal: {line}");
                continue;
            };
            let Ok(value) = value.parse::<u64>() else {
                continue;
            };
            acknowledged.push((revision.parse::<u64>().unwrap(), key.to_owned(), value));
            if acknowledged.len() as u64 >= enough && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(acknowledged.len() as u64 >= enough);

        let store = open(dir.path()).await;
        acknowledged.sort_unstable();
        let revisions = acknowledged.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(
            revisions && acknowledged[0].0 > last.0,
            "revisions only grow"
        );
        last = store.revision();
        for (revision, key, value) in acknowledged {
            assert!(last.0 >= revision);
            let entry = store.get(&pod(&key)).unwrap();
            assert!(entry.revision.0 >= revision, "{key} at {revision} is lost");
            if entry.revision.0 == revision {
                assert_eq!(n(&entry.json), value);
            }
        }
        let next = store
            .update(
                pod("parent"),
                match store.get(&pod("parent")) {
                    Some(entry) => Expect::At(entry.revision),
                    None => Expect::Absent,
                },
                numbered(round),
            )
            .await
            .unwrap();
        assert_eq!(next.revision.0, last.0 + 1);
        last = next.revision;
        store.close().await;
    }
}

/// A small file system of its own, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(Small(dir)),
            Ok(_) => Err("needs root to mount a tmpfs".into()),
            Err(error) => Err(format!("needs mount(8): {error}")),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_reported_loses_nothing_and_passes() {
    let disk = match Small::mount("24m") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let dir = disk.0.path().join("store");
    let options = || Options {
        max_history: 50,
        ..Options::default()
    };
    let store = open_with(&dir, options()).await;
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1u8; 8 << 20]).unwrap();

    let large = |i: u64| object(serde_json::json!({"n": i, "x": "x".repeat(40_000)}));
    let mut kept: Vec<(u64, Revision)> = Vec::new();
    let mut full = None;
    for base in (0..2000).step_by(8) {
        let writes = (base..base + 8).map(|i| {
            let store = store.clone();
            tokio::spawn(async move { (i, store.create(pod(&format!("p{i}")), large(i)).await) })
        });
        for write in writes.collect::<Vec<_>>() {
            match write.await.unwrap() {
                (i, Ok(entry)) => kept.push((i, entry.revision)),
                (_, Err(error)) => full = Some(error),
            }
        }
        if full.is_some() {
            break;
        }
    }
    let error = full.expect("the disk never got full");
    assert!(
        matches!(error, WriteError::Engine(CommitError::Full { .. })),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("no space left for "),
        "{error}"
    );
    let all_there = |store: &Store| {
        for (i, revision) in &kept {
            let entry = store.get(&pod(&format!("p{i}"))).unwrap();
            assert_eq!((entry.revision, n(&entry.json)), (*revision, *i));
        }
    };
    all_there(&store);

    // Room again: the store goes on by itself, with the next try after a pause
    std::fs::remove_file(&ballast).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let next = loop {
        match store.create(pod("after"), numbered(1)).await {
            Ok(entry) => break entry,
            Err(WriteError::Exists { current }) => break current,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    all_there(&store);
    assert!(kept.iter().all(|(_, revision)| *revision < next.revision));
    store.close().await;
    drop(store);
    let store: Arc<Store> = open_with(&dir, options()).await;
    all_there(&store);
    assert_eq!(store.get(&pod("after")).unwrap().revision, next.revision);
    store.close().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_made_for_lack_of_room_says_so() {
    let disk = match Small::mount("64k") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let refused = Store::open(disk.0.path().join("store"), Options::default()).map(drop);
    let error = refused.unwrap_err();
    assert!(
        error.to_string().starts_with("no space left to open "),
        "{error}"
    );
}
