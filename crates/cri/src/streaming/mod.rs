//! The streaming server of the CRI: exec, attach and port-forward over upgraded connections.
//!
//! A caller asks the runtime for a URL over CRI, gets one with an unguessable token that works
//! once, and upgrades a connection to it. The kubelet and the API server in between only copy
//! bytes; this module alone speaks the channel protocols: WebSocket (`v5.channel.k8s.io` and
//! older), SPDY/3.1, and SPDY carried inside a WebSocket.

mod exec;
mod port_forward;
mod server;
mod session;
mod spdy;
mod tokens;
mod websocket;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::v1;

pub use server::StreamingServer;

/// A stream to read.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// A stream to write.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Sets a terminal's size: columns and rows.
pub type Resize = Box<dyn Fn(u16, u16) + Send + Sync>;

/// A process whose streams are to be carried.
pub struct Process {
    /// Its standard input. Dropping it closes it.
    pub stdin: Option<Writer>,
    /// Its standard output, or everything of a terminal.
    pub stdout: Option<Reader>,
    /// Its standard error.
    pub stderr: Option<Reader>,
    /// Sets its terminal's size.
    pub resize: Option<Resize>,
    /// Its exit code, or why that is not known. An attached container counts as ended when its
    /// output has.
    pub exit: BoxFuture<'static, Result<i32, String>>,
}

/// What the streaming server needs of a runtime. Errors are for people.
#[async_trait]
pub trait Streams: Send + Sync + 'static {
    /// Starts a command in a container.
    async fn exec(&self, request: &v1::ExecRequest) -> Result<Process, String>;
    /// Takes part in a container's own streams.
    async fn attach(&self, request: &v1::AttachRequest) -> Result<Process, String>;
    /// Connects to a port inside a sandbox.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>, String>;
}

#[cfg(test)]
mod tests;
