//! The framed protocol between server and shim over a unix socket.
//!
//! A frame is a length (`u32`, little endian), the number of file descriptors that travel with
//! it (`u8`), and JSON. Requests carry a number that the reply repeats; events come unasked.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::spec::{ContainerSpec, Exit, Identity, ProcessSpec, Resources};

/// Largest frame either side takes; a longer one ends the connection.
pub const MAX_FRAME: usize = 8 << 20;
/// Most descriptors that travel with one frame.
const MAX_FDS: usize = 4;
const HEADER: usize = 5;

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Repeated by the reply.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a shim can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Tell everything known about the containers.
    State,
    /// Start a container.
    Start(Box<ContainerSpec>),
    /// Send a signal to a container's first process, or to all of its processes.
    Signal {
        /// Container id.
        container: String,
        /// Signal number.
        signal: i32,
        /// Every process in its control group.
        all: bool,
    },
    /// Run another process in a container. The reply brings its stream descriptors.
    Exec {
        /// Chosen by the server; repeated in the exit event.
        exec: u64,
        /// Container id.
        container: String,
        /// What to run.
        process: Box<ProcessSpec>,
        /// Whether it has a standard input.
        stdin: bool,
    },
    /// Kill a process started by `Exec`.
    KillExec {
        /// Its number.
        exec: u64,
    },
    /// Follow a container's output. The reply brings stream descriptors.
    Attach {
        /// Container id.
        container: String,
        /// Wants standard input.
        stdin: bool,
        /// Wants standard output.
        stdout: bool,
        /// Wants standard error.
        stderr: bool,
    },
    /// Close a container's standard input.
    CloseStdin {
        /// Container id.
        container: String,
    },
    /// Open the log file anew, after rotation.
    ReopenLog {
        /// Container id.
        container: String,
    },
    /// Change a container's limits.
    Update {
        /// Container id.
        container: String,
        /// The new limits.
        resources: Box<Resources>,
    },
    /// Forget an ended container.
    Delete {
        /// Container id.
        container: String,
    },
    /// Connect to a TCP port on the pod's loopback. The reply brings the socket.
    Dial {
        /// Port.
        port: u16,
    },
    /// End every process and the shim itself.
    Shutdown,
}

/// What a shim sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to the request of that number.
    Reply(u64, Reply),
    /// Something happened.
    Event(Event),
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// A container runs.
    Started(Started),
    /// Streams are in the descriptors, in the order stdin, stdout, stderr as far as `true`; a
    /// terminal is one descriptor.
    Streams(Streams),
    /// Everything known.
    State(State),
    /// It failed.
    Failed(String),
}

/// A container has started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Started {
    /// Its first process.
    pub pid: i32,
    /// Whom it runs as.
    pub identity: Identity,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// Which descriptors a reply brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// The terminal's master (beside or instead of the others).
    pub terminal: bool,
}

/// Everything a shim knows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The shim's process.
    pub pid: i32,
    /// Its containers.
    pub containers: BTreeMap<String, ContainerState>,
}

/// A container as its shim knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerState {
    /// How it started.
    pub started: Started,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// Something happened.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A container's first process ended.
    Exited(String, Exit),
    /// A process started by `Exec` ended.
    ExecExited(u64, Exit),
}

/// Cuts frames out of what arrives, and keeps the descriptors that came along.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The peer sent more than [`MAX_FRAME`].
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// The peer sent something else than agreed.
    #[error("frame not understood: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Descriptors announced did not come.
    #[error("frame came without its file descriptors")]
    MissingDescriptors,
}

impl Inbox {
    /// Reads what is there from the socket: false at its end.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<bool> {
        let mut buffer = [0_u8; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&buffer[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next whole frame and its descriptors.
    pub fn next_frame<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, ProtocolError> {
        let Some((header, rest)) = self.bytes.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let count = usize::from(header[4]);
        if length > MAX_FRAME || count > MAX_FDS {
            return Err(ProtocolError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        if self.fds.len() < count {
            return Err(ProtocolError::MissingDescriptors);
        }
        let fds = self.fds.drain(..count).collect();
        self.bytes.drain(..HEADER + length);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some((message, fds)))
    }
}

/// Frames waiting to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>,
}

impl Outbox {
    /// Queues one frame with its descriptors.
    pub fn push<T: Serialize>(&mut self, message: &T, fds: Vec<OwnedFd>) -> serde_json::Result<()> {
        let mut frame = vec![0; HEADER];
        serde_json::to_writer(&mut frame, message)?;
        let length = (frame.len() - HEADER) as u32;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4] = fds.len() as u8;
        self.frames.push_back((frame, 0, fds));
        Ok(())
    }

    /// Whether everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.frames.iter().map(|(f, sent, _)| f.len() - sent).sum()
    }

    /// Sends as much as the socket takes now.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        while let Some((frame, sent, fds)) = self.frames.front_mut() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let count = match rustix::net::sendmsg(
                socket,
                &[IoSlice::new(&frame[*sent..])],
                &mut ancillary,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(count) => count,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            drop(borrowed);
            fds.clear();
            *sent += count;
            if *sent == frame.len() {
                self.frames.pop_front();
            }
        }
        Ok(())
    }
}
