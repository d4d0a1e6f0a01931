//! Makes processes: the first one of a container, and later ones that join it.
//!
//! A child is cloned, does its own set-up step by step, and then becomes the program. What it
//! has to tell (whom it runs as, or which step failed) goes through a pipe that closes by itself
//! when the program starts.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use base64::Engine;
use rustix::{fs::OFlags, pipe::PipeFlags, pty::OpenptFlags};
use serde::{Deserialize, Serialize};

use super::{
    cgroup::{self, Hierarchies},
    fault::{Fault, Step},
    rootfs,
    spec::{ContainerSpec, Identity, PidNamespace, ProcessSpec},
    user,
};
use crate::sys::process::{self, Cloned};

/// The shim's ends of a process's standard streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// Write end of standard input.
    pub stdin: Option<OwnedFd>,
    /// Read end of standard output.
    pub stdout: Option<OwnedFd>,
    /// Read end of standard error.
    pub stderr: Option<OwnedFd>,
    /// Master of the terminal, instead of the three.
    pub terminal: Option<OwnedFd>,
}

/// A child under way: it runs once `status` reaches its end without an error in it.
#[derive(Debug)]
pub struct Child {
    /// Process id in the shim's process namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// What the child tells.
    pub status: OwnedFd,
    /// Our ends of its streams.
    pub streams: Streams,
}

/// What a child tells through its status pipe, one per line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// Whom it runs as.
    Identity(Identity),
    /// The step that failed.
    Fault(String),
}

/// The child's ends of its standard streams.
struct ChildStreams {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: Option<(OwnedFd, PathBuf)>,
}

fn streams(stdin: bool, terminal: bool) -> Result<(Streams, ChildStreams), Fault> {
    let what = || "make the standard streams".to_owned();
    let mut ours = Streams::default();
    let mut theirs = ChildStreams {
        stdin: None,
        stdout: None,
        stderr: None,
        terminal: None,
    };
    if terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).step(what)?;
        rustix::pty::grantpt(&master).step(what)?;
        rustix::pty::unlockpt(&master).step(what)?;
        let name = rustix::pty::ptsname(&master, Vec::new()).step(what)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).step(what)?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        theirs.terminal = Some((slave, path));
        ours.terminal = Some(master);
        return Ok((ours, theirs));
    }
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (read, write) = pipe().step(what)?;
    (ours.stdout, theirs.stdout) = (Some(read), Some(write));
    let (read, write) = pipe().step(what)?;
    (ours.stderr, theirs.stderr) = (Some(read), Some(write));
    if stdin {
        let (read, write) = pipe().step(what)?;
        (ours.stdin, theirs.stdin) = (Some(write), Some(read));
    }
    Ok((ours, theirs))
}

/// The namespaces of the pod that a container or an exec joins.
#[derive(Debug, Default)]
pub struct PodNamespaces {
    /// The pod's shared process namespace (its reaper's pidfd).
    pub pid: Option<OwnedFd>,
}

/// Clones into another process namespace: only children follow `setns`, so the shim goes there
/// for the moment of the clone and comes back.
fn clone_in(
    target: Option<BorrowedFd<'_>>,
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Cloned, Fault> {
    let what = || "clone a process".to_owned();
    let Some(target) = target else {
        return process::clone_child(flags as u64, cgroup).step(what);
    };
    let own = File::open("/proc/self/ns/pid").step(what)?;
    process::setns(target, libc::CLONE_NEWPID).step(|| "enter the process namespace".into())?;
    let cloned = process::clone_child(flags as u64, cgroup).step(what);
    if !matches!(cloned, Ok(Cloned::Child)) {
        process::setns(own.as_fd(), libc::CLONE_NEWPID)
            .step(|| "leave the process namespace".into())?;
    }
    cloned
}

/// Starts the first process of a container.
pub fn container(
    spec: &ContainerSpec,
    pod: &PodNamespaces,
    target: Option<BorrowedFd<'_>>,
) -> Result<Child, Fault> {
    let hierarchies = Hierarchies::detect();
    cgroup::create(&hierarchies, &spec.cgroup, &spec.devices)?;
    let prepared = rootfs::prepare(spec)?;
    let (ours, theirs) = streams(spec.stdin, spec.process.terminal)?;
    let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step(|| "make a pipe".into())?;
    let (target, mut flags) = match &spec.pid {
        PidNamespace::Private => (None, libc::CLONE_NEWPID),
        PidNamespace::Host => (None, 0),
        PidNamespace::Pod => (pod.pid.as_ref().map(AsFd::as_fd), 0),
        PidNamespace::Target(_) => (target, 0),
    };
    flags |= libc::CLONE_NEWNS;
    let unified = hierarchies.open_unified(&spec.cgroup.path);
    match clone_in(target, flags, unified.as_ref().map(AsFd::as_fd))? {
        Cloned::Parent(pid, pidfd) => Ok(Child {
            pid,
            pidfd,
            status: told,
            streams: ours,
        }),
        Cloned::Child => {
            drop((told, ours));
            let setup = || -> Result<(), Fault> {
                begin(&theirs)?;
                if unified.is_none() || hierarchies.any_v1() {
                    cgroup::join(&hierarchies, &spec.cgroup.path)?;
                }
                if spec.cgroup_namespace {
                    process::unshare(libc::CLONE_NEWCGROUP)
                        .step(|| "make a cgroup namespace".into())?;
                }
                badness(spec.process.oom_score_adj)?;
                let console = theirs.terminal.as_ref().map(|(_, path)| path.as_path());
                rootfs::enter(spec, prepared, console)
            };
            run(&tell, &theirs, setup, &spec.process)
        }
    }
}

/// A container that later processes join.
#[derive(Debug)]
pub struct Joined<'a> {
    /// pidfd of its first process.
    pub pidfd: BorrowedFd<'a>,
    /// Its control group.
    pub cgroup: &'a str,
    /// Whether it has a process namespace apart from the node's.
    pub own_pid: bool,
    /// Whether it has a cgroup namespace.
    pub own_cgroup: bool,
}

/// Starts a further process inside a running container.
pub fn exec(
    process_spec: &ProcessSpec,
    stdin: bool,
    container: &Joined<'_>,
) -> Result<Child, Fault> {
    let hierarchies = Hierarchies::detect();
    let (ours, theirs) = streams(stdin, process_spec.terminal)?;
    let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step(|| "make a pipe".into())?;
    let target = container.own_pid.then_some(container.pidfd);
    let unified = hierarchies.open_unified(container.cgroup);
    match clone_in(target, 0, unified.as_ref().map(AsFd::as_fd))? {
        Cloned::Parent(pid, pidfd) => Ok(Child {
            pid,
            pidfd,
            status: told,
            streams: ours,
        }),
        Cloned::Child => {
            drop((told, ours));
            let setup = || -> Result<(), Fault> {
                begin(&theirs)?;
                if unified.is_none() || hierarchies.any_v1() {
                    cgroup::join(&hierarchies, container.cgroup)?;
                }
                badness(process_spec.oom_score_adj)?;
                let mut namespaces = libc::CLONE_NEWNS;
                if container.own_cgroup {
                    namespaces |= libc::CLONE_NEWCGROUP;
                }
                process::setns(container.pidfd, namespaces)
                    .step(|| "enter the container's namespaces".into())?;
                Ok(())
            };
            run(&tell, &theirs, setup, process_spec)
        }
    }
}

/// What every child does first.
fn begin(streams: &ChildStreams) -> Result<(), Fault> {
    process::reset_signals();
    process::umask(0o022);
    rustix::process::setsid().step(|| "make a session".into())?;
    if let Some((slave, _)) = &streams.terminal {
        rustix::process::ioctl_tiocsctty(slave).step(|| "take the terminal".into())?;
    }
    Ok(())
}

/// The rest of a child's life up to the program itself.
fn run(
    tell: &OwnedFd,
    streams: &ChildStreams,
    setup: impl FnOnce() -> Result<(), Fault>,
    spec: &ProcessSpec,
) -> ! {
    let fault = match setup().and_then(|()| become_program(tell, streams, spec)) {
        Ok(never) => match never {},
        Err(fault) => fault,
    };
    say(tell, &Told::Fault(fault.to_string()));
    process::exit_now(1)
}

fn say(tell: &OwnedFd, told: &Told) {
    let Ok(mut line) = serde_json::to_vec(told) else {
        return;
    };
    line.push(b'\n');
    if let Ok(fd) = tell.try_clone() {
        // Nobody is left to hear of a failure here.
        let _ = File::from(fd).write_all(&line);
    }
}

/// Reads everything a child told.
pub fn hear(text: &[u8]) -> (Option<Identity>, Option<String>) {
    let mut identity = None;
    let mut fault = None;
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Told::Identity(found)) => identity = Some(found),
            Ok(Told::Fault(text)) => fault = Some(text),
            Err(error) => fault = Some(format!("set-up told nonsense: {error}")),
        }
    }
    (identity, fault)
}

enum Never {}

fn become_program(
    tell: &OwnedFd,
    streams: &ChildStreams,
    spec: &ProcessSpec,
) -> Result<Never, Fault> {
    let found = user::lookup(&spec.user)?;
    say(tell, &Told::Identity(found.identity.clone()));
    // The terminal belongs to whoever uses it.
    if let Some((slave, _)) = &streams.terminal {
        let owner = rustix::fs::Uid::from_raw(found.identity.uid);
        let _ = rustix::fs::fchown(slave, Some(owner), None);
    }
    for (resource, soft, hard) in &spec.rlimits {
        limit(*resource, *soft, *hard)?;
    }
    rootfs::working_directory(&spec.cwd)?;
    let mut env = spec.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", found.home));
    }
    let seccomp = match &spec.seccomp {
        Some(text) => Some(
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .step(|| "decode the seccomp filter".into())?,
        ),
        None => None,
    };
    let program = super::program::find(&spec.args, &env)?;
    let args = c_strings(&spec.args)?;
    let env = c_strings(&env)?;
    place(streams)?;
    process::close_from_on_exec(3);
    if let (Some(filter), false) = (&seccomp, spec.no_new_privileges) {
        // Without no_new_privs installing takes a capability that is dropped below.
        process::install_seccomp(filter).step(|| "install the seccomp filter".into())?;
    }
    privileges(spec, &found.identity)?;
    if let (Some(filter), true) = (&seccomp, spec.no_new_privileges) {
        process::install_seccomp(filter).step(|| "install the seccomp filter".into())?;
    }
    let error = process::execve(&program, &args, &env);
    Err(Fault::new(format!(
        "exec {}: {}",
        program.to_string_lossy(),
        super::program::reason(&error)
    )))
}

fn c_strings(texts: &[String]) -> Result<Vec<std::ffi::CString>, Fault> {
    texts
        .iter()
        .map(|t| process::c_string(t).step(|| "prepare the program's arguments".into()))
        .collect()
}

/// Sets a limit; where the hard one may not be raised, the nearest allowed is kept.
fn limit(resource: u32, soft: u64, hard: u64) -> Result<(), Fault> {
    match process::set_rlimit(resource, soft, hard) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let now = process::get_rlimit(resource).step(|| "read a resource limit".into())?;
            let hard = hard.min(now.1);
            process::set_rlimit(resource, soft.min(hard), hard)
                .step(|| "set a resource limit".into())
        }
        other => other.step(|| "set a resource limit".into()),
    }
}

/// Writes the badness; where it may not be lowered that far, the nearest allowed stays.
fn badness(wanted: Option<i32>) -> Result<(), Fault> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    const PATH: &str = "/proc/self/oom_score_adj";
    match std::fs::write(PATH, wanted.to_string()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => other.step(|| format!("set oom_score_adj to {wanted}")),
    }
}

/// Puts the child's stream ends at 0, 1 and 2.
fn place(streams: &ChildStreams) -> Result<(), Fault> {
    let what = || "place the standard streams".to_owned();
    if let Some((slave, _)) = &streams.terminal {
        for target in 0..3 {
            process::place(slave.as_fd(), target).step(what)?;
        }
        return Ok(());
    }
    let null;
    let stdin = match &streams.stdin {
        Some(fd) => fd.as_fd(),
        None => {
            null = open_null().step(what)?;
            null.as_fd()
        }
    };
    process::place(stdin, 0).step(what)?;
    for (fd, target) in [(&streams.stdout, 1), (&streams.stderr, 2)] {
        if let Some(fd) = fd {
            process::place(fd.as_fd(), target).step(what)?;
        }
    }
    Ok(())
}

fn open_null() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
}

/// Drops to the wanted identity and capabilities.
fn privileges(spec: &ProcessSpec, identity: &Identity) -> Result<(), Fault> {
    let what = || "set the capabilities".to_owned();
    let possible = process::permitted_capabilities().step(what)?;
    let wanted = spec.capabilities;
    let mut capability = 0;
    while let Ok(set) = process::has_bounding(capability) {
        if set && wanted.bounding & (1 << capability) == 0 {
            process::drop_bounding(capability).step(what)?;
        }
        capability += 1;
    }
    process::keep_capabilities(true).step(what)?;
    process::set_identity(identity.uid, identity.gid, &identity.groups)
        .step(|| format!("become user {} group {}", identity.uid, identity.gid))?;
    process::keep_capabilities(false).step(what)?;
    let ambient = wanted.ambient & possible;
    let permitted = (wanted.permitted & possible) | ambient;
    process::clear_ambient().step(what)?;
    process::set_capabilities(permitted, permitted, ambient).step(what)?;
    for capability in (0..64).filter(|c| ambient & (1 << c) != 0) {
        process::raise_ambient(capability).step(what)?;
    }
    if spec.no_new_privileges {
        process::no_new_privileges().step(|| "set no_new_privs".into())?;
    }
    Ok(())
}

/// Reads what has come through a status pipe: none when more may follow.
pub fn read_status(status: &OwnedFd, text: &mut Vec<u8>) -> Option<()> {
    let Ok(fd) = status.try_clone() else {
        return Some(());
    };
    let mut file = File::from(fd);
    let mut buffer = [0_u8; 4096];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(()),
            // Far more than a child ever says; a longer text is cut.
            Ok(count) if text.len() < 64 << 10 => text.extend_from_slice(&buffer[..count]),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Some(()),
        }
    }
}

/// Makes reads and writes of a descriptor return at once.
pub fn nonblocking(fd: &OwnedFd) -> rustix::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

/// The path under which another process opens one of our descriptors.
pub fn descriptor_path(fd: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}
