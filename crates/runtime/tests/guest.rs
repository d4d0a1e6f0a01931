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
        ["cat"] => {
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
    let mut devices: Vec<String> = fs::read_dir("/dev")
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    devices.sort();
    println!("dev {}", devices.join(" "));
    print!(
        "{}",
        fs::read_to_string("/proc/self/cgroup")
            .unwrap()
            .lines()
            .map(|l| format!("cgroup {l}\n"))
            .collect::<String>()
    );
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
