//! One `corten server` as a user runs it, and kubectl beside it.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use crate::{wait::LONGEST, world::World};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
}

impl Output {
    fn of(mut command: Command) -> Output {
        let output = command
            .output()
            .unwrap_or_else(|e| panic!("run {command:?}: {e}"));
        Output {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Whether it exited with 0.
    pub fn good(&self) -> bool {
        self.code == Some(0)
    }
}

/// See the module.
pub struct Cluster {
    dir: tempfile::TempDir,
    /// The networks.
    pub world: World,
    server: Option<Child>,
    said: Arc<Mutex<Vec<String>>>,
    flags: Vec<String>,
}

/// The program under test: built beside the tests.
pub fn corten() -> PathBuf {
    if let Some(given) = std::env::var_os("CORTEN_BIN") {
        return given.into();
    }
    let tests = std::env::current_exe().expect("own path");
    let binary = tests
        .ancestors()
        .nth(2)
        .expect("target directory")
        .join("corten");
    assert!(
        binary.is_file(),
        "{} is not there: cargo build --package corten",
        binary.display()
    );
    binary
}

impl Cluster {
    /// A new cluster, its node Ready.
    pub fn start() -> Cluster {
        Cluster::start_with(&[])
    }

    /// A new cluster with further flags.
    pub fn start_with(flags: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            dir: tempfile::Builder::new()
                .prefix("corten-test-")
                .tempdir()
                .expect("temporary directory"),
            world: World::make(),
            server: None,
            said: Arc::default(),
            flags: flags.iter().map(ToString::to_string).collect(),
        };
        std::fs::write(
            cluster.dir.path().join("resolv.conf"),
            "nameserver 192.0.2.1\n",
        )
        .expect("resolv.conf");
        cluster.launch();
        cluster
    }

    /// Where the cluster's data is.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A folder that goes with the cluster.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server (again) and waits for its node to be Ready.
    pub fn launch(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let mut child = self
            .server_command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start corten");
        let (tell, ready) = mpsc::channel();
        self.said.lock().expect("lines").clear();
        let (out, err) = (
            child.stdout.take().expect("stdout"),
            child.stderr.take().expect("stderr"),
        );
        for stream in [
            Box::new(out) as Box<dyn std::io::Read + Send>,
            Box::new(err),
        ] {
            let (said, tell) = (self.said.clone(), tell.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let ready = line.contains("is Ready");
                    said.lock().expect("lines").push(line);
                    if ready {
                        // Nobody listens any more when the node says it a second time.
                        let _ = tell.send(());
                    }
                }
            });
        }
        drop(tell);
        self.server = Some(child);
        if ready.recv_timeout(LONGEST).is_err() {
            panic!(
                "the node never became Ready; the server said:\n{}",
                self.said().join("\n")
            );
        }
    }

    /// The server's command line, not started.
    pub fn server_command(&self) -> Command {
        let mut command = self.world.on_node(corten());
        command.arg("server").arg("--data-dir").arg(self.data());
        command
            .arg("--node-name")
            .arg("node-1")
            .arg("--resolv-conf")
            .arg(self.dir.path().join("resolv.conf"));
        command.args(&self.flags);
        command
    }

    /// What the server printed since it was launched.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("lines").clone()
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("a running server");
        server.kill().expect("kill");
        server.wait().expect("wait");
    }

    /// Asks the server to end, and answers its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut server = self.server.take()?;
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        server.wait().expect("wait").code()
    }

    /// `corten` with arguments, on the node.
    pub fn corten(&self, arguments: &[&str]) -> Output {
        let mut command = self.world.on_node(corten());
        command
            .args(arguments)
            .env("CORTEN_DATA_DIR", self.data())
            .stdin(Stdio::null());
        Output::of(command)
    }

    /// A kubectl command, not started: the machine's own, or Corten's where there is none.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = match crate::find("kubectl") {
            Some(program) => self.world.on_node(program),
            None => {
                let mut command = self.world.on_node(corten());
                command.arg("kubectl");
                command
            }
        };
        command
            .args(arguments)
            .env("KUBECONFIG", self.data().join("admin.kubeconfig"))
            .env("HOME", self.dir.path());
        command
    }

    /// kubectl, whatever comes of it.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = self.kubectl_command(arguments);
        command.stdin(Stdio::null());
        Output::of(command)
    }

    /// kubectl that has to succeed; answers what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(
            output.good(),
            "kubectl {} ended with {:?}: {}{}\nserver:\n{}",
            arguments.join(" "),
            output.code,
            output.err,
            output.out,
            self.said().join("\n")
        );
        output.out
    }

    /// kubectl with something on standard input; it has to succeed.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self
            .kubectl_command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start kubectl");
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(input.as_bytes())
            .expect("write to kubectl");
        let output = child.wait_with_output().expect("kubectl");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "kubectl {}: {err}{out}",
            arguments.join(" ")
        );
        out.into_owned()
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, yaml: &str) -> String {
        self.kubectl_with(&["apply", "-f", "-"], yaml)
    }

    /// `kubectl get … -o jsonpath=…`.
    pub fn jsonpath(&self, arguments: &[&str], path: &str) -> String {
        let output = format!("jsonpath={path}");
        let all: Vec<&str> = ["get"]
            .iter()
            .chain(arguments)
            .copied()
            .chain(["-o", &output])
            .collect();
        self.kubectl(&all)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            if thread::panicking() {
                eprintln!("the server said:\n{}", self.said().join("\n"));
            }
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
        let reset = self.corten(&["reset", "--yes"]);
        if !reset.good() && !thread::panicking() {
            panic!("corten reset left something: {}{}", reset.out, reset.err);
        }
    }
}
