//! Takes pods off the node that keep more on its disk than they may: in an emptyDir beyond its
//! sizeLimit, or in a container beyond its ephemeral-storage limit.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use client::events::EventType;
use cri::v1;

use crate::{
    agent::Agent,
    pods::{cri_config, manager::Pods, observed::keys, resources, status::Verdict, view::PodView},
    volumes,
};

/// Looks at every pod that has a limit; the others cost nothing.
pub async fn look(agent: &Arc<Agent>, pods: &Arc<Pods>) {
    let limited: Vec<PodView> = pods
        .list()
        .into_iter()
        .map(PodView::new)
        .filter(|pod| !pod.is_terminal() && pod.deletion().is_none() && has_limit(pod))
        .collect();
    if limited.is_empty() {
        return;
    }
    let layers = writable_layers(agent).await;
    let worker = agent.clone();
    let over = tokio::task::spawn_blocking(move || {
        limited
            .into_iter()
            .filter_map(|pod| excess(&worker, &pod, &layers).map(|message| (pod, message)))
            .collect::<Vec<_>>()
    })
    .await
    .unwrap_or_default();
    for (pod, message) in over {
        agent.metrics.evictions.inc();
        agent.pod_event(&pod, None, EventType::Warning, "Evicted", message.clone());
        let verdict = Verdict {
            reason: "Evicted".to_owned(),
            message,
        };
        pods.evict(pod.uid(), verdict, 1).await;
    }
}

fn on_disk(volume: &k8s_openapi::api::core::v1::Volume) -> Option<i64> {
    let source = volume.empty_dir.as_ref()?;
    if source.medium.as_deref() == Some("Memory") {
        // The kernel keeps a tmpfs within its size.
        return None;
    }
    source
        .size_limit
        .as_ref()
        .map(resources::value)
        .filter(|limit| *limit > 0)
}

fn has_limit(pod: &PodView) -> bool {
    pod.spec()
        .volumes
        .iter()
        .flatten()
        .any(|v| on_disk(v).is_some())
        || pod
            .all()
            .any(|(c, _)| resources::limit(c, "ephemeral-storage").is_some())
}

/// What a pod has too much of, in words; none when it keeps its limits.
fn excess(agent: &Agent, pod: &PodView, layers: &HashMap<(String, String), u64>) -> Option<String> {
    for volume in pod.spec().volumes.iter().flatten() {
        let Some(limit) = on_disk(volume) else {
            continue;
        };
        let dir = volumes::volume_dir(agent, pod, "empty-dir", &volume.name);
        if i64::try_from(size(&dir)).unwrap_or(i64::MAX) > limit {
            let shown = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
            return Some(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
                volume.name, shown.0
            ));
        }
    }
    for (container, _) in pod.all() {
        let Some(limit) = resources::limit(container, "ephemeral-storage") else {
            continue;
        };
        let key = (pod.uid().to_owned(), container.name.clone());
        let logs = size(&cri_config::log_dir(agent, pod).join(&container.name));
        let used = layers.get(&key).copied().unwrap_or(0) + logs;
        if i64::try_from(used).unwrap_or(i64::MAX) > resources::value(limit) {
            return Some(format!(
                "Container {} exceeded its local ephemeral storage limit {:?}. ",
                container.name, limit.0
            ));
        }
    }
    None
}

/// Bytes on disk below a path; what cannot be read counts as nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let below: u64 = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| size(&entry.path()))
        .sum();
    own + below
}

/// Bytes that containers wrote beside their volumes, by pod uid and container name.
async fn writable_layers(agent: &Agent) -> HashMap<(String, String), u64> {
    let request = v1::ListContainerStatsRequest::default();
    let Ok(answer) = agent.runtime.list_container_stats(request).await else {
        return HashMap::new();
    };
    answer
        .stats
        .into_iter()
        .filter_map(|stats| {
            let labels = &stats.attributes.as_ref()?.labels;
            let key = (
                labels.get(keys::POD_UID)?.clone(),
                labels.get(keys::CONTAINER_NAME)?.clone(),
            );
            Some((key, stats.writable_layer.as_ref()?.used_bytes?.value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_what_is_below() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("d")).expect("made");
        let empty = size(home.path());
        fs::write(home.path().join("d/f"), vec![1; 100_000]).expect("written");
        assert!(size(home.path()) >= empty + 100_000);
        assert_eq!(size(&home.path().join("none")), 0);
    }
}
