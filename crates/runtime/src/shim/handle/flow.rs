//! Output on its way from a container to its log and to attached clients.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{event::epoll::EventFlags, pipe::PipeFlags};

use super::super::{
    create,
    fault::{Fault, Step},
    log::Stream,
    output::Sink,
    protocol::{Reply, Streams},
    serve::{Shim, Watched},
};
use super::Container;

impl Container {
    /// Whether an attached client keeps the output waiting.
    pub(in crate::shim) fn is_held_back(&self) -> bool {
        self.sinks.iter().any(|(_, sink)| sink.is_full())
    }

    fn source(&mut self, stream: Stream) -> Option<usize> {
        self.sources.iter().position(|(_, s)| s.stream == stream)
    }
}

impl Shim {
    /// Reads output until there is no more for now; bounded, as the pipe is no longer filled.
    pub(super) fn drain(&mut self, id: &str, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(index) = container.source(stream) else {
            return;
        };
        for _ in 0..4096 {
            let (_, source) = &mut container.sources[index];
            if !source.pump(
                &mut container.log,
                &mut container.early,
                &mut container.sinks,
            ) {
                break;
            }
        }
        self.settle(id);
    }

    /// Output is there.
    pub(in crate::shim) fn pump(&mut self, id: &str, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Some(index) = container.source(stream) {
            let (_, source) = &mut container.sources[index];
            source.pump(
                &mut container.log,
                &mut container.early,
                &mut container.sinks,
            );
        }
        self.settle(id);
    }

    /// A slow client takes more.
    pub(in crate::shim) fn flush(&mut self, id: &str, token: u64) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        // With nothing waiting only the end of the client's side can have woken the loop.
        container
            .sinks
            .retain_mut(|(t, sink)| *t != token || (!sink.is_idle() && sink.flush()));
        self.settle(id);
    }

    /// Brings what is waited for in line with who has room, and closes what has come to its end.
    fn settle(&mut self, id: &str) {
        let Some(mut container) = self.containers.remove(id) else {
            return;
        };
        let held = container.is_held_back();
        for (token, source) in &container.sources {
            match &source.fd {
                Some(fd) => {
                    let flags = if held {
                        EventFlags::empty()
                    } else {
                        EventFlags::IN
                    };
                    self.rewatch(fd.as_fd(), *token, flags);
                }
                None => self.unwatch(None, *token),
            }
        }
        container.sources.retain(|(_, source)| source.fd.is_some());
        let open: Vec<Stream> = container.sources.iter().map(|(_, s)| s.stream).collect();
        container
            .sinks
            .retain(|(_, sink)| !sink.is_idle() || open.contains(&sink.stream));
        for (token, sink) in &container.sinks {
            let flags = if sink.is_idle() {
                EventFlags::empty()
            } else {
                EventFlags::OUT
            };
            self.rewatch(sink.fd.as_fd(), *token, flags);
        }
        self.containers.insert(id.to_owned(), container);
    }

    /// Lets go of attached clients that have taken nothing for the whole of the loop's patience.
    pub(in crate::shim) fn drop_stalled(&mut self) {
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in ids {
            if let Some(container) = self.containers.get_mut(&id) {
                container.sinks.retain(|(_, sink)| !sink.is_full());
            }
            self.settle(&id);
        }
    }

    /// Joins a client to the container's streams. The one client that the container was made for (it
    /// brings the input) also gets what was said before it came.
    pub(super) fn attach(
        &mut self,
        id: &str,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        let what = || format!("attach to container {id}");
        let container = self.container(id)?;
        if container.exit.is_some() {
            return Err(Fault::new(format!("container {id} is not running")));
        }
        let terminal = container.terminal.is_some();
        let mut told = Streams::default();
        let mut fds = Vec::new();
        if stdin
            && !terminal
            && let Some(fd) = &container.stdin
        {
            fds.push(fd.try_clone().step(what)?);
            told.stdin = true;
        }
        let master = match &container.terminal {
            Some(fd) => Some(fd.try_clone().step(what)?),
            None => None,
        };
        let wanted = [
            (stdout || terminal, Stream::Stdout),
            (stderr && !terminal, Stream::Stderr),
        ];
        for (_, stream) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step(what)?;
            create::nonblocking(&write).step(what)?;
            let token = self
                .watch(
                    write.as_fd(),
                    EventFlags::empty(),
                    Watched::Sink(id.to_owned()),
                )
                .step(what)?;
            match stream {
                Stream::Stdout => told.stdout = true,
                Stream::Stderr => told.stderr = true,
            }
            fds.push(read);
            let container = self.container_mut(id)?;
            let mut sink = Sink::new(write, stream);
            if let Some(early) = container.early.as_mut().filter(|_| stdin) {
                // A client that is gone already is noticed with the next output.
                sink.push(&early.take(stream));
            }
            container.sinks.push((token, sink));
        }
        if let Some(master) = master {
            told.terminal = true;
            fds.push(master);
        }
        if stdin {
            self.container_mut(id)?.early = None;
        }
        self.settle(id);
        Ok((Reply::Streams(told), fds))
    }
}
