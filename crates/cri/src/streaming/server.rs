//! The HTTP side: a listener on loopback, tokens in paths, upgrades.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Streams,
    tokens::{Granted, Tokens},
};
use crate::v1;

/// The streaming server.
pub struct StreamingServer {
    address: SocketAddr,
    tokens: Tokens,
    pub(super) streams: Arc<dyn Streams>,
}

impl StreamingServer {
    /// Starts it on a free port of the loopback interface, until told to stop.
    pub async fn start(
        streams: Arc<dyn Streams>,
        shutdown: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = Arc::new(Self {
            address: listener.local_addr()?,
            tokens: Tokens::default(),
            streams,
        });
        let _ = shutdown;
        Ok(server)
    }

    fn url(&self, kind: &str, what: Granted) -> Result<String, tonic::Status> {
        let token = self.tokens.grant(what).ok_or_else(|| {
            tonic::Status::resource_exhausted("too many streams are waiting to be opened")
        })?;
        Ok(format!("http://{}/{kind}/{token}", self.address))
    }

    /// A URL that runs a command.
    pub fn exec_url(&self, request: v1::ExecRequest) -> Result<String, tonic::Status> {
        if request.tty && request.stderr {
            return Err(tonic::Status::invalid_argument(
                "tty and stderr cannot both be true",
            ));
        }
        if !(request.stdin || request.stdout || request.stderr) {
            return Err(tonic::Status::invalid_argument(
                "one of stdin, stdout, or stderr must be set",
            ));
        }
        self.url("exec", Granted::Exec(request))
    }

    /// A URL that takes part in a container's streams.
    pub fn attach_url(&self, request: v1::AttachRequest) -> Result<String, tonic::Status> {
        if request.tty && request.stderr {
            return Err(tonic::Status::invalid_argument(
                "tty and stderr cannot both be true",
            ));
        }
        if !(request.stdin || request.stdout || request.stderr) {
            return Err(tonic::Status::invalid_argument(
                "one of stdin, stdout, and stderr must be set",
            ));
        }
        self.url("attach", Granted::Attach(request))
    }

    /// A URL that forwards ports.
    pub fn port_forward_url(
        &self,
        request: v1::PortForwardRequest,
    ) -> Result<String, tonic::Status> {
        self.url("portforward", Granted::PortForward(request))
    }
}
