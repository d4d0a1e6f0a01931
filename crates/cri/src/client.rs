//! Connecting to a CRI socket.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::v1::{
    image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};

/// Largest answer taken: the lists of a full node pass the usual four megabytes.
const MAX_MESSAGE: usize = 16 << 20;

/// A socket that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("connect to CRI socket {socket}: {source}")]
pub struct ConnectError {
    /// The socket.
    pub socket: PathBuf,
    /// Why.
    pub source: tonic::transport::Error,
}

/// The clients of a runtime's two services.
pub type Clients = (RuntimeServiceClient<Channel>, ImageServiceClient<Channel>);

/// Connects to both services over one connection, which is made again when it breaks.
pub fn connect(socket: &Path) -> BoxFuture<'_, Result<Clients, ConnectError>> {
    Box::pin(async move {
        let text = socket.to_string_lossy();
        let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(&text));
        let target = path.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let path = target.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is required and means nothing here.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError {
                socket: path,
                source,
            })?;
        Ok((
            RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            ImageServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        ))
    })
}
