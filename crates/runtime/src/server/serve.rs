//! The unix socket on which the CRI is served.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use cri::v1::{
    image_service_server::ImageServiceServer, runtime_service_server::RuntimeServiceServer,
};
use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{At, Runtime, RuntimeError};

/// Both services.
#[derive(Clone)]
pub(super) struct Services {
    runtime: Arc<Runtime>,
    pub(super) streaming: Arc<cri::streaming::StreamingServer>,
    pub(super) shutdown: CancellationToken,
}

impl Services {
    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }
}

/// Lists of all containers of a full node pass the usual four megabytes.
const MAX_MESSAGE: usize = 16 << 20;

/// Tells the two services apart by their paths.
#[derive(Clone)]
struct Router {
    runtime: RuntimeServiceServer<Services>,
    images: ImageServiceServer<Services>,
}

impl Router {
    async fn answer(
        mut self,
        request: http::Request<hyper::body::Incoming>,
    ) -> Result<http::Response<tonic::body::Body>, Infallible> {
        use tonic::codegen::Service;
        if request
            .uri()
            .path()
            .starts_with("/runtime.v1.RuntimeService/")
        {
            self.runtime.call(request).await
        } else if request
            .uri()
            .path()
            .starts_with("/runtime.v1.ImageService/")
        {
            self.images.call(request).await
        } else {
            Ok(tonic::Status::unimplemented("no such service").into_http())
        }
    }
}

impl Runtime {
    /// Serves the CRI on a unix socket until told to stop. Pods go on.
    pub fn serve(
        self: &Arc<Self>,
        socket: &Path,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), RuntimeError>> {
        let (own, socket) = (Arc::clone(self), socket.to_owned());
        Box::pin(async move {
            let socket = &*socket;
            if let Some(parent) = socket.parent() {
                std::fs::create_dir_all(parent).at(parent)?;
            }
            match std::fs::remove_file(socket) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at(socket);
                }
                _ => {}
            }
            let listener = UnixListener::bind(socket).at(socket)?;
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).at(socket)?;
            let streaming = cri::streaming::StreamingServer::start(
                Arc::new(super::streams::Streams(Arc::clone(&own))),
                shutdown.clone(),
            )
            .await
            .at(Path::new("streaming server"))?;
            let services = Services {
                runtime: own,
                streaming,
                shutdown: shutdown.clone(),
            };
            let router = Router {
                runtime: RuntimeServiceServer::new(services.clone())
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE),
                images: ImageServiceServer::new(services)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE),
            };
            loop {
                let stream = tokio::select! {
                    () = shutdown.cancelled() => break,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            // Out of descriptors, most likely: some will be free soon.
                            tracing::warn!(%error, "CRI connection not accepted");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    },
                };
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tokio::spawn(async move {
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let service =
                        hyper::service::service_fn(move |request| router.clone().answer(request));
                    let mut connection =
                        std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
                    let ended = tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = shutdown.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    };
                    if let Err(error) = ended {
                        tracing::debug!(%error, "CRI connection ended");
                    }
                });
            }
            // Fails only when somebody else has taken the path meanwhile.
            let _ = std::fs::remove_file(socket);
            Ok(())
        })
    }
}
