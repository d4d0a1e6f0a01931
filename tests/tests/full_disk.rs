//! The whole server on a disk that fills up: writes are refused and say why, reads go on, nothing is
//! lost, and it all goes on once there is room.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use corten_tests::{cluster::corten, eventually, missing, world::World};

/// A small file system of its own, taken away when dropped, and the server on it ended.
struct Small {
    dir: tempfile::TempDir,
    world: World,
    server: Option<Child>,
}

impl Small {
    fn make() -> Small {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Small {
            dir,
            world: World::make(),
            server: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server_command(&self, data: &Path) -> Command {
        let mut command = self.world.on_node(corten());
        command
            .arg("server")
            .arg("--data-dir")
            .arg(data)
            .args(["--disable", "kubelet,proxy,dns"])
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let mut command = self.server_command(&self.path("data"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        eventually("the API answers", || {
            let output = self.kubectl(&["get", "namespaces"]);
            output.status.success().then_some(()).ok_or(output)
        });
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = self.world.on_node(corten());
        command
            .args(["kubectl", "--kubeconfig"])
            .arg(self.path("data/admin.kubeconfig"))
            .args(arguments);
        command.output().unwrap()
    }

    /// Fills the disk to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.path("fill")).unwrap();
        for size in [1 << 16, 1 << 9, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = rustix::process::Pid::from_child(&server);
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            server.wait().unwrap();
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.end();
        // What stays mounted is seen by whoever looks; a test cannot do more.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
    }
}

#[test]
fn a_full_disk_stops_writes_and_nothing_else() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let mut small = Small::make();
    small.start();
    let make = |small: &Small, name: &str| {
        small.kubectl(&["create", "configmap", name, "--from-literal=a=b"])
    };
    assert!(make(&small, "before").status.success());
    small.fill();
    // What the store has set aside for itself may take a write or two.
    let refused = eventually("a write is refused", || {
        let name = format!(
            "full-{}",
            rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec
        );
        let output = make(&small, &name);
        if output.status.success() {
            Err(name)
        } else {
            Ok(output)
        }
    });
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("no space left"), "{said}");
    let names = |small: &Small| {
        let output = small.kubectl(&["get", "configmaps", "-o", "name"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(names(&small).contains("configmap/before"), "reads go on");

    // Another one does not even start, and says so in a line.
    let output = small.server_command(&small.path("other")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.to_lowercase().contains("no space left"), "{said}");

    std::fs::remove_file(small.path("fill")).unwrap();
    eventually("writes go on", || {
        let output = make(&small, "after");
        output.status.success().then_some(()).ok_or(output)
    });
    small.end();
    small.start();
    let names = names(&small);
    assert!(
        names.contains("configmap/before") && names.contains("configmap/after"),
        "{names}"
    );
}
