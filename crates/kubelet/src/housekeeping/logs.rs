//! Rotates container logs by size, as upstream's kubelet does: the current file is renamed and the
//! runtime opens a new one; of the renamed ones the newest stays as it is (a reader may be at its
//! end), older ones are compressed, and the oldest go.

use std::{
    io,
    path::{Path, PathBuf},
};

use cri::v1;
use flate2::{Compression, write::GzEncoder};

use crate::{agent::Agent, pods::observed::keys};

/// Looks at the logs of every running container.
pub async fn rotate(agent: &Agent) {
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            state: Some(v1::ContainerStateValue {
                state: v1::ContainerState::ContainerRunning as i32,
            }),
            ..Default::default()
        }),
    };
    let Ok(answer) = agent.runtime.list_containers(request).await else {
        return;
    };
    for container in answer.containers {
        let Some(path) = log_path(agent, &container) else {
            continue;
        };
        let large = tokio::fs::metadata(&path)
            .await
            .is_ok_and(|m| m.len() > agent.config.log_max_size);
        if large && let Err(error) = rotate_one(agent, &container.id, &path).await {
            tracing::warn!(path = %path.display(), %error, "log is not rotated");
        }
    }
}

fn log_path(agent: &Agent, container: &v1::Container) -> Option<PathBuf> {
    let get = |key: &str| container.labels.get(key);
    let count = container.annotations.get(keys::RESTART_COUNT)?;
    Some(
        agent
            .config
            .pod_logs_dir
            .join(format!(
                "{}_{}_{}",
                get(keys::POD_NAMESPACE)?,
                get(keys::POD_NAME)?,
                get(keys::POD_UID)?
            ))
            .join(get(keys::CONTAINER_NAME)?)
            .join(format!("{count}.log")),
    )
}

async fn rotate_one(agent: &Agent, id: &str, path: &Path) -> io::Result<()> {
    let (directory, files) = rotations(path).await?;
    let tidying = plan(&files, agent.config.log_max_files);
    tokio::task::spawn_blocking(move || tidy(&directory, &tidying))
        .await
        .map_err(io::Error::other)??;
    // Names sort by time.
    let stamp = agent.now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    let rotated = PathBuf::from(name);
    tokio::fs::rename(path, &rotated).await?;
    let reopened = agent
        .runtime
        .reopen_container_log(v1::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        })
        .await;
    if let Err(error) = reopened {
        // The runtime still writes to the renamed file: it gets its name back.
        tokio::fs::rename(&rotated, path).await?;
        return Err(io::Error::other(error.to_string()));
    }
    Ok(())
}

const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".tmp";

/// What happens to a log's rotated files before the next one joins them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tidying {
    remove: Vec<String>,
    compress: Vec<String>,
}

/// Leaves room for the current file, and for the one that is about to be made of it.
fn plan(files: &[String], most: u32) -> Tidying {
    let (mut kept, unused): (Vec<String>, Vec<String>) = files.iter().cloned().partition(|file| {
        let twin = format!("{file}{COMPRESSED}");
        !file.ends_with(UNFINISHED) && !files.contains(&twin)
    });
    kept.sort();
    let room = usize::try_from(most.saturating_sub(2)).unwrap_or(usize::MAX);
    let excess = kept.len().saturating_sub(room);
    let mut remove = unused;
    remove.extend(kept.drain(..excess));
    kept.retain(|file| !file.ends_with(COMPRESSED));
    Tidying {
        remove,
        compress: kept,
    }
}

fn tidy(directory: &Path, tidying: &Tidying) -> io::Result<()> {
    for file in &tidying.remove {
        std::fs::remove_file(directory.join(file))?;
    }
    for file in &tidying.compress {
        compress(
            &directory.join(file),
            &directory.join(format!("{file}{UNFINISHED}")),
        )?;
    }
    Ok(())
}

/// Compresses a file by way of another one, so that a crash leaves the one or the other whole.
fn compress(path: &Path, unfinished: &Path) -> io::Result<()> {
    let mut from = std::fs::File::open(path)?;
    let to = std::fs::File::create(unfinished)?;
    to.set_permissions(from.metadata()?.permissions())?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?;
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    std::fs::rename(unfinished, name)?;
    std::fs::remove_file(path)
}

/// A log's directory, and the names of its rotated files in it.
async fn rotations(path: &Path) -> io::Result<(PathBuf, Vec<String>)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files = Vec::new();
    let mut entries = tokio::fs::read_dir(directory).await?;
    while let Some(entry) = entries.next_entry().await? {
        files.extend(
            entry
                .file_name()
                .into_string()
                .ok()
                .filter(|name| name.starts_with(&prefix)),
        );
    }
    Ok((directory.to_owned(), files))
}

/// Removes a log with its rotated files. None there is fine.
pub async fn remove(path: &Path) {
    let mut gone = vec![path.to_owned()];
    if let Ok((directory, files)) = rotations(path).await {
        gone.extend(files.iter().map(|file| directory.join(file)));
    }
    for path in gone {
        // What stays goes with the pod's directory.
        let _ = tokio::fs::remove_file(path).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_files_are_compressed_and_the_oldest_go() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        type Case<'a> = (&'a [&'a str], u32, &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 5] = [
            (&[], 5, &[], &[]),
            (&["0.log.1"], 5, &[], &["0.log.1"]),
            (
                &["0.log.4", "0.log.1.gz", "0.log.2.gz", "0.log.3.gz"],
                5,
                &["0.log.1.gz"],
                &["0.log.4"],
            ),
            // A crash while compressing left these.
            (
                &["0.log.1", "0.log.1.gz", "0.log.2", "0.log.2.tmp"],
                5,
                &["0.log.1", "0.log.2.tmp"],
                &["0.log.2"],
            ),
            (&["0.log.1", "0.log.2"], 2, &["0.log.1", "0.log.2"], &[]),
        ];
        for (files, most, remove, compress) in cases {
            let mut planned = plan(&names(files), most);
            planned.remove.sort();
            assert_eq!(planned.remove, names(remove), "{files:?}");
            assert_eq!(planned.compress, names(compress), "{files:?}");
        }
    }

    #[test]
    fn compressed_files_hold_what_the_log_held() {
        use std::io::Read;
        let home = tempfile::tempdir().expect("a directory");
        let log = home.path().join("0.log.1");
        std::fs::write(&log, "said\n".repeat(1000)).expect("written");
        let tidying = plan(&["0.log.1".to_owned()], 5);
        tidy(home.path(), &tidying).expect("tidied");
        let left: Vec<_> = std::fs::read_dir(home.path())
            .expect("read")
            .map(|e| e.expect("entry").file_name())
            .collect();
        assert_eq!(left, ["0.log.1.gz"]);
        let mut text = String::new();
        let file = std::fs::File::open(home.path().join("0.log.1.gz")).expect("there");
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(text, "said\n".repeat(1000));
    }
}
