//! Requests of the server to others: admission webhooks, conversion webhooks, aggregated API servers.
//! A service is reached at its cluster address and must show a certificate for
//! `<name>.<namespace>.svc`; a URL is reached as it stands. Connections are HTTP/1.1, so that the calls
//! to one service spread over its backends, and kept for the next call.
//!
//! The server sends no proof of who it is, unless a [`Tls`] was made with an identity.

mod config;
mod connection;
mod error;
mod resolve;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Semaphore;

use crate::http::body::{RequestBody, boxed};
use crate::objects::Objects;
pub use config::{ClientConfig, ConfigError, Place, ServiceTarget};
use connection::Pool;
pub use error::OutboundError;
use tls::TlsCache;
pub use tls::{Tls, Trust};

/// The most of an answer to [`Outbound::call`] that is read.
const MAX_ANSWER: usize = 32 << 20;
/// Calls at one time; further ones wait, and that counts towards their time.
const MAX_CALLS: usize = 1000;

/// The way out, with its connections.
pub struct Outbound {
    objects: Arc<Objects>,
    pool: Arc<Pool>,
    tls: TlsCache,
    calls: Semaphore,
}

impl Outbound {
    /// Services and their endpoints are looked up in `objects`.
    pub fn new(objects: Arc<Objects>) -> Outbound {
        Outbound {
            objects,
            pool: Arc::default(),
            tls: TlsCache::default(),
            calls: Semaphore::new(MAX_CALLS),
        }
    }

    /// Posts `body` (JSON) and gives the answer's body. The backend is told of the `timeout`, in whole
    /// seconds, as upstream's clients do. Any answer but a success is an error.
    pub async fn call(
        &self,
        config: &ClientConfig,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, OutboundError> {
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let path = format!("{}?timeout={seconds}s", config.place.path());
        let url = format!("https://{}{path}", config.place.authority());
        let work = async {
            let _turn = self.calls.acquire().await;
            let tls = self.tls.get(&config.trust)?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(
                    header::USER_AGENT,
                    concat!("corten/", env!("CARGO_PKG_VERSION")),
                )
                .body(boxed(Full::new(body)))
                .map_err(|e| OutboundError::Protocol(e.to_string()))?;
            let response = self.send(&config.place, &tls, request).await?;
            let code = response.status();
            let body = read(response).await?;
            if code.is_success() {
                Ok(body)
            } else {
                Err(error::answered(code.as_u16(), &body))
            }
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(Err(error @ OutboundError::Answered { .. })) => Err(error),
            Ok(outcome) => outcome.map_err(|source| source.at("Post", &url)),
            Err(_) => Err(OutboundError::TimedOut.at("Post", &url)),
        }
    }

    /// Sends a request whose URI is a path and query, over a connection that was kept or a new one. The
    /// connection is kept when the answer's body has been read to its end. `Host` is set where missing.
    pub async fn send(
        &self,
        place: &Place,
        tls: &Tls,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, OutboundError> {
        let authority = place.authority();
        if !request.headers().contains_key(header::HOST) {
            let host = HeaderValue::try_from(authority.as_str())
                .map_err(|e| OutboundError::Protocol(e.to_string()))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let key = (authority, tls.id());
        loop {
            let (mut sender, kept) = match self.pool.take(&key) {
                Some(sender) => (sender, true),
                None => (self.dial(place, tls).await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    Pool::keep(&self.pool, key, sender);
                    return Ok(response);
                }
                // The other side had closed a kept connection before anything was sent on it.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(OutboundError::from_hyper(&error.into_error())),
                },
            }
        }
    }

    /// A new connection to a service, for upgrades.
    pub async fn connect(
        &self,
        target: &ServiceTarget,
        tls: &Tls,
    ) -> Result<SendRequest<RequestBody>, OutboundError> {
        self.dial(&Place::Service(target.clone()), tls).await
    }

    async fn dial(
        &self,
        place: &Place,
        tls: &Tls,
    ) -> Result<SendRequest<RequestBody>, OutboundError> {
        let addresses = match place {
            Place::Service(target) => resolve::service(&self.objects, target)?,
            Place::Url { host, port, .. } => resolve::Addresses::Name(host.clone(), *port),
        };
        let addresses = addresses.look_up().await?;
        connection::dial(&addresses, place.server_name(), tls).await
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, OutboundError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(OutboundError::TooLarge(MAX_ANSWER)),
        Err(error) => Err(match error.downcast_ref::<hyper::Error>() {
            Some(error) => OutboundError::from_hyper(error),
            None => OutboundError::Protocol(error.to_string()),
        }),
    }
}
