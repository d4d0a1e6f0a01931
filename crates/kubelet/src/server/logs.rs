//! /containerLogs: a container's log, from the file the runtime writes, following it as it grows
//! and through rotations. Growth is told by inotify, the container's end by the runtime's events.

use std::{
    io::SeekFrom,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{
    App, Body,
    exec::{Refused, find},
    route::{Query, Target},
    text,
};
use crate::{
    inotify::Directory,
    log_lines::{Filter, Writer},
    pods::{cri_config, observed::State},
};

/// Pieces on their way to the client; more wait for it to read.
const PIECES: usize = 16;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// A longer line is passed on in parts.
const LONGEST_LINE: usize = 1 << 20;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    tail: Option<u64>,
    filter: Filter,
    limit: Option<u64>,
}

impl Options {
    fn parse(query: &Query, now: Timestamp) -> Result<Self, Refused> {
        let bad = |what: &str| Refused(StatusCode::BAD_REQUEST, format!("invalid {what}"));
        let number = |key: &str| match query.get(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| bad(key)),
        };
        let mut since = None;
        if let Some(seconds) = number("sinceSeconds")? {
            let seconds = i64::try_from(seconds).map_err(|_| bad("sinceSeconds"))?;
            since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
        }
        if let Some(time) = query.get("sinceTime").filter(|t| !t.is_empty()) {
            since = Some(time.parse().map_err(|_| bad("sinceTime"))?);
        }
        let stream = match query.get("stream") {
            None | Some("" | "All") => None,
            Some("Stdout") => Some("stdout"),
            Some("Stderr") => Some("stderr"),
            Some(_) => return Err(bad("stream")),
        };
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            tail: number("tailLines")?,
            filter: Filter {
                since,
                stream: stream.map(str::to_owned),
                timestamps: query.flag("timestamps"),
            },
            limit: number("limitBytes")?,
        })
    }
}

/// The log to read.
struct Log {
    path: PathBuf,
    id: String,
    running: bool,
}

/// Answers with the log.
pub async fn serve(app: &App, target: Target, query: &Query) -> Response<Body> {
    let work = async {
        let options = Options::parse(query, app.agent.now())?;
        let log = locate(app, &target, options.previous).await?;
        let (pieces, stream) = mpsc::channel::<Bytes>(PIECES);
        let app = app.clone();
        tokio::spawn(async move {
            if let Err(error) = read(&app, &log, &options, &pieces).await {
                tracing::debug!(path = %log.path.display(), %error, "log");
            }
        });
        let stream = ReceiverStream::new(stream).map(|piece| Ok(Frame::data(piece)));
        let mut response = Response::new(StreamBody::new(stream).boxed());
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain"),
        );
        Ok::<_, Refused>(response)
    };
    work.await
        .unwrap_or_else(|Refused(status, words)| text(status, words))
}

async fn locate(app: &App, target: &Target, previous: bool) -> Result<Log, Refused> {
    let (pod, observed) = find(app, target).await?;
    let name = &target.container;
    if pod.container(name).is_none() {
        return Err(Refused(
            StatusCode::BAD_REQUEST,
            format!(
                "container {name:?} in pod {:?} is not available",
                pod.name()
            ),
        ));
    }
    let run = if previous {
        let current = observed.current(name);
        // A container that waits to be restarted has its last run as the current one.
        let waiting = current.is_some_and(|run| run.state == State::Exited)
            && observed.previous(name).is_none();
        let run = if waiting {
            current
        } else {
            observed.previous(name)
        };
        run.ok_or_else(|| {
            Refused(
                StatusCode::BAD_REQUEST,
                format!(
                    "previous terminated container {name:?} in pod {:?} not found",
                    pod.name()
                ),
            )
        })?
    } else {
        observed.current(name).ok_or_else(|| {
            let reason = [
                &pod.status().container_statuses,
                &pod.status().init_container_statuses,
                &pod.status().ephemeral_container_statuses,
            ]
            .into_iter()
            .flatten()
            .flatten()
            .find(|s| s.name == *name)
            .and_then(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone())
            .unwrap_or_else(|| "ContainerCreating".to_owned());
            Refused(
                StatusCode::BAD_REQUEST,
                format!(
                    "container {name:?} in pod {:?} is waiting to start: {reason}",
                    pod.name()
                ),
            )
        })?
    };
    Ok(Log {
        path: cri_config::log_dir(&app.agent, &pod)
            .join(name)
            .join(format!("{}.log", run.restart_count)),
        id: run.id.clone(),
        running: run.state == State::Running,
    })
}

/// Where the last `lines` lines of a file begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut found = 0;
    let mut buffer = vec![0; CHUNK];
    while end > 0 {
        let size = end.min(CHUNK as u64);
        let begin = end - size;
        let part = &mut buffer[..usize::try_from(size).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(begin)).await?;
        file.read_exact(part).await?;
        for (index, byte) in part.iter().enumerate().rev() {
            let at = begin + index as u64;
            // The newline that ends the file begins no line.
            if *byte == b'\n' && at + 1 != length {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = begin;
    }
    Ok(0)
}

async fn read(
    app: &App,
    log: &Log,
    options: &Options,
    pieces: &mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let mut news = app.pods.news();
    // Watched before the first read: what is written after it wakes us.
    let watch = match (options.follow, log.path.parent()) {
        (true, Some(dir)) => Some(Directory::new(dir)?),
        _ => None,
    };
    let mut file = File::open(&log.path).await?;
    let start = match options.tail {
        Some(lines) => tail_start(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut writer = Writer::new(options.filter.clone(), options.limit);
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut running = log.running && options.follow;
    let mut next = None;
    loop {
        let read = file.read(&mut buffer).await?;
        if read > 0 {
            pending.extend_from_slice(&buffer[..read]);
            if !flush(&mut writer, &mut pending, pieces).await {
                return Ok(());
            }
            continue;
        }
        // The runtime wrote to the old file until the new one was there: only a look at it after
        // that has seen all of it.
        if let Some(next) = next.take() {
            file = next;
            continue;
        }
        next = rotated(&file, &log.path).await;
        if next.is_some() {
            continue;
        }
        let (Some(watch), true) = (&watch, running) else {
            break;
        };
        tokio::select! {
            () = pieces.closed() => return Ok(()),
            changed = watch.changed() => changed?,
            told = news.changed() => {
                // When it has ended there is one more look at the file.
                running = told.is_ok() && is_running(app, &log.id).await;
            }
        }
    }
    if !pending.is_empty() {
        pending.push(b'\n');
        flush(&mut writer, &mut pending, pieces).await;
    }
    Ok(())
}

/// Sends the whole lines; whether the client wants more.
async fn flush(writer: &mut Writer, pending: &mut Vec<u8>, pieces: &mpsc::Sender<Bytes>) -> bool {
    let end = match pending.iter().rposition(|b| *b == b'\n') {
        Some(last) => last + 1,
        None if pending.len() > LONGEST_LINE => pending.len(),
        None => return true,
    };
    let whole: Vec<u8> = pending.drain(..end).collect();
    let out = writer.write(&whole);
    if !out.is_empty() && pieces.send(out.into()).await.is_err() {
        return false;
    }
    !writer.is_full()
}

/// The file that took the log's name since ours was opened.
async fn rotated(file: &File, path: &Path) -> Option<File> {
    let ours = file.metadata().await.ok()?;
    let theirs = tokio::fs::metadata(path).await.ok()?;
    if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
        return None;
    }
    File::open(path).await.ok()
}

async fn is_running(app: &App, id: &str) -> bool {
    let agent: Arc<_> = app.agent.clone();
    agent
        .runtime
        .container(id)
        .await
        .is_ok_and(|status| status.state == cri::v1::ContainerState::ContainerRunning as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tails() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\n").expect("written");
        let mut file = File::open(&path).await.expect("opened");
        for (lines, want) in [(0, 14), (1, 8), (2, 4), (3, 0), (9, 0)] {
            assert_eq!(tail_start(&mut file, lines).await.expect("read"), want);
        }
    }

    #[test]
    fn options() {
        let now = Timestamp::from_second(1_000).expect("in range");
        let query =
            Query::parse("follow=true&tailLines=5&sinceSeconds=10&timestamps=1&stream=Stderr");
        let options = Options::parse(&query, now).ok().expect("valid");
        assert!(options.follow && options.filter.timestamps);
        assert_eq!(options.tail, Some(5));
        assert_eq!(options.filter.since.map(|t| t.as_second()), Some(990));
        assert_eq!(options.filter.stream.as_deref(), Some("stderr"));
        assert!(Options::parse(&Query::parse("tailLines=x"), now).is_err());
    }
}
