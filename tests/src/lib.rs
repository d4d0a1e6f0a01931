//! Starts whole clusters with real containers for the tests beside this crate.
//!
//! Each cluster lives in a network namespace of its own, with another one beside it that plays the
//! outside world, and in a data directory of its own. Dropping a [`Cluster`] ends the server, takes
//! down what its pods left, and removes both, whether the test passed or not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod cluster;
pub mod images;
pub mod registry;
pub mod wait;
pub mod world;

pub use cluster::{Cluster, Output};
pub use wait::eventually;

/// Why whole-cluster tests cannot run here, if they cannot.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    ["ip", "nsenter"]
        .into_iter()
        .find(|p| find(p).is_none())
        .map(|p| format!("needs the program {p}"))
}

/// Where a program is.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/lib/cni"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Starts a cluster, or says why not and returns from the test.
#[macro_export]
macro_rules! cluster {
    () => {
        match $crate::missing() {
            None => $crate::Cluster::start(),
            Some(why) => {
                println!("skipped: {why}");
                return;
            }
        }
    };
}
