//! What the streaming server needs: processes' streams as async readers and writers.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use cri::{
    streaming::{Duplex, Process, Reader, Resize, Writer},
    v1,
};
use rustix::termios::Winsize;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
};

use super::Runtime;
use crate::shim::protocol::{Reply, Request, Streams as Told};

/// The runtime as the streaming server sees it.
pub(super) struct Streams(pub(super) Arc<Runtime>);

/// A terminal's master side.
struct Terminal {
    fd: Arc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        let fd = crate::sys::watch::watch(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    fn resize(&self) -> Resize {
        let fd = Arc::clone(&self.fd);
        Box::new(move |columns, rows| {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal whose process has ended has no size to set.
            let _ = rustix::termios::tcsetwinsize(fd.get_ref(), size);
        })
    }

    fn share(&self) -> Self {
        Self {
            fd: Arc::clone(&self.fd),
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let result = guard.try_io(|fd| {
                let count = rustix::io::read(fd.get_ref(), out.initialize_unfilled())?;
                Ok(count)
            });
            match result {
                Ok(Ok(count)) => {
                    out.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The end of a terminal looks like this.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The descriptors of a reply as streams. Of a terminal, `own_output` says whether its output is
/// read from it, or (attached) comes through a pipe of its own.
fn streams(told: Told, fds: Vec<OwnedFd>, own_output: bool) -> io::Result<Process> {
    let mut fds = fds.into_iter();
    let mut next = |there: bool| if there { fds.next() } else { None };
    let mut process = Process {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: None,
        exit: Box::pin(async { Ok(0) }),
    };
    if let Some(fd) = next(told.stdin) {
        process.stdin = Some(Box::new(pipe::Sender::from_owned_fd(fd)?) as Writer);
    }
    if let Some(fd) = next(told.stdout) {
        process.stdout = Some(Box::new(pipe::Receiver::from_owned_fd(fd)?) as Reader);
    }
    if let Some(fd) = next(told.stderr) {
        process.stderr = Some(Box::new(pipe::Receiver::from_owned_fd(fd)?) as Reader);
    }
    if let Some(fd) = next(told.terminal) {
        let terminal = Terminal::new(fd)?;
        process.resize = Some(terminal.resize());
        process.stdin = Some(Box::new(terminal.share()));
        if own_output {
            process.stdout = Some(Box::new(terminal));
        }
    }
    Ok(process)
}

#[async_trait]
impl cri::streaming::Streams for Streams {
    async fn exec(&self, request: &v1::ExecRequest) -> Result<Process, String> {
        let exec = self
            .0
            .start_exec(
                &request.container_id,
                &request.cmd,
                request.tty,
                request.stdin,
            )
            .await
            .map_err(|e| e.to_string())?;
        let mut process = streams(exec.streams, exec.fds, true).map_err(|e| e.to_string())?;
        let (exit, shim) = (exec.exit, exec.shim);
        process.exit = Box::pin(async move {
            // The connection to the shim is what brings the exit: it has to stay.
            let _shim = shim;
            match exit.await {
                Ok(exit) => Ok(exit.code),
                Err(_) => Err("the process holding the pod ended".to_owned()),
            }
        });
        Ok(process)
    }

    async fn attach(&self, request: &v1::AttachRequest) -> Result<Process, String> {
        let container = self
            .0
            .container(&request.container_id)
            .map_err(|e| e.to_string())?;
        let shim = self
            .0
            .shim_of(&container.sandbox)
            .map_err(|e| e.to_string())?;
        let ask = Request::Attach {
            container: container.id.clone(),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let (told, fds) = match shim.ask(ask).await.map_err(|e| e.to_string())? {
            (Reply::Streams(told), fds) => (told, fds),
            _ => return Err(shim.unexpected().to_string()),
        };
        let mut process = streams(told, fds, false).map_err(|e| e.to_string())?;
        if !request.stdin {
            process.stdin = None;
        }
        if let Some(stdin) = process.stdin.take() {
            let close = Closing {
                inner: stdin,
                on_close: Some((Arc::clone(&shim), container.id.clone())),
            };
            process.stdin = Some(Box::new(close));
        }
        process.exit = Box::pin(async move {
            container.ended().await;
            Ok(0)
        });
        Ok(process)
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>, String> {
        let shim = self.0.shim_of(sandbox).map_err(|e| e.to_string())?;
        let (_, fds) = shim
            .ask(Request::Dial { port })
            .await
            .map_err(|e| e.to_string())?;
        let fd = fds
            .into_iter()
            .next()
            .ok_or_else(|| shim.unexpected().to_string())?;
        let stream = std::net::TcpStream::from(fd);
        stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
        Ok(Box::new(stream))
    }
}

/// An attached client's standard input. When it goes, the container is told, which closes its
/// input if that was to be for one client only.
struct Closing {
    inner: Writer,
    on_close: Option<(Arc<crate::shim::client::ShimClient>, String)>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some((shim, container)) = self.on_close.take()
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            handle.spawn(async move {
                if let Err(error) = shim.tell(Request::CloseStdin { container }).await {
                    tracing::debug!(%error, "standard input not closed");
                }
            });
        }
    }
}

impl AsyncWrite for Closing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
