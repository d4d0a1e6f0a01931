//! What processes have used, out of `/proc`.

use anyhow::{Context, Result};

/// User and system time of some processes together, in milliseconds.
pub fn cpu_ms(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        ticks += stat_ticks(&stat).with_context(|| format!("cannot understand {path}"))?;
    }
    Ok(ticks as f64 * 1000.0 / rustix::param::clock_ticks_per_second() as f64)
}

fn stat_ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything
    let fields = stat.rsplit_once(") ")?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// A process and all others that run the same program file, seen from here: a copy of it inside a
/// container's own root is another file.
pub fn same_program(pid: u32) -> Result<Vec<u32>> {
    let program = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe"));
    let root = |pid: u32| std::fs::read_link(format!("/proc/{pid}/root"));
    let same = program(pid).with_context(|| format!("there is no process {pid}"))?;
    let same_root = root(pid)?;
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ended meanwhile is not counted
        let is =
            program(other).is_ok_and(|p| p == same) && root(other).is_ok_and(|r| r == same_root);
        if is {
            pids.push(other);
        }
    }
    Ok(pids)
}

/// A process's memory in megabytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Resident, shared pages counted in full.
    pub rss: f64,
    /// Proportional: shared pages divided among those who share them.
    pub pss: f64,
}

/// The memory of some processes together.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory { rss: 0.0, pss: 0.0 };
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name| rollup_mb(&text, name).with_context(|| format!("no {name} in {path}"));
        sum.rss += field("Rss:")?;
        sum.pss += field("Pss:")?;
    }
    Ok(sum)
}

fn rollup_mb(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(stat_ticks(stat), Some(300));
        assert_eq!(stat_ticks("42 (a"), None);
    }

    #[test]
    fn memory_is_found_by_its_whole_name() {
        let text = "00-ff ---p [rollup]\nRss:      2048 kB\nPss:      1024 kB\nPss_Anon: 5 kB\n";
        assert_eq!(rollup_mb(text, "Rss:"), Some(2.0));
        assert_eq!(rollup_mb(text, "Pss:"), Some(1.0));
        assert_eq!(rollup_mb(text, "Swap:"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let pids = [std::process::id()];
        assert!(cpu_ms(&pids).is_ok_and(|ms| ms >= 0.0));
        assert!(same_program(pids[0]).is_ok_and(|found| found.contains(&pids[0])));
        assert!(memory(&pids).is_ok_and(|memory| memory.rss > 0.0 && memory.pss <= memory.rss));
    }
}
