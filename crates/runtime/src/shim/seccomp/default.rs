//! The default profile (`RuntimeDefault`): what ordinary programs need, and with a capability
//! also the calls that capability is about.

use std::{collections::HashMap, sync::LazyLock};

use parking_lot::Mutex;

use super::profile::{Argument, Circumstances, Filter, Profile, ProfileError, Rule};

/// Calls every container may make.
const ALLOWED: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir \
    chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
    clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod \
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock \
    fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate \
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat \
    get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid \
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername \
    getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid \
    getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid \
    getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl \
    ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr \
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack \
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall \
    mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 \
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync \
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 \
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 \
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop \
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid \
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid \
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid \
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate \
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 \
    utimes vfork vmsplice wait4 waitid waitpid write writev arch_prctl modify_ldt";

/// Calls that need a capability to be allowed at all.
const BY_CAPABILITY: [(&str, &str); 10] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    (
        "CAP_SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
];

/// More of the same kind, kept apart because each names a single call or two.
const BY_CAPABILITY_TOO: [(&str, &str); 4] = [
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn allow(text: &str) -> Rule {
    Rule {
        names: names(text),
        action: "SCMP_ACT_ALLOW".into(),
        ..Rule::default()
    }
}

fn argument(index: u32, value: u64, value_two: u64, op: &str) -> Argument {
    Argument {
        index,
        value,
        value_two,
        op: op.into(),
    }
}

/// Filters of the default profile that were compiled before. Nearly every container has one of a
/// few sets of capabilities; beyond this many the least is lost by starting over.
static COMPILED: LazyLock<Mutex<HashMap<Circumstances, Vec<u8>>>> = LazyLock::new(Mutex::default);
const MOST_COMPILED: usize = 64;

/// The filter of the default profile.
pub fn default_filter(now: &Circumstances) -> Result<Vec<u8>, ProfileError> {
    if let Some(known) = COMPILED.lock().get(now) {
        return Ok(known.clone());
    }
    let filter = super::compile(&default_profile().resolve(now)?)?;
    let mut compiled = COMPILED.lock();
    if compiled.len() >= MOST_COMPILED {
        compiled.clear();
    }
    compiled.insert(*now, filter.clone());
    Ok(filter)
}

/// The profile used unless a pod asks for another.
pub fn default_profile() -> Profile {
    let mut rules = vec![allow(ALLOWED)];
    // `process_vm_*` and `ptrace` are safe since the kernel checks seccomp around them.
    rules.push(Rule {
        includes: Some(Filter {
            min_kernel: Some("4.8".into()),
            ..Filter::default()
        }),
        ..allow("process_vm_readv process_vm_writev ptrace")
    });
    // Connections to the hypervisor reach past the network namespace.
    rules.push(Rule {
        args: Some(vec![argument(0, libc::AF_VSOCK as u64, 0, "SCMP_CMP_NE")]),
        ..allow("socket")
    });
    for personality in [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(Rule {
            args: Some(vec![argument(0, personality, 0, "SCMP_CMP_EQ")]),
            ..allow("personality")
        });
    }
    for (capability, calls) in BY_CAPABILITY.iter().chain(&BY_CAPABILITY_TOO) {
        rules.push(Rule {
            includes: Some(Filter {
                caps: vec![(*capability).to_owned()],
                ..Filter::default()
            }),
            ..allow(calls)
        });
    }
    let without_admin = || {
        Some(Filter {
            caps: vec!["CAP_SYS_ADMIN".into()],
            ..Filter::default()
        })
    };
    // New namespaces need CAP_SYS_ADMIN; plain threads and processes do not.
    const NAMESPACES: u64 = 0x7e02_0000;
    rules.push(Rule {
        args: Some(vec![argument(0, NAMESPACES, 0, "SCMP_CMP_MASKED_EQ")]),
        excludes: without_admin(),
        ..allow("clone")
    });
    // Its flags are out of a filter's sight; "not implemented" makes C libraries fall back.
    rules.push(Rule {
        names: names("clone3"),
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(libc::ENOSYS as u32),
        excludes: without_admin(),
        ..Rule::default()
    });
    Profile {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(libc::EPERM as u32),
        syscalls: rules,
    }
}
