//! Takes pods off the node when memory or disk runs out, those that use more than they asked for
//! first; and pods whose emptyDir outgrew its limit.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use client::events::EventType;
use cri::v1;
use jiff::{SignedDuration, Timestamp};

use super::disk;
use crate::{
    agent::Agent,
    config::EvictionThresholds,
    node::{conditions::Pressure, machine::meminfo_bytes},
    pods::{manager::Pods, observed::keys, qos::Qos, resources, status::Verdict, view::PodView},
};

/// Pressure is reported for this long after it was last seen.
const LINGER: SignedDuration = SignedDuration::from_mins(5);

/// What the evictor remembers.
#[derive(Debug, Default)]
pub struct Evictor {
    memory_seen: Option<Timestamp>,
    disk_seen: Option<Timestamp>,
}

/// A pod as the ranking sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    uid: String,
    priority: i32,
    request: i64,
    usage: i64,
    critical: bool,
}

/// The pod to go first: over its request before under it, then low priority before high, then the
/// one furthest over.
fn first(mut candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.retain(|c| !c.critical);
    candidates.sort_by_key(|c| (c.usage <= c.request, c.priority, c.request - c.usage));
    candidates.into_iter().next()
}

impl Evictor {
    /// Looks at the node; evicts at most one pod per look.
    pub async fn look(&mut self, agent: &Arc<Agent>, pods: &Arc<Pods>) -> Pressure {
        let now = agent.now();
        let limits = agent.config.eviction;
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = meminfo_bytes(&meminfo, "MemAvailable");
        let short =
            available > 0 && u64::try_from(available).unwrap_or(u64::MAX) < limits.memory_available;
        let disk_short = disk_short(&agent.config.root_dir, &limits);
        if short {
            self.memory_seen = Some(now);
            let message = format!(
                "The node was low on resource: memory. Threshold quantity: {}, available: {}Ki. ",
                limits.memory_available,
                available / 1024
            );
            self.evict(agent, pods, "memory", message).await;
        } else if let Some((what, _)) = disk_short
            && self.disk_seen.is_some()
        {
            // Images were collected since the last look, and that was not enough.
            let message = format!("The node was low on resource: {what}. ");
            self.evict(agent, pods, "ephemeral-storage", message).await;
        }
        if disk_short.is_some() {
            self.disk_seen = Some(now);
        }
        let recent =
            |seen: Option<Timestamp>| seen.is_some_and(|at| now.duration_since(at) < LINGER);
        Pressure {
            memory: recent(self.memory_seen),
            disk: recent(self.disk_seen),
            pid: false,
        }
    }

    async fn evict(&self, agent: &Arc<Agent>, pods: &Arc<Pods>, resource: &str, message: String) {
        let usage = memory_usage(agent).await;
        let candidates = pods
            .list()
            .into_iter()
            .map(PodView::new)
            .filter(|pod| !pod.is_terminal() && pod.deletion().is_none())
            .map(|pod| Candidate {
                uid: pod.uid().to_owned(),
                priority: pod.spec().priority.unwrap_or(0),
                request: resources::pod_requests(pod.spec())
                    .get(resource)
                    .map_or(0, |n| i64::try_from(n / 1_000_000_000).unwrap_or(i64::MAX)),
                usage: usage.get(pod.uid()).copied().unwrap_or(0),
                critical: pod.is_static()
                    || pod.spec().priority.is_some_and(|p| p >= 2_000_000_000),
            })
            .collect();
        let Some(chosen) = first(candidates) else {
            return;
        };
        let Some(pod) = pods
            .list()
            .into_iter()
            .find(|p| p.metadata.uid.as_deref() == Some(&chosen.uid))
            .map(PodView::new)
        else {
            return;
        };
        tracing::warn!(pod = %pod.full_name(), class = Qos::of(pod.spec()).as_str(), resource, "evicting");
        agent.metrics.evictions.inc();
        agent.pod_event(&pod, None, EventType::Warning, "Evicted", message.clone());
        let verdict = Verdict {
            reason: "Evicted".to_owned(),
            message,
        };
        pods.evict(&chosen.uid, verdict, 1).await;
    }
}

/// What the file system of the root directory is short of: bytes or inodes, and the least free part.
pub(super) fn disk_short(root: &Path, limits: &EvictionThresholds) -> Option<(&'static str, f64)> {
    let scarce = |usage: Option<(u64, u64)>, least: f64| {
        usage.is_some_and(|(used, total)| (total - used) as f64 / (total as f64) < least)
    };
    if scarce(disk::usage(root), limits.fs_available) {
        return Some(("ephemeral-storage", limits.fs_available));
    }
    scarce(disk::inodes(root), limits.inodes_free).then_some(("inodes", limits.inodes_free))
}

/// Working sets by pod uid.
async fn memory_usage(agent: &Agent) -> HashMap<String, i64> {
    let mut out = HashMap::new();
    let request = v1::ListContainerStatsRequest::default();
    let Ok(answer) = agent.runtime.list_container_stats(request).await else {
        return out;
    };
    for stats in answer.stats {
        let uid = stats
            .attributes
            .as_ref()
            .and_then(|a| a.labels.get(keys::POD_UID).cloned());
        let bytes = stats
            .memory
            .as_ref()
            .and_then(|m| m.working_set_bytes)
            .and_then(|b| i64::try_from(b.value).ok());
        if let (Some(uid), Some(bytes)) = (uid, bytes) {
            *out.entry(uid).or_default() += bytes;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_of_what_falls_below_its_least_part() {
        let limits = |fs_available, inodes_free| EvictionThresholds {
            fs_available,
            inodes_free,
            ..EvictionThresholds::default()
        };
        let short = |limits| disk_short(Path::new("/"), &limits);
        assert_eq!(short(limits(0.0, 0.0)), None);
        assert_eq!(short(limits(1.1, 0.0)), Some(("ephemeral-storage", 1.1)));
        if disk::inodes(Path::new("/")).is_some() {
            assert_eq!(short(limits(0.0, 1.1)), Some(("inodes", 1.1)));
        }
    }

    #[test]
    fn ranking() {
        let pod = |uid: &str, priority, request, usage, critical| Candidate {
            uid: uid.into(),
            priority,
            request,
            usage,
            critical,
        };
        let chosen = first(vec![
            pod("within", 0, 100, 50, false),
            pod("critical", 0, 0, 900, true),
            pod("important", 10, 0, 800, false),
            pod("a-little-over", 0, 100, 110, false),
            pod("far-over", 0, 100, 500, false),
        ]);
        assert_eq!(chosen.map(|c| c.uid).as_deref(), Some("far-over"));
        assert_eq!(first(vec![pod("critical", 0, 0, 1, true)]), None);
    }
}
