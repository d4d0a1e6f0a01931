//! The kubelet's HTTPS server: what the API server and monitoring ask of a node.

mod auth;
mod exec;
mod logs;
mod metrics;
mod route;
mod stats;
pub mod tls;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{agent::Agent, pods::manager::Pods};
use auth::Peer;
use route::Route;

/// A body of either kind.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Connections served at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// A handshake or a request's head may take this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    /// The node.
    pub agent: Arc<Agent>,
    /// Its pods.
    pub pods: Arc<Pods>,
    auth: Arc<auth::Authority>,
}

impl App {
    /// For a node and its pods.
    pub fn new(agent: Arc<Agent>, pods: Arc<Pods>) -> Self {
        Self {
            auth: Arc::new(auth::Authority::new(agent.clone())),
            agent,
            pods,
        }
    }
}

/// A whole answer.
pub fn full(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|e| match e {}).boxed());
    *response.status_mut() = status;
    if let Ok(value) = http::HeaderValue::from_str(content_type) {
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, value);
    }
    response
}

/// A short answer in words.
pub fn text(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    full(status, "text/plain; charset=utf-8", words.into())
}

/// Serves until shutdown.
pub async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    app: App,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "kubelet server cannot accept");
                    // Out of descriptors: a moment lets some close.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (acceptor, app, shutdown) = (acceptor.clone(), app.clone(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = connection(stream, acceptor, app) => {}
            }
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, app: App) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "kubelet server: no TLS");
            return;
        }
        Err(_) => return,
    };
    let peer = Arc::new(Peer::of(stream.get_ref().1.peer_certificates()));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (app, peer) = (app.clone(), peer.clone());
        async move { Ok::<_, Infallible>(handle(app, peer, request).await) }
    });
    let result = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "kubelet server connection");
    }
}

async fn handle(app: App, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
    let route = match Route::of(request.method(), request.uri()) {
        Ok(route) => route,
        Err(status) => return text(status, status.canonical_reason().unwrap_or_default()),
    };
    if let Err(refused) = app.auth.allow(&peer, &request, &route).await {
        return refused;
    }
    match route {
        Route::Health => text(StatusCode::OK, "ok"),
        Route::Pods => json(&serde_json::json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {},
            "items": app.pods.list().iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        })),
        Route::RunningPods => stats::running_pods(&app).await,
        Route::Config => json(&stats::config(&app.agent)),
        Route::Summary => stats::summary(&app).await,
        Route::Metrics => metrics::own(&app.agent),
        Route::ResourceMetrics => metrics::resource(&app).await,
        Route::CadvisorMetrics => metrics::cadvisor(&app).await,
        Route::Logs(target, query) => logs::serve(&app, target, &query).await,
        Route::Run(target, query) => exec::run(&app, target, &query).await,
        Route::Exec(target, query) => exec::exec(&app, target, &query, request).await,
        Route::Attach(target, query) => exec::attach(&app, target, &query, request).await,
        Route::PortForward(target, query) => {
            exec::port_forward(&app, target, &query, request).await
        }
    }
}

/// An answer in JSON.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => full(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
