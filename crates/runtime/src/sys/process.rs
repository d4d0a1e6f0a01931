//! Processes: clone, identity, capabilities, signals, and `execve`.

use std::{
    ffi::{CString, OsStr},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What [`clone_child`] returned in.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the child's pid and pidfd.
    Parent(i32, OwnedFd),
}

/// Makes a child as `fork` does, in the new namespaces of `flags`, and in the version 2 cgroup
/// behind `cgroup` when there is one.
///
/// Only for a process with one thread: the child goes on with a copy of the whole heap.
#[allow(unsafe_code)]
pub fn clone_child(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero clone_args is a valid value; every field is an integer.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has its own copy of the address space and stack; `args`
    // and `pidfd` outlive the call.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent(pid as i32, pidfd))
}

/// Enters the namespaces `flags` of what `fd` stands for (a pidfd or a namespace file).
#[allow(unsafe_code)]
pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// Leaves the shared namespaces `flags` for new ones.
#[allow(unsafe_code)]
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Ends the process at once, without running destructors or exit handlers.
#[allow(unsafe_code)]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns; nothing of this process is used after it.
    unsafe { libc::_exit(code) }
}

/// Replaces the program. Returns only when that failed.
#[allow(unsafe_code)]
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut envp: Vec<*const libc::c_char> = env.iter().map(|e| e.as_ptr()).collect();
    envp.push(std::ptr::null());
    // SAFETY: both arrays end in null and point to strings that live through the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// A plain `prctl` with integer arguments.
#[allow(unsafe_code)]
fn prctl(option: i32, a: u64, b: u64) -> io::Result<libc::c_long> {
    // SAFETY: used below only with options whose arguments are integers.
    check(unsafe { libc::prctl(option, a, b, 0_u64, 0_u64) }.into())
}

/// Makes this process the one to which orphaned descendants fall.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// Hides `/proc/<pid>` details (above all `exe`) of this process from container users.
pub fn set_undumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop)
}

/// Keeps permitted capabilities over the coming change of user.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// Sets `no_new_privs`, for good.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Takes one capability out of the bounding set.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// Whether the bounding set holds the capability; an error past the last one the kernel knows.
pub fn has_bounding(capability: u32) -> io::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability.into(), 0).map(|set| set == 1)
}

/// Adds one capability to the ambient set.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        capability.into(),
    )
    .map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )
    .map(drop)
}

/// The name shown for this process.
#[allow(unsafe_code)]
pub fn set_name(name: &str) {
    let mut bytes = [0_u8; 16];
    let count = name.len().min(15);
    bytes[..count].copy_from_slice(&name.as_bytes()[..count]);
    // SAFETY: the kernel reads at most 16 bytes of a buffer that has 16.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The permitted capabilities of this process, one bit each.
#[allow(unsafe_code)]
pub fn permitted_capabilities() -> io::Result<u64> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads and writes exactly two data records.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Sets the effective, permitted and inheritable capabilities.
#[allow(unsafe_code)]
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapabilityData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads exactly two data records.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Takes on group, supplementary groups and user, in the order in which that is allowed.
#[allow(unsafe_code)]
pub fn set_identity(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and length describe a live slice; the raw calls change only this
    // thread, which is the process's only one.
    unsafe {
        check(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Installs a seccomp filter given as the kernel's `sock_filter` records.
#[allow(unsafe_code)]
pub fn install_seccomp(program: &[u8]) -> io::Result<()> {
    let filters: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let count = u16::try_from(filters.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp program too long"))?;
    let program = libc::sock_fprog {
        len: count,
        filter: filters.as_ptr().cast_mut(),
    };
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    // SAFETY: the kernel copies `count` records out of a vector that holds as many.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            0_u64,
            &raw const program,
        )
    })
    .map(drop)
}

/// Sets both limits of one resource.
#[allow(unsafe_code)]
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads one live struct.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Reads both limits of one resource.
#[allow(unsafe_code)]
pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one live struct.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sends a signal by number (real-time signals too).
#[allow(unsafe_code)]
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Blocks SIGCHLD and SIGTERM and gives a descriptor that reads them.
#[allow(unsafe_code)]
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; the descriptor is new.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into(),
        )?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Gives a new process the signal state programs expect: nothing blocked, nothing ignored.
#[allow(unsafe_code)]
pub fn reset_signals() {
    // SAFETY: the set is initialised before use; restoring default dispositions needs no handler.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ignores the signals that would end a daemon for no good reason.
#[allow(unsafe_code)]
pub fn ignore_signals(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// Reaps one ended child, if there is one: its pid and raw wait status.
#[allow(unsafe_code)]
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the kernel writes one live integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Reaps this child if it has ended, and gives its raw wait status.
#[allow(unsafe_code)]
pub fn reap_one(pid: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the kernel writes one live integer.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (ended == pid).then_some(status)
}

/// Waits for one child to end and gives its raw wait status.
#[allow(unsafe_code)]
pub fn wait_for(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the kernel writes one live integer.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) }.into())?;
    Ok(status)
}

/// Marks every descriptor from `first` on close-on-exec.
#[allow(unsafe_code)]
pub fn close_from_on_exec(first: u32) {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: only sets a flag on descriptors.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_long::from(first),
            libc::c_long::from(u32::MAX),
            libc::c_long::from(CLOSE_RANGE_CLOEXEC),
        )
    };
}

/// Closes every descriptor from `first` on. Only for the start of a program that owns none.
#[allow(unsafe_code)]
pub fn close_from(first: u32) {
    // SAFETY: called before anything in this process owns a descriptor in that range.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_long::from(first),
            libc::c_long::from(u32::MAX),
            0 as libc::c_long,
        )
    };
}

/// Takes ownership of a descriptor this process was started with.
#[allow(unsafe_code)]
pub fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per number at program start, for numbers the starter handed over.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes `fd` also reachable as number `target`, to be inherited by the next program.
#[allow(unsafe_code)]
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: replaces a standard descriptor of a process about to exec.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into()).map(drop)
}

/// Sets the file mode creation mask.
#[allow(unsafe_code)]
pub fn umask(mask: u32) {
    // SAFETY: takes an integer only.
    unsafe { libc::umask(mask) };
}

/// Turns text into a C string; an embedded null byte is an error that names the text.
pub fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{:?} holds a null byte", text.as_ref()),
        )
    })
}

/// Gives the unused pages of the heap back to the system.
#[allow(unsafe_code)]
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only releases free memory of the C library's own heap.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Attaches a device filter program to a version 2 cgroup directory.
#[allow(unsafe_code)]
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: &[u64]) -> io::Result<()> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u32; 2],
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        attach_type: u32,
        flags: u32,
    }
    let license = c"Apache-2.0";
    let load = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: both structs are prefixes of the kernel's bpf_attr, of the sizes given, and point
    // to memory that lives through the calls; the loaded program's descriptor is new.
    unsafe {
        let fd = check(libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const load,
            std::mem::size_of::<Load>(),
        ))?;
        let fd = OwnedFd::from_raw_fd(fd as RawFd);
        let attach = Attach {
            target: cgroup.as_raw_fd() as u32,
            program: fd.as_raw_fd() as u32,
            attach_type: ATTACH_TYPE_CGROUP_DEVICE,
            flags: ALLOW_MULTI,
        };
        check(libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attach,
            std::mem::size_of::<Attach>(),
        ))?;
    }
    Ok(())
}
