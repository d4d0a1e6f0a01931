//! The output of one container: from its pipes or terminal to the log and to whoever is attached.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
};

use super::log::{Lines, Log, Stream, now};

/// How much may wait for one attached client before the container's output is held back.
const MAX_WAITING: usize = 256 << 10;
/// How much of a stream is kept for the one client that a container is made for, until it is attached;
/// of more than that it gets the end, as the log has all of it.
const MAX_EARLY: usize = 64 << 10;
/// Size of one read.
const READ: usize = 16 << 10;

/// A client following one stream, through the write end of its pipe.
#[derive(Debug)]
pub struct Sink {
    /// Write end, non-blocking.
    pub fd: OwnedFd,
    waiting: VecDeque<u8>,
    /// Whether it also gets what the other stream says (never at present but for terminals).
    pub stream: Stream,
}

impl Sink {
    /// For a pipe's write end.
    pub fn new(fd: OwnedFd, stream: Stream) -> Self {
        Self {
            fd,
            waiting: VecDeque::new(),
            stream,
        }
    }

    /// Whether it has fallen so far behind that output is held back.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Whether everything has been written.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes what waits: false when the client is gone.
    pub fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let (first, _) = self.waiting.as_slices();
            match rustix::io::write(&self.fd, first) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        if self.waiting.capacity() > READ {
            self.waiting = VecDeque::new();
        }
        true
    }

    /// Sends data: false when the client is gone.
    pub fn push(&mut self, data: &[u8]) -> bool {
        self.waiting.extend(data);
        self.flush()
    }
}

/// One of the container's outputs.
#[derive(Debug)]
pub struct Source {
    /// Read end (or terminal), non-blocking; none after its end.
    pub fd: Option<OwnedFd>,
    /// Which output.
    pub stream: Stream,
    lines: Lines,
}

/// What a container that is made for one client has said before that client was attached. It outlives
/// the outputs themselves: a program may have closed them and not be gone yet.
#[derive(Debug, Default)]
pub struct Early {
    stdout: VecDeque<u8>,
    stderr: VecDeque<u8>,
}

impl Early {
    fn of(&mut self, stream: Stream) -> &mut VecDeque<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn keep(&mut self, stream: Stream, data: &[u8]) {
        let kept = self.of(stream);
        kept.extend(data);
        drop(kept.drain(..kept.len().saturating_sub(MAX_EARLY)));
    }

    /// What the client has missed of a stream.
    pub fn take(&mut self, stream: Stream) -> Vec<u8> {
        std::mem::take(self.of(stream)).into()
    }
}

impl Source {
    /// For a read end.
    pub fn new(fd: OwnedFd, stream: Stream) -> Self {
        Self {
            fd: Some(fd),
            stream,
            lines: Lines::new(stream),
        }
    }

    /// Reads once and hands on. True when there may be more now.
    pub fn pump(
        &mut self,
        log: &mut Option<Log>,
        early: &mut Option<Early>,
        sinks: &mut Vec<(u64, Sink)>,
    ) -> bool {
        let Some(fd) = &self.fd else {
            return false;
        };
        let mut buffer = [0_u8; READ];
        match rustix::io::read(fd.as_fd(), &mut buffer) {
            Ok(count) if count > 0 => {
                if let Some(log) = log {
                    log.append(&self.lines.push(&buffer[..count], now()));
                }
                let stream = self.stream;
                sinks.retain_mut(|(_, sink)| sink.stream != stream || sink.push(&buffer[..count]));
                if let Some(early) = early {
                    early.keep(stream, &buffer[..count]);
                }
                true
            }
            Err(rustix::io::Errno::AGAIN) => false,
            Err(rustix::io::Errno::INTR) => true,
            // The end; for a terminal, EIO is what its end looks like.
            Ok(_) | Err(_) => {
                self.fd = None;
                if let Some(log) = log {
                    log.append(&self.lines.finish(now()));
                }
                let stream = self.stream;
                sinks.retain(|(_, sink)| sink.stream != stream || !sink.is_idle());
                false
            }
        }
    }
}
