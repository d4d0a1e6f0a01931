//! Namespaces as nodes, pods and the outside world.
//!
//! A test's node is a thread in a fresh network namespace: everything it starts inherits that, and
//! everything it made goes when the last thread and the last pin are gone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use network::netlink::netns;
use network::netlink::route::{LOOPBACK, Route};
use rustix::mount::UnmountFlags;
use rustix::thread::UnshareFlags;

/// Whether the test can run; says why not otherwise.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

#[allow(unsafe_code)]
fn unshare(flags: UnshareFlags) {
    // SAFETY: neither files nor file system state shared with other threads is split off by these
    // flags' uses here.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
}

/// An instance id no other test has.
pub fn instance() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "t{:x}{:x}",
        std::process::id() % 0xfffff,
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs a test inside a node: a namespace with loopback up, and an async runtime whose threads are
/// in it.
pub fn on_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    if !root() {
        return;
    }
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            unshare(UnshareFlags::NEWNET);
            Route::open().unwrap().set_up(LOOPBACK).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(test());
        });
        if let Err(panic) = node.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A pinned namespace: a pod's, or the world outside.
pub struct Namespace {
    pub path: PathBuf,
    pub file: File,
    _dir: tempfile::TempDir,
}

impl Namespace {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net");
        File::create(&path).unwrap();
        let target = path.clone();
        std::thread::spawn(move || {
            unshare(UnshareFlags::NEWNET);
            rustix::mount::mount_bind("/proc/thread-self/ns/net", &target).unwrap();
        })
        .join()
        .unwrap();
        let file = File::open(&path).unwrap();
        Self {
            path,
            file,
            _dir: dir,
        }
    }

    /// Runs `work` inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(&self.path, &self.file, || Ok(work())).unwrap()
    }

    pub fn unpin(&self) {
        rustix::mount::unmount(&self.path, UnmountFlags::DETACH).unwrap();
    }

    /// A TCP server that answers each connection with `name` and the client's address.
    pub fn serve(&self, port: u16, name: &str) {
        let listener = self.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        serve(listener, name);
    }

    /// Connects from here and reads the answer: server's name and our address as it saw it.
    pub fn ask(&self, to: SocketAddr) -> std::io::Result<(String, IpAddr)> {
        self.run(|| ask(to))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
    }
}

pub fn serve(listener: TcpListener, name: &str) {
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().unwrap().ip();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
}

pub fn ask(to: SocketAddr) -> std::io::Result<(String, IpAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (name, peer) = text
        .split_once(' ')
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((name.to_owned(), peer.parse().unwrap()))
}

/// Joins the current namespace and another one by a cable with an address on each end.
pub fn cable(outside: &Namespace, here: &str, there: &str) {
    let ip = |args: &str| {
        let output = std::process::Command::new("ip")
            .args(args.split(' '))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "ip {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    ip("link add uplink type veth peer name tmp0");
    outside
        .run(|| Route::open().unwrap().set_up(LOOPBACK))
        .unwrap();
    // `ip` takes a namespace by a process or a name; a thread inside is a process to it.
    let (tell, told) = std::sync::mpsc::channel();
    let (done, finish) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            outside.run(move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                    .unwrap();
                let _ = finish.recv();
            });
        });
        ip(&format!("link set tmp0 netns {}", told.recv().unwrap()));
        drop(done);
    });
    ip(&format!("addr add {here} dev uplink"));
    ip("link set uplink up");
    let there = there.to_owned();
    outside.run(move || {
        let ip = |args: &str| {
            assert!(
                std::process::Command::new("ip")
                    .args(args.split(' '))
                    .status()
                    .unwrap()
                    .success()
            )
        };
        ip(&format!("addr add {there} dev tmp0"));
        ip("link set tmp0 up");
    });
}
