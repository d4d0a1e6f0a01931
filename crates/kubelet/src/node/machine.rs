//! The machine as the node describes it, from /proc and /sys.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What does not change while the kubelet runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Memory in bytes.
    pub memory: i64,
    /// Processors.
    pub cpus: i64,
    /// Reserved huge pages: page size in KiB to bytes.
    pub huge_pages: BTreeMap<u64, u64>,
    /// Size of the file system of the root directory, in bytes.
    pub disk: i64,
    /// Kernel release.
    pub kernel: String,
    /// The distribution's name.
    pub os_image: String,
    /// This boot.
    pub boot_id: String,
    /// This installation.
    pub machine_id: String,
    /// This hardware.
    pub system_uuid: String,
    /// Swap in bytes.
    pub swap: i64,
}

impl Machine {
    /// Looks at the machine; `root` stands on the disk that counts.
    pub fn detect(root: &Path) -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let meminfo = read("/proc/meminfo");
        let machine_id = read("/etc/machine-id");
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let product = read("/sys/class/dmi/id/product_uuid");
        let disk = rustix::fs::statvfs(existing(root))
            .map(|s| i64::try_from(s.f_blocks.saturating_mul(s.f_frsize)).unwrap_or(i64::MAX))
            .unwrap_or(0);
        Self {
            memory: meminfo_bytes(&meminfo, "MemTotal"),
            swap: meminfo_bytes(&meminfo, "SwapTotal"),
            cpus: cpus(&read("/sys/devices/system/cpu/online")),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            disk,
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
            system_uuid: [product, machine_id.clone(), boot_id.clone()]
                .into_iter()
                .find(|id| !id.is_empty())
                .unwrap_or_default(),
            machine_id,
            boot_id,
        }
    }

    /// What the machine has, by resource name.
    pub fn capacity(&self, max_pods: u32) -> BTreeMap<String, Quantity> {
        let mut out: BTreeMap<String, Quantity> = [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", self.memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", self.disk / 1024)),
            ("pods", max_pods.to_string()),
        ]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
        .collect();
        for (kib, bytes) in &self.huge_pages {
            out.insert(huge_page_resource(*kib), Quantity(bytes.to_string()));
        }
        out
    }
}

/// `hugepages-2Mi` for pages of 2048 KiB.
fn huge_page_resource(kib: u64) -> String {
    if kib >= 1 << 20 {
        format!("hugepages-{}Gi", kib >> 20)
    } else if kib >= 1 << 10 {
        format!("hugepages-{}Mi", kib >> 10)
    } else {
        format!("hugepages-{kib}Ki")
    }
}

/// The nearest directory that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|p| p.exists())
        .map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// A line of /proc/meminfo, in bytes.
pub fn meminfo_bytes(text: &str, key: &str) -> i64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse::<i64>()
                .ok()
        })
        .unwrap_or(0)
        .saturating_mul(1024)
}

/// `0-3,5` counts five.
fn cpus(online: &str) -> i64 {
    let count: i64 = online
        .split(',')
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some(high.trim().parse::<i64>().ok()? - low.trim().parse::<i64>().ok()? + 1)
        })
        .sum();
    if count > 0 {
        return count;
    }
    std::thread::available_parallelism()
        .ok()
        .and_then(|n| i64::try_from(n.get()).ok())
        .unwrap_or(1)
}

fn huge_pages(dir: &Path) -> BTreeMap<u64, u64> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kib: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let count: u64 = fs::read_to_string(entry.path().join("nr_hugepages"))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            Some((kib, count * kib * 1024))
        })
        .collect()
}

fn os_image(release: &str) -> String {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

/// The architecture as Kubernetes names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        assert_eq!(cpus("0-3,5"), 5);
        assert_eq!(
            meminfo_bytes("MemTotal:   12 kB\nMemFree: 1 kB", "MemTotal"),
            12_288
        );
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\""), "Debian 12");
        assert_eq!(huge_page_resource(2048), "hugepages-2Mi");
        assert_eq!(huge_page_resource(1 << 20), "hugepages-1Gi");
    }
}
