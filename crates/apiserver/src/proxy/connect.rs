//! One HTTP/1.1 connection to a backend.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::Target;
use crate::http::body::{BoxError, RequestBody};

/// A backend that takes longer to answer the call is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls the backend, over TLS where a set-up is given.
pub(super) async fn connect(
    target: &Target,
    tls: Option<Arc<ClientConfig>>,
) -> Result<SendRequest<RequestBody>, BoxError> {
    let dial = async {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else {
            return handshake(TokioIo::new(stream)).await;
        };
        let name = ServerName::IpAddress(target.address.ip().into());
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        handshake(TokioIo::new(stream)).await
    };
    tokio::time::timeout(PATIENCE, dial)
        .await
        .map_err(|_| format!("dial tcp {}: i/o timeout", target.address))?
        .map_err(|e: BoxError| format!("dial tcp {}: {e}", target.address).into())
}

async fn handshake<S>(stream: S) -> Result<SendRequest<RequestBody>, BoxError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(async move {
        // Its errors reach whoever reads the answer.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
