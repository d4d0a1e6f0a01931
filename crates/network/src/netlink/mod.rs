//! Netlink: how this crate talks to the kernel.
//!
//! [`message`] writes and reads messages and their attributes, [`socket`] carries them, [`route`]
//! is links, addresses, routes and neighbours, [`nft`] is nftables in atomic transactions,
//! [`conntrack`] is the connection table, and [`netns`] opens sockets inside another network
//! namespace. One small layer serves all of them: the kernel answers a request before `sendmsg`
//! returns, so calls are plain blocking functions of some tens of microseconds (a large nftables
//! transaction: up to a second) that async callers put on a blocking thread.

pub mod conntrack;
pub mod message;
pub mod netns;
pub mod nft;
pub mod route;
pub mod socket;

use rustix::io::Errno;

/// What went wrong in an exchange with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself.
    #[error("netlink socket: {action}: {errno}")]
    Socket {
        /// What was attempted.
        action: &'static str,
        /// The error.
        errno: Errno,
    },
    /// The kernel refused a request.
    #[error("{request}: {errno}")]
    Refused {
        /// The request in words.
        request: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// An answer that does not parse.
    #[error("netlink answer to {request} is malformed")]
    Malformed {
        /// The request in words.
        request: String,
    },
    /// A namespace that cannot be entered.
    #[error("enter network namespace {path}: {errno}")]
    Namespace {
        /// The pinned namespace.
        path: String,
        /// The error.
        errno: Errno,
    },
}

impl Error {
    /// The kernel's error number, where it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Socket { errno, .. }
            | Self::Refused { errno, .. }
            | Self::Namespace { errno, .. } => Some(*errno),
            Self::Malformed { .. } => None,
        }
    }
}

/// Runs short blocking work from async code. It keeps borrowed arguments and does not hop threads; on a
/// single-threaded runtime there is nobody to hand other tasks to, so it just runs.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    if matches!(flavor, Ok(tokio::runtime::RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
