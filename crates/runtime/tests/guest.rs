//! The program inside the test images: `/guest guest COMMAND…`.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
};

pub fn main(args: impl Iterator<Item = OsString>) -> ! {
    let args: Vec<String> = args.map(|a| a.to_string_lossy().into_owned()).collect();
    let text: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match text.as_slice() {
        ["sleep"] => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        ["echo", rest @ ..] => {
            println!("{}", rest.join(" "));
            0
        }
        ["both"] => {
            println!("to stdout");
            eprintln!("to stderr");
            0
        }
        ["exit", code] => code.parse().unwrap(),
        ["abort"] => std::process::abort(),
        ["calls"] => {
            calls();
            0
        }
        [greeting @ ("cat" | "greet")] => {
            if *greeting == "greet" {
                println!("welcome");
            }
            let mut buffer = [0; 4096];
            loop {
                match std::io::stdin().read(&mut buffer) {
                    Ok(0) | Err(_) => break 0,
                    Ok(count) => {
                        std::io::stdout().write_all(&buffer[..count]).unwrap();
                        std::io::stdout().flush().unwrap();
                    }
                }
            }
        }
        ["closes"] => {
            println!("welcome");
            rustix::stdio::dup2_stdout(fs::File::open("/dev/null").unwrap()).unwrap();
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            0
        }
        ["lines", count] => {
            for number in 0..count.parse::<u64>().unwrap() {
                println!("line {number}");
            }
            0
        }
        ["memory", megabytes] => {
            let mut kept = Vec::new();
            for _ in 0..megabytes.parse::<usize>().unwrap() {
                kept.push(vec![1_u8; 1 << 20]);
            }
            println!("kept {}", kept.len());
            0
        }
        ["write", path, content] => match fs::write(path, content) {
            Ok(()) => 0,
            Err(error) => {
                println!("{error}");
                1
            }
        },
        ["read", path] => match fs::read_to_string(path) {
            Ok(content) => {
                print!("{content}");
                0
            }
            Err(error) => {
                println!("{error}");
                1
            }
        },
        ["identity"] => {
            identity();
            0
        }
        ["terminal"] => {
            let stdin = std::io::stdin();
            let mut size = rustix::termios::tcgetwinsize(&stdin).unwrap();
            while size.ws_col == 0 {
                std::thread::yield_now();
                size = rustix::termios::tcgetwinsize(&stdin).unwrap();
            }
            println!("{}x{}", size.ws_col, size.ws_row);
            let mut line = String::new();
            stdin.read_line(&mut line).unwrap();
            println!("got {}", line.trim());
            0
        }
        ["device", major, minor] => {
            let number = rustix::fs::makedev(major.parse().unwrap(), minor.parse().unwrap());
            let (kind, mode) = (rustix::fs::FileType::CharacterDevice, 0o600.into());
            rustix::fs::mknodat(rustix::fs::CWD, "/tmp/device", kind, mode, number).unwrap();
            match fs::File::open("/tmp/device") {
                Ok(_) => println!("opened"),
                Err(error) => println!("{error}"),
            }
            0
        }
        ["processes"] => {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                if let Ok(text) = fs::read(entry.path().join("cmdline")) {
                    println!("{}", String::from_utf8_lossy(&text).replace('\0', " "));
                }
            }
            0
        }
        ["serve", port] => serve(port.parse().unwrap()),
        ["env"] => {
            for (key, value) in std::env::vars() {
                println!("{key}={value}");
            }
            0
        }
        other => {
            println!("unknown command {other:?}");
            64
        }
    };
    std::process::exit(code)
}

/// Everything a container can tell of itself, in a form that two runtimes can be compared by.
fn identity() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        let wanted = ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:"];
        if wanted.iter().any(|w| line.starts_with(w)) {
            println!("{line}");
        }
    }
    println!("cwd {}", std::env::current_dir().unwrap().display());
    println!(
        "hostname {}",
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim()
    );
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    print!(
        "{}",
        limits
            .lines()
            .skip(1)
            .map(|l| format!("limit {l}\n"))
            .collect::<String>()
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|f| *f == "-").unwrap();
        println!("mount {} {} {}", fields[4], fields[5], fields[dash + 1]);
    }
    for entry in fs::read_dir("/dev").unwrap() {
        let entry = entry.unwrap();
        let stat = rustix::fs::lstat(entry.path()).unwrap();
        println!(
            "dev {} {:o} {} {} {:x}",
            entry.file_name().display(),
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_rdev
        );
    }
    for (key, value) in std::env::vars() {
        println!("env {key}={value}");
    }
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let id = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        println!("namespace {kind} {}", id.display());
    }
    for path in [
        "/proc/self/oom_score_adj",
        "/proc/keys",
        "/proc/timer_list",
        "/sys/fs/cgroup/devices/devices.list",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/cpu/cpu.shares",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "/sys/fs/cgroup/pids/pids.max",
    ] {
        let text = fs::read_to_string(path).unwrap_or_else(|e| e.to_string());
        text.lines().for_each(|line| println!("file {path} {line}"));
    }
    for path in [
        "/",
        "/etc/x",
        "/proc/sys/kernel/x",
        "/sys/x",
        "/dev/shm/x",
        "/dev/x",
    ] {
        println!(
            "access {path} {:?}",
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK)
        );
    }
    print!(
        "{}",
        fs::read_to_string("/proc/self/cgroup")
            .unwrap()
            .lines()
            .map(|l| format!("cgroup {l}\n"))
            .collect::<String>()
    );
}

/// Calls that seccomp profiles are about, and what came of each.
fn calls() {
    use rustix::{fs, io::Errno, process, thread};
    let tell = |name: &str, result: Result<(), Errno>| println!("call {name} {result:?}");
    let file = std::fs::File::create("/tmp/calls").unwrap();
    let mode = |mode: u32| fs::fchmod(&file, fs::Mode::from_raw_mode(mode));
    tell("mkdir", fs::mkdir("/tmp/one", 0o700.into()));
    tell("mkdirat", fs::mkdirat(fs::CWD, "/tmp/two", 0o700.into()));
    tell("symlinkat", fs::symlinkat("x", fs::CWD, "/tmp/link"));
    for bits in [0o600, 0o601, 0o4600, 0o4755, 0o6755, 0o755] {
        tell(&format!("fchmod {bits:o}"), mode(bits));
    }
    for length in [0, 1 << 20, (1 << 33) - 1, 1 << 33, (1 << 33) + 1, 1 << 34] {
        tell(&format!("ftruncate {length}"), fs::ftruncate(&file, length));
    }
    for (offset, length) in [(0, 1), (4096, 1), (4097, 1), (8192, 1), (1 << 32, 1)] {
        let flags = fs::FallocateFlags::KEEP_SIZE;
        tell(
            &format!("fallocate {offset}"),
            fs::fallocate(&file, flags, offset, length),
        );
    }
    tell("sethostname", rustix::system::sethostname(b"other"));
    tell("setdomainname", rustix::system::setdomainname(b"other"));
    tell("chroot", process::chroot("/"));
    tell("mount", rustix::mount::mount_bind("/tmp", "/tmp"));
    tell(
        "open_tree",
        rustix::mount::open_tree(
            fs::CWD,
            "/tmp",
            rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE,
        )
        .map(drop),
    );
    tell(
        "fsopen",
        rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty()).map(drop),
    );
    tell("finit_module", rustix::system::finit_module(&file, c"", 0));
    tell(
        "pidfd_open",
        process::pidfd_open(process::getpid(), process::PidfdFlags::empty()).map(drop),
    );
    tell(
        "memfd_create",
        fs::memfd_create("x", fs::MemfdFlags::empty()).map(drop),
    );
    tell("sched_yield", {
        thread::sched_yield();
        Ok(())
    });
    for family in [1, 2, 16, 38, 40] {
        let family = rustix::net::AddressFamily::from_raw(family);
        let socket = rustix::net::socket(family, rustix::net::SocketType::DGRAM, None);
        tell(&format!("socket {}", family.as_raw()), socket.map(drop));
    }
    // A thread is a clone: it has to work under any profile.
    std::thread::spawn(|| println!("call clone"))
        .join()
        .unwrap();
}

fn serve(port: u16) -> ! {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        std::thread::spawn(move || {
            let mut copy = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut copy, &mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
    }
    std::process::exit(1)
}
