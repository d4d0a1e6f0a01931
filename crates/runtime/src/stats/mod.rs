//! What containers and pods use: read from their control groups when asked, never on a timer.

pub mod metrics;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cri::v1;
use parking_lot::Mutex;

use crate::{
    Runtime,
    container::record::Container,
    sandbox::record::Sandbox,
    shim::{cgroup::Hierarchies, now},
};

/// How long the size of a writable layer is taken as known: walking it costs disk reads.
const LAYER_AGE: Duration = Duration::from_secs(30);

/// Earlier readings, from which rates come.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    cpu: Mutex<HashMap<String, (i64, u64, u64)>>,
    layers: Mutex<HashMap<String, (Instant, u64, u64)>>,
}

impl Samples {
    /// Drops what is known about a container or sandbox.
    pub(crate) fn forget(&self, id: &str) {
        self.cpu.lock().remove(id);
        self.layers.lock().remove(id);
    }

    /// Nanocores since the reading before.
    fn rate(&self, id: &str, at: i64, used: u64) -> u64 {
        let mut cpu = self.cpu.lock();
        let entry = cpu.entry(id.to_owned()).or_insert((at, used, 0));
        let elapsed = at - entry.0;
        // Two readings close together say little; the last rate stands.
        if elapsed >= 500_000_000 {
            let delta = u128::from(used.saturating_sub(entry.1));
            entry.2 = (delta * 1_000_000_000 / elapsed as u128) as u64;
            (entry.0, entry.1) = (at, used);
        }
        entry.2
    }

    fn layer(&self, id: &str, path: &Path) -> (u64, u64) {
        let known = self.layers.lock().get(id).copied();
        if let Some((at, bytes, inodes)) = known
            && at.elapsed() < LAYER_AGE
        {
            return (bytes, inodes);
        }
        let (bytes, inodes) = measure(path, 0);
        self.layers
            .lock()
            .insert(id.to_owned(), (Instant::now(), bytes, inodes));
        (bytes, inodes)
    }
}

/// Bytes on disk and inodes of a tree.
fn measure(path: &Path, depth: u32) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return (0, 0);
    };
    let mut total = (metadata.blocks() * 512, 1);
    // Deeper than any path the kernel takes in one piece.
    if metadata.is_dir() && depth < 2048 {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (bytes, inodes) = measure(&entry.path(), depth + 1);
            total = (total.0 + bytes, total.1 + inodes);
        }
    }
    total
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn value(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

/// The `key value` lines of a file.
fn table(path: PathBuf) -> HashMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// CPU time in nanoseconds.
fn cpu_time(hierarchies: &Hierarchies, cgroup: &str) -> Option<u64> {
    if hierarchies.only_unified().is_some() {
        let directory = hierarchies.directory("cpu", cgroup)?;
        return table(directory.join("cpu.stat"))
            .get("usage_usec")
            .map(|u| u * 1000);
    }
    number(
        hierarchies
            .directory("cpuacct", cgroup)?
            .join("cpuacct.usage"),
    )
}

fn memory(hierarchies: &Hierarchies, cgroup: &str, at: i64) -> Option<v1::MemoryUsage> {
    let directory = hierarchies.directory("memory", cgroup)?;
    let stat = table(directory.join("memory.stat"));
    let field = |name: &str| stat.get(name).copied().unwrap_or(0);
    let unified = hierarchies.only_unified().is_some();
    let (usage, limit, inactive, rss) = if unified {
        (
            number(directory.join("memory.current"))?,
            number(directory.join("memory.max")),
            field("inactive_file"),
            field("anon"),
        )
    } else {
        (
            number(directory.join("memory.usage_in_bytes"))?,
            // Without a limit the kernel tells a number near the largest.
            number(directory.join("memory.limit_in_bytes")).filter(|l| *l < 1 << 62),
            field("total_inactive_file"),
            field("total_rss"),
        )
    };
    let working_set = usage.saturating_sub(inactive);
    let prefix = if unified { "" } else { "total_" };
    Some(v1::MemoryUsage {
        timestamp: at,
        working_set_bytes: value(working_set),
        available_bytes: limit.and_then(|limit| value(limit.saturating_sub(working_set))),
        usage_bytes: value(usage),
        rss_bytes: value(rss),
        page_faults: value(field(&format!("{prefix}pgfault"))),
        major_page_faults: value(field(&format!("{prefix}pgmajfault"))),
        psi: unified
            .then(|| pressure(&directory.join("memory.pressure")))
            .flatten(),
    })
}

/// Pressure stall information.
fn pressure(path: &Path) -> Option<v1::PsiStats> {
    let text = fs::read_to_string(path).ok()?;
    let line = |kind: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(kind))?;
        let field = |name: &str| -> Option<&str> {
            line.split_whitespace()
                .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
        };
        let average = |name| field(name).and_then(|f| f.parse().ok()).unwrap_or(0.0);
        Some(v1::PsiData {
            total: field("total")?.parse().ok()?,
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
        })
    };
    Some(v1::PsiStats {
        full: line("full"),
        some: line("some"),
    })
}

/// Interfaces of `/proc/PID/net/dev`, loopback left out.
fn interfaces(text: &str) -> Vec<v1::NetworkInterfaceUsage> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let name = name.trim();
            let fields: Vec<u64> = rest
                .split_whitespace()
                .filter_map(|f| f.parse().ok())
                .collect();
            (name != "lo" && fields.len() >= 11).then(|| v1::NetworkInterfaceUsage {
                name: name.to_owned(),
                rx_bytes: value(fields[0]),
                rx_errors: value(fields[2]),
                tx_bytes: value(fields[8]),
                tx_errors: value(fields[10]),
            })
        })
        .collect()
}

impl Runtime {
    fn cpu(&self, id: &str, cgroup: &str, at: i64) -> Option<v1::CpuUsage> {
        let used = cpu_time(&self.hierarchies, cgroup)?;
        let unified = self.hierarchies.only_unified();
        Some(v1::CpuUsage {
            timestamp: at,
            usage_core_nano_seconds: value(used),
            usage_nano_cores: value(self.stats.rate(id, at, used)),
            psi: unified.and_then(|mount| {
                pressure(
                    &mount
                        .join(cgroup.trim_start_matches('/'))
                        .join("cpu.pressure"),
                )
            }),
        })
    }

    /// What a container uses.
    pub(crate) fn container_stats(&self, container: &Container) -> v1::ContainerStats {
        let at = now();
        let config = container.config.lock().clone();
        let upper = self.storage(&container.id).join("upper");
        let (bytes, inodes) = self.stats.layer(&container.id, &upper);
        let running = container.is_running();
        let swap = running.then(|| self.swap(&container.cgroup, at)).flatten();
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: container.id.clone(),
                metadata: config.metadata,
                labels: config.labels,
                annotations: config.annotations,
            }),
            cpu: running
                .then(|| self.cpu(&container.id, &container.cgroup, at))
                .flatten(),
            memory: running
                .then(|| memory(&self.hierarchies, &container.cgroup, at))
                .flatten(),
            writable_layer: Some(v1::FilesystemUsage {
                timestamp: at,
                fs_id: Some(v1::FilesystemIdentifier {
                    mountpoint: self.images.root().display().to_string(),
                }),
                used_bytes: value(bytes),
                inodes_used: value(inodes),
            }),
            swap,
            io: None,
        }
    }

    fn swap(&self, cgroup: &str, at: i64) -> Option<v1::SwapUsage> {
        let directory = self.hierarchies.directory("memory", cgroup)?;
        let used = match self.hierarchies.only_unified() {
            Some(_) => number(directory.join("memory.swap.current"))?,
            None => *table(directory.join("memory.stat")).get("total_swap")?,
        };
        Some(v1::SwapUsage {
            timestamp: at,
            swap_available_bytes: None,
            swap_usage_bytes: value(used),
        })
    }

    /// What a pod uses.
    pub(crate) fn sandbox_stats(&self, sandbox: &Sandbox) -> v1::PodSandboxStats {
        let at = now();
        let config = sandbox.config.lock().clone();
        let parent = config
            .linux
            .as_ref()
            .map(|l| l.cgroup_parent.clone())
            .unwrap_or_default();
        let containers = self.containers_of(&sandbox.id);
        let running: Vec<_> = containers.iter().filter(|c| c.is_running()).collect();
        let interfaces = running
            .first()
            .and_then(|c| c.life.borrow().started.as_ref().map(|s| s.pid))
            .filter(|_| sandbox.netns.is_some())
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).ok())
            .map(|text| interfaces(&text))
            .unwrap_or_default();
        let processes: usize = running
            .iter()
            .map(|c| crate::shim::cgroup::processes(&self.hierarchies, &c.cgroup).len())
            .sum();
        let own = !parent.is_empty();
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: sandbox.id.clone(),
                metadata: config.metadata,
                labels: config.labels,
                annotations: config.annotations,
            }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: own.then(|| self.cpu(&sandbox.id, &parent, at)).flatten(),
                memory: own
                    .then(|| memory(&self.hierarchies, &parent, at))
                    .flatten(),
                network: Some(v1::NetworkUsage {
                    timestamp: at,
                    default_interface: interfaces.first().cloned(),
                    interfaces: interfaces.into_iter().skip(1).collect(),
                }),
                process: Some(v1::ProcessUsage {
                    timestamp: at,
                    process_count: value(processes as u64),
                }),
                containers: running.iter().map(|c| self.container_stats(c)).collect(),
                io: None,
            }),
            windows: None,
        }
    }

    /// Bytes and inodes of all writable layers.
    pub(crate) fn written(&self) -> (u64, u64) {
        let containers: Vec<_> = self.containers.read().values().cloned().collect();
        containers.iter().fold((0, 0), |(bytes, inodes), c| {
            let layer = self.stats.layer(&c.id, &self.storage(&c.id).join("upper"));
            (bytes + layer.0, inodes + layer.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_without_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
            \x20   lo: 10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n  eth0: 100 1 2 0 0 0 0 0 200 1 3 0 0 0 0 0\n";
        let found = interfaces(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (
                found[0].name.as_str(),
                found[0].tx_bytes,
                found[0].rx_errors
            ),
            ("eth0", value(200), value(2))
        );
    }

    #[test]
    fn version_2_groups_tell_what_they_use() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(root.path().join(file), text).unwrap();
        let hierarchies = Hierarchies::unified_at(root.path());
        assert_eq!(cpu_time(&hierarchies, "/"), None);
        write("cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
        assert_eq!(cpu_time(&hierarchies, "/"), Some(1_500_000));
        assert_eq!(memory(&hierarchies, "/", 7), None);
        write("memory.current", "5000\n");
        write("memory.max", "max\n");
        write(
            "memory.stat",
            "anon 3000\ninactive_file 1000\npgfault 9\npgmajfault 2\n",
        );
        write(
            "memory.pressure",
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=40\n",
        );
        let usage = memory(&hierarchies, "/", 7).unwrap();
        assert_eq!((usage.timestamp, usage.working_set_bytes), (7, value(4000)));
        assert_eq!(
            (usage.rss_bytes, usage.major_page_faults),
            (value(3000), value(2))
        );
        assert_eq!(usage.available_bytes, None);
        let some = usage.psi.unwrap().some.unwrap();
        assert_eq!((some.total, some.avg10, some.avg60), (42, 1.5, 0.25));
        write("memory.max", "8000\n");
        let usage = memory(&hierarchies, "/", 7).unwrap();
        assert_eq!(usage.available_bytes, value(4000));
    }

    #[test]
    fn rates_come_from_two_readings() {
        let samples = Samples::default();
        assert_eq!(samples.rate("c", 0, 0), 0);
        assert_eq!(samples.rate("c", 1_000_000_000, 250_000_000), 250_000_000);
        assert_eq!(samples.rate("c", 1_000_000_001, 900_000_000), 250_000_000);
        samples.forget("c");
        assert_eq!(samples.rate("c", 3_000_000_000, 0), 0);
    }
}
