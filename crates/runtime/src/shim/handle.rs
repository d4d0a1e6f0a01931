//! What the shim does on each request, and when a child has become its program or failed to.

mod exits;
mod flow;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::event::epoll::EventFlags;

use super::{
    cgroup::{self, Hierarchies},
    create::{self, Joined},
    fault::{Fault, Step},
    log::{Log, Stream, now},
    output::{Early, Sink, Source},
    protocol::{ContainerState, Reply, Request, Started, State, Streams},
    serve::{Shim, Watched},
    spec::{ContainerSpec, Exit, Identity, PidNamespace},
};
use crate::sys::process;

/// File in a container's state directory with its [`Exit`].
pub(crate) const EXIT_FILE: &str = "exit.json";

/// A container that has been started.
pub(super) struct Container {
    pid: i32,
    pidfd: OwnedFd,
    directory: PathBuf,
    cgroup: String,
    pid_namespace: PidNamespace,
    own_cgroup: bool,
    stdin_once: bool,
    started: Option<Started>,
    exit: Option<Exit>,
    status: Option<(OwnedFd, Vec<u8>)>,
    asked: (u64, u64),
    identity: Identity,
    log: Option<Log>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    sources: Vec<(u64, Source)>,
    sinks: Vec<(u64, Sink)>,
    /// Until the one client is attached that the container is made for, if it is.
    early: Option<Early>,
}

/// A process started in a container later.
pub(super) struct Exec {
    pid: i32,
    asked: (u64, u64),
    status: Option<(OwnedFd, Vec<u8>)>,
    streams: create::Streams,
    exit: Option<Exit>,
}

type Answer = Option<(Reply, Vec<OwnedFd>)>;

impl Shim {
    /// Does what is asked. No answer now means that it comes later.
    pub(super) fn handle(
        &mut self,
        client: u64,
        id: u64,
        request: Request,
    ) -> Result<Answer, Fault> {
        match request {
            Request::State => Ok(Some((Reply::State(self.state()), Vec::new()))),
            Request::Start(spec) => self.start((client, id), *spec).map(|()| None),
            Request::Exec {
                exec,
                container,
                process,
                stdin,
            } => {
                let joined = self.running(&container)?;
                let joined = Joined {
                    pidfd: joined.pidfd.as_fd(),
                    cgroup: &joined.cgroup,
                    own_pid: joined.pid_namespace != PidNamespace::Host,
                    own_cgroup: joined.own_cgroup,
                };
                let child = create::exec(&process, stdin, &joined)?;
                self.watch_exec(exec, (client, id), child).map(|()| None)
            }
            Request::Attach {
                container,
                stdin,
                stdout,
                stderr,
            } => self.attach(&container, stdin, stdout, stderr).map(Some),
            Request::Dial { port } => dial(port).map(Some),
            other => self.simple(other).map(|()| Some((Reply::Ok, Vec::new()))),
        }
    }

    fn simple(&mut self, request: Request) -> Result<(), Fault> {
        match request {
            Request::Signal {
                container,
                signal,
                all,
            } => {
                let found = self.container(&container)?;
                let shared = found.pid_namespace != PidNamespace::Private;
                if all || (signal == libc::SIGKILL && shared) {
                    cgroup::signal_all(&Hierarchies::detect(), &found.cgroup, signal);
                } else if found.exit.is_none() {
                    process::kill(found.pid, signal)
                        .step(|| format!("signal container {container}"))?;
                }
            }
            Request::KillExec { exec } => {
                if let Some(exec) = self.execs.get(&exec).filter(|e| e.exit.is_none()) {
                    // Its children share its session and hear of it through the group.
                    let _ = process::kill(-exec.pid, libc::SIGKILL);
                    let _ = process::kill(exec.pid, libc::SIGKILL);
                }
            }
            Request::CloseStdin { container } => {
                let found = self.container_mut(&container)?;
                if found.stdin_once {
                    found.stdin = None;
                }
            }
            Request::ReopenLog { container } => {
                if let Some(log) = &mut self.container_mut(&container)?.log {
                    log.reopen()
                        .step(|| format!("reopen the log of container {container}"))?;
                }
            }
            Request::Update {
                container,
                resources,
            } => {
                let found = self.container(&container)?;
                cgroup::limit(&Hierarchies::detect(), &found.cgroup, &resources)?;
            }
            Request::Delete { container } => self.delete(&container)?,
            Request::Shutdown => {
                for container in self.containers.values() {
                    cgroup::signal_all(&Hierarchies::detect(), &container.cgroup, libc::SIGKILL);
                    let _ = process::kill(container.pid, libc::SIGKILL);
                }
                if let Some(reaper) = &self.pod.pid {
                    let _ =
                        rustix::process::pidfd_send_signal(reaper, rustix::process::Signal::KILL);
                }
                self.ending = true;
            }
            Request::State
            | Request::Start(_)
            | Request::Exec { .. }
            | Request::Attach { .. }
            | Request::Dial { .. } => {}
        }
        Ok(())
    }

    fn container(&self, id: &str) -> Result<&Container, Fault> {
        self.containers
            .get(id)
            .ok_or_else(|| Fault::new(format!("container {id} not found")))
    }

    fn container_mut(&mut self, id: &str) -> Result<&mut Container, Fault> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Fault::new(format!("container {id} not found")))
    }

    fn running(&self, id: &str) -> Result<&Container, Fault> {
        let container = self.container(id)?;
        if container.exit.is_some() || container.started.is_none() {
            return Err(Fault::new(format!("container {id} is not running")));
        }
        Ok(container)
    }

    fn state(&self) -> State {
        State {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            containers: self
                .containers
                .iter()
                .filter_map(|(id, c)| {
                    let started = c.started.clone()?;
                    let exit = c.exit.clone();
                    Some((id.clone(), ContainerState { started, exit }))
                })
                .collect(),
        }
    }

    fn start(&mut self, asked: (u64, u64), spec: ContainerSpec) -> Result<(), Fault> {
        if self.containers.contains_key(&spec.id) {
            return Err(Fault::new(format!(
                "container {} has been started already",
                spec.id
            )));
        }
        let log = match &spec.log_path {
            Some(path) => {
                Some(Log::open(path.clone()).step(|| format!("open the log {}", path.display()))?)
            }
            None => None,
        };
        let target = match &spec.pid {
            PidNamespace::Target(id) => Some(self.running(id)?.pidfd.as_fd()),
            _ => None,
        };
        let child = match create::container(&spec, &self.pod, target) {
            Ok(child) => child,
            Err(fault) => {
                cgroup::remove(&Hierarchies::detect(), &spec.cgroup.path);
                return Err(fault);
            }
        };
        let what = || "watch the container".to_owned();
        create::nonblocking(&child.status).step(what)?;
        self.watch(
            child.status.as_fd(),
            EventFlags::IN,
            Watched::Status(spec.id.clone()),
        )
        .step(what)?;
        let mut sources = Vec::new();
        let streams = child.streams;
        let terminal = match streams.terminal {
            Some(master) => {
                let copy = master.try_clone().step(what)?;
                sources.push((copy, Stream::Stdout));
                Some(master)
            }
            None => None,
        };
        for (fd, stream) in [
            (streams.stdout, Stream::Stdout),
            (streams.stderr, Stream::Stderr),
        ] {
            sources.extend(fd.map(|fd| (fd, stream)));
        }
        let mut watched = Vec::new();
        for (fd, stream) in sources {
            create::nonblocking(&fd).step(what)?;
            let token = self
                .watch(
                    fd.as_fd(),
                    EventFlags::IN,
                    Watched::Output(spec.id.clone(), stream),
                )
                .step(what)?;
            watched.push((token, Source::new(fd, stream)));
        }
        self.containers.insert(
            spec.id.clone(),
            Container {
                pid: child.pid,
                pidfd: child.pidfd,
                directory: spec.directory,
                cgroup: spec.cgroup.path,
                pid_namespace: spec.pid,
                own_cgroup: spec.cgroup_namespace,
                stdin_once: spec.stdin_once,
                started: None,
                exit: None,
                status: Some((child.status, Vec::new())),
                asked,
                identity: Identity::default(),
                log,
                stdin: streams.stdin,
                terminal,
                sources: watched,
                sinks: Vec::new(),
                early: spec.stdin_once.then(Early::default),
            },
        );
        Ok(())
    }

    /// The container's first process told something, or has become its program.
    pub(super) fn hear_container(&mut self, id: &str, token: u64) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some((status, text)) = &mut container.status else {
            return;
        };
        if create::read_status(status, text).is_none() {
            return;
        }
        let (identity, fault) = create::hear(text);
        container.status = None;
        let asked = container.asked;
        container.identity = identity.unwrap_or_default();
        let reply = match fault {
            Some(fault) => {
                // The child has ended by itself; it is reaped without an announcement.
                let _ = process::wait_for(container.pid);
                let cgroup = container.cgroup.clone();
                self.drop_container(id);
                cgroup::remove(&Hierarchies::detect(), &cgroup);
                Reply::Failed(fault)
            }
            None => {
                let started = Started {
                    pid: container.pid,
                    identity: container.identity.clone(),
                    at: now(),
                };
                container.started = Some(started.clone());
                Reply::Started(started)
            }
        };
        self.unwatch(None, token);
        self.reply(asked.0, asked.1, reply, Vec::new());
        process::trim_heap();
        // It may have ended before it was heard.
        self.reap();
    }

    fn watch_exec(
        &mut self,
        exec: u64,
        asked: (u64, u64),
        child: create::Child,
    ) -> Result<(), Fault> {
        let what = || "watch the process".to_owned();
        create::nonblocking(&child.status).step(what)?;
        self.watch(
            child.status.as_fd(),
            EventFlags::IN,
            Watched::ExecStatus(exec),
        )
        .step(what)?;
        self.execs.insert(
            exec,
            Exec {
                pid: child.pid,
                asked,
                status: Some((child.status, Vec::new())),
                streams: child.streams,
                exit: None,
            },
        );
        Ok(())
    }

    /// A later process told something, or has become its program.
    pub(super) fn hear_exec(&mut self, id: u64, token: u64) {
        let Some(exec) = self.execs.get_mut(&id) else {
            return;
        };
        let Some((status, text)) = &mut exec.status else {
            return;
        };
        if create::read_status(status, text).is_none() {
            return;
        }
        let (_, fault) = create::hear(text);
        exec.status = None;
        let asked = exec.asked;
        let streams = std::mem::take(&mut exec.streams);
        self.unwatch(None, token);
        match fault {
            Some(fault) => {
                if let Some(exec) = self.execs.remove(&id) {
                    let _ = process::wait_for(exec.pid);
                }
                self.reply(asked.0, asked.1, Reply::Failed(fault), Vec::new());
            }
            None => {
                let told = Streams {
                    stdin: streams.stdin.is_some(),
                    stdout: streams.stdout.is_some(),
                    stderr: streams.stderr.is_some(),
                    terminal: streams.terminal.is_some(),
                };
                let fds = [
                    streams.stdin,
                    streams.stdout,
                    streams.stderr,
                    streams.terminal,
                ];
                let fds = fds.into_iter().flatten().collect();
                self.reply(asked.0, asked.1, Reply::Streams(told), fds);
                self.reap();
            }
        }
    }

    fn delete(&mut self, id: &str) -> Result<(), Fault> {
        let Some(container) = self.containers.get(id) else {
            return Ok(());
        };
        if container.exit.is_none() {
            return Err(Fault::new(format!("container {id} is running")));
        }
        cgroup::remove(&Hierarchies::detect(), &container.cgroup);
        self.drop_container(id);
        process::trim_heap();
        Ok(())
    }

    fn drop_container(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id) {
            let sources = container.sources.iter().map(|(token, _)| *token);
            for token in sources.chain(container.sinks.iter().map(|(token, _)| *token)) {
                self.unwatch(None, token);
            }
        }
    }
}

/// Connects to a port on the pod's loopback: IPv4, else IPv6.
fn dial(port: u16) -> Result<(Reply, Vec<OwnedFd>), Fault> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ];
    // Loopback answers or refuses at once; the time-out covers a full backlog.
    let timeout = std::time::Duration::from_secs(2);
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok((Reply::Ok, vec![stream.into()])),
            Err(error) => last = last.or(Some(error)),
        }
    }
    let reason = last.map_or_else(String::new, |error| super::program::reason(&error));
    Err(Fault::new(format!(
        "failed to connect to localhost:{port} inside the pod: {reason}"
    )))
}
