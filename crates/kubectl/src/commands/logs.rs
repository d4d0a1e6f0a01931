//! `kubectl logs`.

use std::io::Write;

use futures::{AsyncBufReadExt, AsyncReadExt, TryStreamExt, future::try_join_all};
use serde_json::Value;

use super::duration;
use crate::{
    error::{Error, Result, io, usage},
    flags::Logs,
    object::pods,
    session::{Session, escape},
};

/// How many logs are followed at once, as kubectl bounds it.
const FOLLOWED: usize = 5;

/// Runs it.
pub async fn run(session: &Session, flags: &Logs) -> Result<u8> {
    let all = match (&flags.target, &flags.selector) {
        (Some(target), None) => {
            let mut found = pods::of(session, target)
                .await
                .map_err(|error| match error {
                    Error::Server(status) if status.code == 404 => usage(format!(
                        "error from server (NotFound): {} in namespace {:?}",
                        status.message, session.namespace
                    )),
                    other => other,
                })?;
            if found.len() > 1 {
                eprintln!("Found {} pods, using pod/{}", found.len(), name(&found[0]));
            }
            found.truncate(1);
            found
        }
        (None, Some(selector)) => pods::selected(session, selector).await?,
        _ => {
            return Err(usage(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'",
            ));
        }
    };
    let mut wanted = Vec::new();
    for pod in &all {
        for container in containers(pod, flags) {
            wanted.push((name(pod).to_string(), container));
        }
    }
    if flags.follow && wanted.len() > FOLLOWED {
        return Err(usage(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {FOLLOWED}",
            wanted.len()
        )));
    }
    let prefix = flags.prefix;
    let streams = wanted.iter().map(|(pod, container)| async move {
        let shown = if prefix {
            format!("[pod/{pod}/{container}] ")
        } else {
            String::new()
        };
        copy(session, &path(session, flags, pod, container)?, &shown).await
    });
    if flags.follow {
        try_join_all(streams).await?;
    } else {
        for stream in streams {
            stream.await?;
        }
    }
    Ok(0)
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn containers(pod: &Value, flags: &Logs) -> Vec<String> {
    let named = flags.container.as_ref().or(flags.container_name.as_ref());
    if let Some(container) = named {
        return vec![container.clone()];
    }
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let names = lists
        .iter()
        .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    let names: Vec<String> = names
        .filter_map(|c| c["name"].as_str())
        .map(str::to_string)
        .collect();
    if flags.all_containers {
        return names;
    }
    let default = pods::default_container(pod).to_string();
    if names.len() > 1 && flags.selector.is_none() {
        eprintln!(
            "Defaulted container \"{default}\" out of: {}",
            names.join(", ")
        );
    }
    vec![default]
}

fn path(session: &Session, flags: &Logs, pod: &str, container: &str) -> Result<String> {
    let mut query = vec![format!("container={}", escape(container))];
    for (given, word) in [
        (flags.follow, "follow"),
        (flags.previous, "previous"),
        (flags.timestamps, "timestamps"),
    ] {
        if given {
            query.push(format!("{word}=true"));
        }
    }
    // By label, only the last lines of each, as kubectl does.
    let tail = flags
        .tail
        .or(flags.selector.is_some().then_some(10))
        .filter(|t| *t >= 0);
    query.extend(tail.map(|t| format!("tailLines={t}")));
    query.extend(flags.limit_bytes.map(|b| format!("limitBytes={b}")));
    if let Some(since) = &flags.since {
        query.push(format!(
            "sinceSeconds={}",
            duration(since)?.as_secs().max(1)
        ));
    }
    Ok(format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?{}",
        session.namespace,
        query.join("&")
    ))
}

async fn copy(session: &Session, path: &str, prefix: &str) -> Result<()> {
    let mut stream = session.stream(path, "*/*").await?;
    if !prefix.is_empty() {
        let mut lines = stream.lines();
        while let Some(line) = lines.try_next().await.map_err(io("log"))? {
            println!("{prefix}{line}");
        }
        return Ok(());
    }
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = stream.read(&mut buffer).await.map_err(io("log"))?;
        if read == 0 {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&buffer[..read])
            .and_then(|()| out.flush())
            .map_err(io("standard output"))?;
    }
}
