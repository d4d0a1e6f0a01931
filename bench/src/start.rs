//! `bench start`: how long a whole cluster takes from its process's start until its node is Ready,
//! first and later, and what it uses while nothing happens.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

use crate::proc;
use crate::table::Table;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an end may take.
const END: Duration = Duration::from_secs(15);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// The program
    #[arg(long)]
    corten: PathBuf,
    /// Its data directory; the first start is one only where the directory is empty
    #[arg(long)]
    data_dir: PathBuf,
    /// Starts after the first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    later: u64,
    /// Seconds of idleness that are watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle: u64,
    /// Seconds between the last start and the watched idleness
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    settle: u64,
    /// Further arguments of `corten server`, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// A running server, ended when dropped.
struct Server {
    child: Child,
    lines: Receiver<String>,
    started: Instant,
    /// No report of an earlier process carries this second or a later one.
    second: i64,
    kubeconfig: PathBuf,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut table = Table::default();
    let empty = std::fs::read_dir(&arguments.data_dir).map_or(true, |mut dir| dir.next().is_none());
    if empty {
        let server = Server::start(arguments)?;
        table.budgeted(
            "process start to node Ready, first start",
            server.ready()?,
            2000.0,
            "ms",
        );
        server.end()?;
    }
    let mut ends = Vec::new();
    for start in 1..=arguments.later {
        let server = Server::start(arguments)?;
        let what = format!("process start to node Ready, later start {start}");
        table.budgeted(&what, server.ready()?, 1000.0, "ms");
        if start == arguments.later {
            idle(arguments, server.child.id(), &mut table)?;
        }
        ends.push(server.end()?);
    }
    table.budgeted(
        "SIGTERM to end, slowest",
        ends.into_iter().fold(0.0, f64::max),
        10_000.0,
        "ms",
    );
    table.print();
    if empty {
        take_away(arguments)?;
    }
    Ok(())
}

/// A cluster that was made for the measurement leaves nothing: no bridge, no rules, no directory.
fn take_away(arguments: &Arguments) -> Result<()> {
    let reset = Command::new(&arguments.corten)
        .arg("reset")
        .arg("--data-dir")
        .arg(&arguments.data_dir)
        .arg("--yes")
        .stdout(Stdio::null())
        .status()
        .context("corten reset")?;
    if !reset.success() {
        bail!("corten reset ended with {reset}");
    }
    Ok(())
}

fn idle(arguments: &Arguments, server: u32, table: &mut Table) -> Result<()> {
    std::thread::sleep(Duration::from_secs(arguments.settle));
    let pids = proc::same_program(server)?;
    let (cpu, start) = (proc::cpu_ms(&pids)?, Instant::now());
    std::thread::sleep(Duration::from_secs(arguments.idle));
    let cpu = proc::cpu_ms(&pids)? - cpu;
    let share = cpu / (start.elapsed().as_secs_f64() * 1000.0) * 100.0;
    let memory = proc::memory(&pids)?;
    table.budgeted("idle, of one core", share, 1.0, "%");
    table.budgeted("idle, memory (RSS)", memory.rss, 75.0, "MB");
    table.plain("idle, memory (PSS)", memory.pss, "MB");
    table.plain("processes of the program", pids.len() as f64, "");
    Ok(())
}

impl Server {
    fn start(arguments: &Arguments) -> Result<Self> {
        // Reports have whole seconds: begin in one that no earlier process can have reported in
        let now = Timestamp::now();
        let second = now.as_second() + 1;
        let left = second * 1000 - now.as_millisecond();
        std::thread::sleep(Duration::from_millis(left.unsigned_abs() + 1));
        let started = Instant::now();
        let mut child = Command::new(&arguments.corten)
            .arg("server")
            .arg("--data-dir")
            .arg(&arguments.data_dir)
            .args(&arguments.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", arguments.corten.display()))?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Read on when nobody listens any more, or the server would stop on a full pipe
                let _ = sender.send(line);
            }
        });
        Ok(Server {
            child,
            lines,
            started,
            second,
            kubeconfig: arguments.data_dir.join("admin.kubeconfig"),
        })
    }

    /// Milliseconds until the server said that its node is Ready, and the node had reported so
    /// since this start: what an earlier process reported is still there at first.
    fn ready(&self) -> Result<f64> {
        self.heard()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let reported =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, self.reported()).await });
        reported.with_context(|| {
            format!("the server said Ready, the node did not report so in {PATIENCE:?}")
        })??;
        Ok(self.started.elapsed().as_secs_f64() * 1000.0)
    }

    async fn reported(&self) -> Result<()> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await?;
        let nodes: Api<Node> = Api::all(Client::try_from(config)?);
        loop {
            let list = nodes.list(&kube::api::ListParams::default()).await?;
            if list.iter().any(|node| reported_since(node, self.second)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn heard(&self) -> Result<()> {
        loop {
            let left = PATIENCE.saturating_sub(self.started.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if says_ready(&line) => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("the node was not Ready in {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the server ended before Ready"),
            }
        }
    }

    /// Milliseconds from SIGTERM until it ended well.
    fn end(mut self) -> Result<f64> {
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        while start.elapsed() < END {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status}");
                }
                return Ok(start.elapsed().as_secs_f64() * 1000.0);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("the server did not end in {END:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a node has reported in or after a second that it is Ready.
fn reported_since(node: &Node, second: i64) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| {
        let heartbeat = condition.last_heartbeat_time.as_ref();
        let fresh = heartbeat.is_some_and(|time| time.0.as_second() >= second);
        condition.type_ == "Ready" && condition.status == "True" && fresh
    })
}

/// Whether a line says so of a node, and not that it is not.
fn says_ready(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word == "Ready") && !line.contains("not Ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_report_counts() {
        let node = |status: &str, heartbeat: &str| -> Node {
            let condition = serde_json::json!({
                "type": "Ready",
                "status": status,
                "lastHeartbeatTime": heartbeat,
            });
            let node = serde_json::json!({"metadata": {}, "status": {"conditions": [condition]}});
            serde_json::from_value(node).unwrap()
        };
        let second = 1_767_225_600;
        let cases = [
            ("True", "2026-01-01T00:00:00Z", true),
            ("True", "2026-01-01T00:00:09Z", true),
            ("True", "2025-12-31T23:59:59Z", false),
            ("False", "2026-01-01T00:00:09Z", false),
        ];
        for (status, heartbeat, fresh) in cases {
            assert_eq!(
                reported_since(&node(status, heartbeat), second),
                fresh,
                "{heartbeat}"
            );
        }
        assert!(!reported_since(&Node::default(), second));
    }

    #[test]
    fn readiness_is_heard_from_the_line_that_says_it() {
        let cases = [
            ("node debian Ready", true),
            ("node  debian: Ready (0.8 s)", true),
            ("node debian is not Ready yet", false),
            ("apiserver ready on https://127.0.0.1:6443", false),
            ("NotReady", false),
        ];
        for (line, ready) in cases {
            assert_eq!(says_ready(line), ready, "{line}");
        }
    }
}
