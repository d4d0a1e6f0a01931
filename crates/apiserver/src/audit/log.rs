//! The file that events are appended to, by a thread of its own, and put aside when it grows. Files put
//! aside are named as upstream's: `audit-2026-01-02T03-04-05.000.log` beside `audit.log`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use api::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::AuditConfig;

/// Events that wait for the disk, by number and by bytes; at either bound further ones are counted
/// and left out.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_BYTES: usize = 64 << 20;
/// What goes out in one write.
const WRITE: usize = 256 << 10;
/// How long a flush waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// The size of a file where none is configured, in megabytes.
const DEFAULT_SIZE: u64 = 100;
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

enum Message {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// The way to the thread that writes.
pub(super) struct Log {
    sender: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    lost: Counter,
}

impl Log {
    /// Opens the file and starts the thread, which ends with the log.
    pub fn open(
        path: &Path,
        config: &AuditConfig,
        clock: Arc<dyn Clock>,
        lost: Counter,
    ) -> std::io::Result<Log> {
        let sink: Box<dyn Sink> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(Rotating::open(path, config, clock)?)
        };
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (counted, counter) = (waiting.clone(), lost.clone());
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(sink, &receiver, &counted, &counter))?;
        Ok(Log {
            sender,
            waiting,
            lost,
        })
    }

    /// Appends a line, unless too much waits already.
    pub fn append(&self, line: String) {
        let size = line.len();
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > MAX_WAITING_BYTES {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.lost.inc();
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Line(line))
        {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.lost.inc();
        }
    }

    /// Waits for what was appended so far.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        // A queue that is full drains too slowly to be waited for.
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, written).await;
        }
    }
}

trait Sink: Send {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()>;
}

impl Sink for std::io::Stdout {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        self.write_all(lines).and_then(|()| self.flush())
    }
}

fn write(
    mut sink: Box<dyn Sink>,
    receiver: &Receiver<Message>,
    waiting: &AtomicUsize,
    lost: &Counter,
) {
    while let Ok(first) = receiver.recv() {
        let (mut text, mut lines, mut flushed) = (String::new(), 0u64, Vec::new());
        let mut next = Some(first);
        // Whatever else waits goes out in the same write.
        while let Some(message) = next.take() {
            match message {
                Message::Line(line) => {
                    waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    text.push_str(&line);
                    text.push('\n');
                    lines += 1;
                }
                Message::Flush(done) => flushed.push(done),
            }
            if text.len() < WRITE {
                next = receiver.try_recv().ok();
            }
        }
        if !text.is_empty()
            && let Err(error) = sink.write(text.as_bytes())
        {
            lost.inc_by(lines);
            tracing::warn!(%error, lines, "write audit events");
        }
        for done in flushed {
            // Nobody waits any longer: nothing to do.
            let _ = done.send(());
        }
    }
}

/// A file that is put aside before it grows beyond its bound.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_backups: usize,
    max_age: Option<SignedDuration>,
    clock: Arc<dyn Clock>,
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl Rotating {
    fn open(path: &Path, config: &AuditConfig, clock: Arc<dyn Clock>) -> std::io::Result<Rotating> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = open(path)?;
        let megabytes = if config.max_size == 0 {
            DEFAULT_SIZE
        } else {
            config.max_size
        };
        let mut rotating = Rotating {
            size: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            max_size: megabytes.saturating_mul(1 << 20),
            max_backups: config.max_backups,
            max_age: (config.max_age > 0)
                .then(|| SignedDuration::from_hours(24 * i64::from(config.max_age))),
            clock,
        };
        rotating.clear();
        Ok(rotating)
    }

    /// The file's name without its ending, and the ending.
    fn name(&self) -> (String, String) {
        let part = |text: Option<&std::ffi::OsStr>| {
            text.map(|t| t.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let ending = part(self.path.extension());
        let ending = if ending.is_empty() {
            ending
        } else {
            format!(".{ending}")
        };
        (part(self.path.file_stem()), ending)
    }

    fn backup(&self, at: Timestamp) -> PathBuf {
        let (stem, ending) = self.name();
        self.path
            .with_file_name(format!("{stem}-{}{ending}", at.strftime(STAMP)))
    }

    fn put_aside(&mut self) -> std::io::Result<()> {
        let mut at = self.clock.now();
        // Two in the same moment would be one.
        while self.backup(at).exists() {
            at += SignedDuration::from_millis(1);
        }
        std::fs::rename(&self.path, self.backup(at))?;
        self.file = open(&self.path)?;
        self.size = 0;
        self.clear();
        Ok(())
    }

    /// Takes files away that are too many or too old.
    fn clear(&mut self) {
        let (stem, ending) = self.name();
        let prefix = format!("{stem}-");
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        let mut backups: Vec<(Timestamp, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let stamp = name.strip_prefix(&prefix)?.strip_suffix(&ending)?;
                let time = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
                let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                Some((time.timestamp(), entry.path()))
            })
            .collect();
        backups.sort_by(|a, b| b.cmp(a));
        let now = self.clock.now();
        for (index, (made, path)) in backups.into_iter().enumerate() {
            let many = self.max_backups > 0 && index >= self.max_backups;
            let old = self
                .max_age
                .is_some_and(|age| now.duration_since(made) > age);
            if (many || old)
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "take an old audit log away");
            }
        }
    }
}

impl Sink for Rotating {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            // Lines stay whole; one that is larger than the bound has a file of its own.
            let room =
                usize::try_from(self.max_size.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let end = if rest.len() <= room {
                rest.len()
            } else {
                match rest[..room].iter().rposition(|b| *b == b'\n') {
                    Some(at) => at + 1,
                    None if self.size > 0 => {
                        self.put_aside()?;
                        continue;
                    }
                    None => rest
                        .iter()
                        .position(|b| *b == b'\n')
                        .map_or(rest.len(), |at| at + 1),
                }
            };
            self.file.write_all(&rest[..end])?;
            self.size += end as u64;
            rest = &rest[end..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Timestamp);

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    fn rotating(dir: &Path, max_backups: usize) -> Rotating {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let config = AuditConfig {
            max_size: 1,
            max_backups,
            max_age: 10,
            ..AuditConfig::default()
        };
        Rotating::open(&dir.join("logs/audit.log"), &config, Arc::new(Fixed(now))).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir.join("logs")).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_with_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = rotating(dir.path(), 2);
        let line = "x".repeat(400 << 10) + "\n";
        log.write(line.repeat(3).as_bytes()).unwrap();
        assert_eq!(
            names(dir.path()),
            ["audit-2026-01-02T03-04-05.000.log", "audit.log"]
        );
        let rest = std::fs::read_to_string(dir.path().join("logs/audit.log")).unwrap();
        assert_eq!(rest, line);
        // A line beyond the bound stands alone, and of the older files two are kept.
        log.write(("y".repeat(2 << 20) + "\n").as_bytes()).unwrap();
        log.write(line.as_bytes()).unwrap();
        assert_eq!(
            names(dir.path()),
            [
                "audit-2026-01-02T03-04-05.001.log",
                "audit-2026-01-02T03-04-05.002.log",
                "audit.log"
            ]
        );
    }

    #[test]
    fn old_files_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let others = [
            "audit-2026-01-01T00-00-00.000.log",
            "audit-notes.log",
            "other.log",
        ];
        let old = "audit-2025-12-02T00-00-00.000.log";
        for name in others.iter().chain([&old]) {
            std::fs::write(dir.path().join("logs").join(name), "").unwrap();
        }
        rotating(dir.path(), 0);
        assert_eq!(
            names(dir.path()),
            [others[0], others[1], "audit.log", others[2]]
        );
    }

    #[test]
    fn what_cannot_wait_is_counted() {
        let (sender, _receiver) = sync_channel(1);
        let log = Log {
            sender,
            waiting: Arc::default(),
            lost: Counter::default(),
        };
        log.append("a".to_owned());
        log.append("b".to_owned());
        assert_eq!(log.lost.get(), 1);
        log.append("c".repeat(MAX_WAITING_BYTES + 1));
        assert_eq!(
            (log.lost.get(), log.waiting.load(Ordering::Relaxed)),
            (2, 1)
        );
    }
}
