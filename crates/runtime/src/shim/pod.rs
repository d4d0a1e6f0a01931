//! The pod's namespaces, which the shim itself lives in and so keeps alive.
//!
//! Being in the pod's network, IPC and UTS namespaces, a shim's children need no `setns` to join
//! the pod. Only the mount and process namespaces of the shim stay the node's.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, UnmountFlags},
};

use super::{
    create::PodNamespaces,
    fault::{Fault, Step},
    spec::PodSpec,
};
use crate::sys::process::{self, Cloned};

/// Makes the namespaces and furnishes what belongs to them.
pub fn enter(pod: &PodSpec) -> Result<PodNamespaces, Fault> {
    let mut flags = 0;
    if pod.netns.is_some() {
        flags |= libc::CLONE_NEWNET;
    }
    if pod.ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    if pod.hostname.is_some() {
        flags |= libc::CLONE_NEWUTS;
    }
    process::unshare(flags).step(|| "make the pod's namespaces".into())?;
    if let Some(path) = &pod.netns {
        pin("/proc/self/ns/net", path)
            .step(|| format!("pin the network namespace at {}", path.display()))?;
    }
    if let Some(name) = &pod.hostname {
        rustix::system::sethostname(name.as_bytes()).step(|| format!("set host name {name:?}"))?;
    }
    for (name, value) in &pod.sysctls {
        sysctl(name, value).step(|| format!("set sysctl {name}={value}"))?;
    }
    if let Some(path) = &pod.shm {
        shared_memory(path).step(|| format!("mount shared memory at {}", path.display()))?;
    }
    Ok(PodNamespaces {
        pid: if pod.shared_pid {
            Some(reaper()?)
        } else {
            None
        },
    })
}

fn pin(namespace: &str, path: &Path) -> io::Result<()> {
    drop(fs::File::create(path)?);
    Ok(rustix::mount::mount_bind(namespace, path)?)
}

fn sysctl(name: &str, value: &str) -> io::Result<()> {
    // Both separators are in use; a slash-separated name may have dots inside its parts.
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    fs::write(Path::new("/proc/sys").join(path), value)
}

fn shared_memory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount(
        "shm",
        path,
        "tmpfs",
        flags,
        c"mode=1777,size=65536k",
    )?)
}

/// Takes away what [`enter`] left on the node. Nothing there is fine.
pub fn clean(netns: Option<&Path>, shm: Option<&Path>) {
    for path in [netns, shm].into_iter().flatten() {
        // Unmounting what is not mounted fails, which is the state wanted.
        while rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
    }
    if let Some(path) = netns {
        let _ = fs::remove_file(path);
    }
}

/// Starts the first process of the pod's shared process namespace: it collects orphans and
/// otherwise sleeps.
fn reaper() -> Result<OwnedFd, Fault> {
    match process::clone_child(libc::CLONE_NEWPID as u64, None)
        .step(|| "start the pod's reaper".into())?
    {
        Cloned::Parent(_, pidfd) => Ok(pidfd),
        Cloned::Child => {
            process::set_name("corten-reaper");
            process::reset_signals();
            process::close_from(3);
            let Ok(signals) = process::signal_descriptor() else {
                process::exit_now(1)
            };
            loop {
                while process::reap().is_some() {}
                let mut poll = [rustix::event::PollFd::new(
                    &signals,
                    rustix::event::PollFlags::IN,
                )];
                let _ = rustix::event::poll(&mut poll, None);
                let mut buffer = [0_u8; 128];
                let _ = rustix::io::read(&signals, &mut buffer);
            }
        }
    }
}

/// Opens `/dev/null` over the standard descriptors, and the log over standard error.
pub fn detach(log: &Path) -> io::Result<()> {
    use std::os::fd::AsFd;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // The standard numbers may be free at this point: the copy to place must not be one of them.
    let copy = rustix::io::fcntl_dupfd_cloexec(&null, 3)?;
    drop(null);
    process::place(copy.as_fd(), 0)?;
    process::place(copy.as_fd(), 1)?;
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    process::place(log.as_fd(), 2)
}
