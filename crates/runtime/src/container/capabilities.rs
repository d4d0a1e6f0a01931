//! Capability names and the set a container gets.

/// Names by number, without the `CAP_` in front.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has when nothing is asked for.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// A name that is not a capability's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

/// The number of a capability, with or without `CAP_`, in any case.
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == plain).map(|n| n as u32)
}

/// Names as one bit each; `ALL` is every one.
pub fn mask(names: &[String]) -> Result<u64, UnknownCapability> {
    names.iter().try_fold(0, |mask, name| {
        if name.eq_ignore_ascii_case("all") {
            return Ok(ALL);
        }
        let number = number(name).ok_or_else(|| UnknownCapability(name.clone()))?;
        Ok(mask | 1 << number)
    })
}

/// The set of a container: the default, or everything, changed by what is added and dropped.
/// Single names win over `ALL` on the other side.
pub fn effective(add: &[String], drop: &[String]) -> Result<u64, UnknownCapability> {
    let has_all = |list: &[String]| list.iter().any(|n| n.eq_ignore_ascii_case("all"));
    let single = |list: &[String]| {
        let list: Vec<String> = list
            .iter()
            .filter(|n| !n.eq_ignore_ascii_case("all"))
            .cloned()
            .collect();
        mask(&list)
    };
    let default = DEFAULT
        .iter()
        .filter_map(|n| number(n))
        .fold(0, |m, n| m | 1 << n);
    let mut set = match (has_all(add), has_all(drop)) {
        (true, _) => ALL,
        (false, true) => 0,
        (false, false) => default,
    };
    set |= single(add)?;
    set &= !single(drop)?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_follow_what_is_added_and_dropped() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let bit = |name| 1_u64 << number(name).unwrap();
        let default = effective(&[], &[]).unwrap();
        assert_eq!(default.count_ones(), 14);
        assert_eq!(default, 0xa804_25fb);
        let cases = [
            (list(&["NET_ADMIN"]), list(&[]), default | bit("net_admin")),
            (list(&[]), list(&["ALL"]), 0),
            (
                list(&["NET_BIND_SERVICE"]),
                list(&["ALL"]),
                bit("CAP_NET_BIND_SERVICE"),
            ),
            (list(&["ALL"]), list(&["KILL"]), ALL & !bit("KILL")),
            (list(&["all"]), list(&[]), ALL),
        ];
        for (add, drop, expected) in cases {
            assert_eq!(effective(&add, &drop), Ok(expected), "{add:?} {drop:?}");
        }
        assert_eq!(
            effective(&list(&["NO"]), &[]),
            Err(UnknownCapability("NO".into()))
        );
    }
}
