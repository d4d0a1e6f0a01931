//! Opening: who may, what is refused and how that is worded, and that nothing is damaged by it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use store::{OpenError, Options, Store};

use crate::fixture::{numbered, open, pod};

fn refused(dir: &Path) -> OpenError {
    let options = Options {
        lock_wait: Duration::ZERO,
        ..Options::default()
    };
    match Store::open(dir, options) {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_store_is_opened_once_at_a_time_and_says_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let expected = format!(
        "another corten uses {} (pid {}): stop it, or give this one a directory of its own",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(refused(dir.path()).to_string(), expected);
    store.create(pod("a"), numbered(1)).await.unwrap();
    // Whoever waits gets it as soon as it is given up
    let path = dir.path().to_owned();
    let patient = Options {
        lock_wait: Duration::from_secs(60),
        ..Options::default()
    };
    let waiting = std::thread::spawn(move || Store::open(path, patient));
    store.close().await;
    assert!(waiting.join().unwrap().is_ok());
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/store");
    let store = open(&path).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in std::fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    drop(store);
}

#[tokio::test]
async fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");

    for (name, content) in [
        ("text", "not a database at all".repeat(500)),
        ("empty", String::new()),
    ] {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("data.redb");
        std::fs::write(&file, &content).unwrap();
        let error = refused(&dir);
        assert!(
            matches!(error, OpenError::NotAStore { .. }),
            "{name}: {error}"
        );
        assert!(
            std::fs::read_to_string(file).unwrap() == content,
            "{name} was changed"
        );
    }

    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    drop(redb::Database::create(other.join("data.redb")).unwrap());
    let error = refused(&other);
    assert!(
        error.to_string().contains("a database of another program"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let file = dir.path().join("data.redb");
    {
        let database = redb::Database::create(&file).unwrap();
        let txn = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        txn.open_table(meta).unwrap().insert("format", 7).unwrap();
        txn.commit().unwrap();
    }
    let expected = format!(
        "{} has format 7, this corten knows formats up to 1: use a newer corten",
        file.display()
    );
    assert_eq!(refused(dir.path()).to_string(), expected);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let error = refused(Path::new("/proc/corten-store"));
    assert!(
        error
            .to_string()
            .starts_with("cannot access /proc/corten-store: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_torn_tail_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for i in 0..20 {
        store
            .create(pod(&format!("p{i}")), numbered(i))
            .await
            .unwrap();
    }
    store.close().await;
    // A crash while the file grew: room and rubbish that no header names
    let file = dir.path().join("data.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(&[0xa5; 10_000]);
    std::fs::write(&file, bytes).unwrap();
    let store = open(dir.path()).await;
    for i in 0..20 {
        assert!(store.get(&pod(&format!("p{i}"))).is_some());
    }
    store.create(pod("more"), numbered(1)).await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.redb.new"), "half of a").unwrap();
    let store = open(dir.path()).await;
    store.create(pod("a"), numbered(1)).await.unwrap();
    assert!(!dir.path().join("data.redb.new").exists());
}
