//! A crate is a floor: it may use the floors under it and no other (ARCHITECTURE.md).

use super::Source;

/// From the ground up. Floors that share an entry may not use each other.
const FLOORS: &[&[&str]] = &[
    &["schema"],
    &["api"],
    &["cel"],
    &["store"],
    &["apiserver"],
    &["client"],
    &["controllers", "scheduler", "node-sim"],
    &["cri"],
    &["runtime"],
    &["kubelet", "network"],
    &["kubectl"],
];

/// What a floor may not use although it lies under it: only `apiserver` opens the store.
const FORBIDDEN: &[(&str, &str)] = &[
    ("client", "store"),
    ("controllers", "store"),
    ("scheduler", "store"),
    ("node-sim", "store"),
    ("kubelet", "store"),
    ("network", "store"),
    ("kubectl", "store"),
    ("controllers", "apiserver"),
    ("scheduler", "apiserver"),
    ("node-sim", "apiserver"),
    ("kubelet", "apiserver"),
    ("network", "apiserver"),
    ("kubectl", "apiserver"),
];

/// Compares each crate's ordinary dependencies with [`FLOORS`].
pub fn check(sources: &[Source], complaints: &mut Vec<String>) {
    let level = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    for source in sources {
        let Some(name) = source
            .path
            .strip_prefix("crates/")
            .and_then(|p| p.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let Some(own) = level(name) else {
            complaints.push(format!(
                "{}: crate {name} has no floor in xtask/src/tidy/floors.rs",
                source.path
            ));
            continue;
        };
        let ordinary = source
            .text
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        for (number, line) in ordinary.lines().enumerate() {
            let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let Some(theirs) = level(used) else { continue };
            if used == name {
                continue;
            }
            if theirs >= own || FORBIDDEN.contains(&(name, used)) {
                complaints.push(format!(
                    "{}:{}: {name} may not use {used}",
                    source.path,
                    number + 1
                ));
            }
        }
    }
}
