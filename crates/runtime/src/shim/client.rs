//! The server's side of the conversation with one shim.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{Notify, mpsc, oneshot},
};

use super::{
    POD_FILE, SOCKET,
    protocol::{Call, Event, Inbox, Message, Outbox, ProtocolError, Reply, Request},
    spec::PodSpec,
};

/// Talking to a shim failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The shim did what it could and says why that failed.
    #[error("{0}")]
    Failed(String),
    /// The shim is gone.
    #[error("the shim of sandbox {0} is gone")]
    Gone(String),
    /// It could not be started.
    #[error("start the shim of sandbox {sandbox}: {source}")]
    Spawn {
        /// Sandbox id.
        sandbox: String,
        /// Why.
        source: io::Error,
    },
    /// It answered something that does not fit.
    #[error("the shim of sandbox {0} answered out of turn")]
    Unexpected(String),
}

/// What the connection reports without being asked.
#[derive(Debug)]
pub enum News {
    /// Something happened in the pod.
    Event(Event),
    /// The connection has ended.
    Gone,
}

type Waiting = HashMap<u64, oneshot::Sender<(Reply, Vec<OwnedFd>)>>;

/// A connection to a shim. Dropping the last copy closes it; the shim lives on.
#[derive(Debug)]
pub struct ShimClient {
    sandbox: String,
    next: AtomicU64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    waiting: Mutex<Option<Waiting>>,
    wake: Notify,
    closed: Notify,
}

/// Starts a shim for a prepared sandbox directory. It is reaped by a waiter of its own.
pub fn spawn(exe: &Path, directory: &Path, pod: &PodSpec) -> Result<(), ShimError> {
    let fail = |source| ShimError::Spawn {
        sandbox: pod.id.clone(),
        source,
    };
    let text = serde_json::to_vec(pod).map_err(|e| fail(e.into()))?;
    crate::state::write(&directory.join(POD_FILE), &text).map_err(fail)?;
    let listener = with_short_path(directory, |path| {
        std::os::unix::net::UnixListener::bind(path)
    })
    .map_err(fail)?;
    let mut child = Command::new(exe)
        .arg("shim")
        .arg(directory)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail)?;
    // One sleeping thread per pod would cost more than the runtime's own waiting.
    tokio::task::spawn(async move {
        let Ok(pidfd) = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&child),
            rustix::process::PidfdFlags::empty(),
        ) else {
            return;
        };
        if let Ok(fd) = crate::sys::watch::watch(pidfd, Interest::READABLE) {
            let _ = fd.readable().await;
        }
        let _ = child.wait();
    });
    Ok(())
}

/// Socket paths are limited to 107 bytes, state directories are not: go through a descriptor.
fn with_short_path<T>(
    directory: &Path,
    use_path: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty())?;
    use_path(
        &Path::new("/proc/self/fd")
            .join(fd.as_raw_fd().to_string())
            .join(SOCKET),
    )
}

impl ShimClient {
    /// Connects to the shim of a sandbox directory. What happens there goes to `news`.
    pub fn connect(
        sandbox: &str,
        directory: &Path,
        news: mpsc::UnboundedSender<(String, News)>,
    ) -> io::Result<Arc<Self>> {
        let stream = with_short_path(directory, |path| {
            std::os::unix::net::UnixStream::connect(path)
        })?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let shared = Arc::new(Shared {
            outbox: Mutex::default(),
            waiting: Mutex::new(Some(HashMap::new())),
            wake: Notify::new(),
            closed: Notify::new(),
        });
        tokio::spawn(talk(sandbox.to_owned(), stream, Arc::clone(&shared), news));
        Ok(Arc::new(Self {
            sandbox: sandbox.to_owned(),
            next: AtomicU64::new(1),
            shared,
        }))
    }

    /// Asks and waits for the reply.
    pub async fn ask(&self, request: Request) -> Result<(Reply, Vec<OwnedFd>), ShimError> {
        let gone = || ShimError::Gone(self.sandbox.clone());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.shared
            .waiting
            .lock()
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, sender);
        self.shared
            .outbox
            .lock()
            .push(&Call { id, request }, Vec::new())
            .map_err(|e| ShimError::Failed(e.to_string()))?;
        self.shared.wake.notify_one();
        match receiver.await {
            Ok((Reply::Failed(text), _)) => Err(ShimError::Failed(text)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(gone()),
        }
    }

    /// Asks for something that is answered with a plain "done".
    pub async fn tell(&self, request: Request) -> Result<(), ShimError> {
        match self.ask(request).await? {
            (Reply::Ok, _) => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    /// The error for a reply of the wrong kind.
    pub fn unexpected(&self) -> ShimError {
        ShimError::Unexpected(self.sandbox.clone())
    }

    /// Waits until the connection has ended, which it does when the shim does.
    pub async fn closed(&self) {
        let notified = self.shared.closed.notified();
        if self.shared.waiting.lock().is_some() {
            notified.await;
        }
    }
}

impl Drop for ShimClient {
    fn drop(&mut self) {
        self.shared.waiting.lock().take();
        self.shared.wake.notify_one();
    }
}

async fn talk(
    sandbox: String,
    stream: UnixStream,
    shared: Arc<Shared>,
    news: mpsc::UnboundedSender<(String, News)>,
) {
    if let Err(error) = converse(&sandbox, &stream, &shared, &news).await {
        tracing::debug!(sandbox, %error, "connection to shim ended");
    }
    drop(stream);
    shared.waiting.lock().take();
    shared.closed.notify_waiters();
    // Fails only when the whole runtime is going away.
    let _ = news.send((sandbox, News::Gone));
}

#[derive(Debug, thiserror::Error)]
enum TalkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

async fn converse(
    sandbox: &str,
    stream: &UnixStream,
    shared: &Shared,
    news: &mpsc::UnboundedSender<(String, News)>,
) -> Result<(), TalkError> {
    let mut inbox = Inbox::default();
    loop {
        let interest = if shared.outbox.lock().is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let ready = tokio::select! {
            ready = stream.ready(interest) => Some(ready?),
            () = shared.wake.notified() => None,
        };
        if shared.waiting.lock().is_none() {
            return Ok(());
        }
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut outbox = shared.outbox.lock();
            outbox.send(stream.as_fd())?;
            // What is left means that the socket is full: forget its readiness.
            if outbox.is_empty() {
                Ok(())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(error.into());
        }
        if ready.is_none_or(|r| !r.is_readable()) {
            continue;
        }
        match stream.try_io(Interest::READABLE, || Ok(inbox.receive(stream.as_fd())?)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some((message, fds)) = inbox.next_frame::<Message>()? {
            match message {
                Message::Reply(id, reply) => {
                    let waiting = shared.waiting.lock().as_mut().and_then(|w| w.remove(&id));
                    if let Some(waiting) = waiting {
                        // Whoever asked may have given up.
                        let _ = waiting.send((reply, fds));
                    }
                }
                Message::Event(event) => {
                    let _ = news.send((sandbox.to_owned(), News::Event(event)));
                }
            }
        }
    }
}
