//! Children that ended: collecting them, and what their end sets off.

use super::super::{
    cgroup::{self, Hierarchies},
    log::{Stream, now},
    protocol::Event,
    serve::Shim,
    spec::{Exit, PidNamespace},
};
use super::EXIT_FILE;
use crate::sys::process;

impl Shim {
    /// Collects ended children. One whose set-up has not been heard yet is left until it is.
    pub(in crate::shim) fn reap(&mut self) {
        for (pid, status) in self.ended() {
            let exit = |oom_killed| {
                let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
                Exit {
                    code: match signal {
                        Some(signal) => 128 + signal,
                        None => libc::WEXITSTATUS(status),
                    },
                    signal,
                    oom_killed,
                    at: now(),
                }
            };
            let container = self
                .containers
                .iter()
                .find(|(_, c)| c.pid == pid && c.exit.is_none());
            if let Some(id) = container.map(|(id, _)| id.clone()) {
                self.container_ended(&id, exit);
                continue;
            }
            let exec = self
                .execs
                .iter()
                .find(|(_, e)| e.pid == pid)
                .map(|(id, _)| *id);
            if let Some(id) = exec {
                self.execs.remove(&id);
                self.announce(Event::ExecExited(id, exit(false)));
            }
        }
    }

    /// Reaps whatever may be reaped now: orphans always, own children only once they were heard.
    fn ended(&self) -> Vec<(i32, i32)> {
        let unheard: Vec<i32> = (self.containers.values())
            .filter(|c| c.status.is_some())
            .map(|c| c.pid)
            .chain(
                self.execs
                    .values()
                    .filter(|e| e.status.is_some())
                    .map(|e| e.pid),
            )
            .collect();
        let mut ended = Vec::new();
        if unheard.is_empty() {
            ended.extend(std::iter::from_fn(process::reap));
            return ended;
        }
        let known = (self.containers.values())
            .filter(|c| c.status.is_none() && c.exit.is_none())
            .map(|c| c.pid)
            .chain(
                self.execs
                    .values()
                    .filter(|e| e.status.is_none())
                    .map(|e| e.pid),
            );
        ended.extend(known.filter_map(|pid| Some((pid, process::reap_one(pid)?))));
        ended
    }

    fn container_ended(&mut self, id: &str, exit: impl FnOnce(bool) -> Exit) {
        // What it said last belongs into the log before anybody hears that it ended.
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(id, stream);
        }
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let hierarchies = Hierarchies::detect();
        let exit = exit(cgroup::oom_kills(&hierarchies, &container.cgroup) > 0);
        if container.pid_namespace != PidNamespace::Private {
            cgroup::signal_all(&hierarchies, &container.cgroup, libc::SIGKILL);
        }
        container.exit = Some(exit.clone());
        container.stdin = None;
        if let Ok(text) = serde_json::to_vec(&exit) {
            let _ = crate::state::write(&container.directory.join(EXIT_FILE), &text);
        }
        self.announce(Event::Exited(id.to_owned(), exit));
    }
}
