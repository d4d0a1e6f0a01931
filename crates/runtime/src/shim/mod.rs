//! The shim: one small process per pod that holds its namespaces and is the parent of all its
//! containers, so that the server can come and go.
//!
//! It is our own program executed anew as `corten shim DIRECTORY`, with a listening unix socket
//! as standard input. It has one thread, no async runtime, and one `epoll` loop in [`serve`].
//! [`client`] is the server's side of the conversation.

mod create;
mod devices;
mod fault;
mod handle;
mod log;
mod output;
mod pod;
mod program;
mod rootfs;
mod serve;
mod user;

pub mod cgroup;
pub mod client;
pub mod protocol;
pub mod seccomp;
pub mod spec;

use std::path::{Path, PathBuf};

pub(crate) use create::descriptor_path;
pub(crate) use handle::EXIT_FILE;
pub(crate) use log::now;
pub(crate) use pod::clean;

use crate::sys::process;

/// File in the sandbox directory with the [`spec::PodSpec`].
pub(crate) const POD_FILE: &str = "pod.json";
/// Socket in the sandbox directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// What went wrong in the shim, for people.
pub(crate) const LOG_FILE: &str = "shim.log";

/// The shim's whole life. `args` follow the word `shim`: the sandbox directory.
///
/// Has to be called before any thread or async runtime is started.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ! {
    let Some(directory) = args.into_iter().next().map(PathBuf::from) else {
        eprintln!("shim: the sandbox directory is missing");
        process::exit_now(2);
    };
    match live(&directory) {
        Ok(()) => process::exit_now(0),
        Err(fault) => {
            eprintln!("shim: {fault}");
            process::exit_now(1);
        }
    }
}

fn live(directory: &Path) -> Result<(), fault::Fault> {
    use fault::Step;
    let listener = process::inherited(0)
        .try_clone()
        .step(|| "take the socket".into())?;
    process::set_name("corten-shim");
    process::set_undumpable().step(|| "hide from containers".into())?;
    process::become_subreaper().step(|| "become a subreaper".into())?;
    // Signals meant for the server's terminal or its service manager must not end pods.
    process::ignore_signals(&[libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT]);
    let _ = rustix::process::setsid();
    pod::detach(&directory.join(LOG_FILE)).step(|| "open the log".into())?;
    let text = std::fs::read(directory.join(POD_FILE)).step(|| "read the pod".into())?;
    let pod: spec::PodSpec = serde_json::from_slice(&text).step(|| "understand the pod".into())?;
    serve::run(listener, &pod)
}
