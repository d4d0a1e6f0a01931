//! A TLS server on loopback that answers as a test wants: the other end of webhooks.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the server does with one request.
pub enum Reply {
    /// Answers 200 with JSON.
    Json(Value),
    /// Answers this.
    Raw(u16, Bytes),
    /// Hangs up.
    Close,
    /// Never answers.
    Hang,
}

/// A running server; it ends when dropped.
pub struct Hook {
    pub address: SocketAddr,
    /// What its certificate is signed with.
    pub ca: String,
    /// Path and body of every request so far.
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Connections so far.
    pub connections: Arc<Mutex<usize>>,
    _running: DropGuard,
}

impl Hook {
    pub async fn start(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Hook {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "hook-ca");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "localhost", "hook.default.svc"];
        let leaf = rcgen::CertificateParams::new(names.map(str::to_owned).to_vec())
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Hook::start_with(leaf.der().clone(), key, ca_pem, answer).await
    }

    pub async fn start_with(
        certificate: rustls_pki_types::CertificateDer<'static>,
        key: PrivatePkcs8KeyDer<'static>,
        ca: String,
        answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
    ) -> Hook {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let running = CancellationToken::new();
        let (log, count, ending) = (asked.clone(), connections.clone(), running.clone());
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = ending.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                *count.lock() += 1;
                let (acceptor, log, answer) = (acceptor.clone(), log.clone(), answer.clone());
                let ending = ending.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(move |request| {
                        serve(request, log.clone(), answer.clone())
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        () = ending.cancelled() => {}
                        _ = connection => {}
                    }
                });
            }
        });
        Hook {
            address,
            ca,
            asked,
            connections,
            _running: running.drop_guard(),
        }
    }

    pub fn ca_bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(&self.ca)
    }

    /// A `clientConfig` that leads here.
    pub fn client_config(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.ca_bundle()})
    }
}

type Answer = dyn Fn(&str, &Value) -> Reply + Send + Sync;

async fn serve(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<(String, Value)>>>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let path = request.uri().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    log.lock().push((path.clone(), body.clone()));
    match answer(&path, &body) {
        Reply::Json(value) => Ok(Response::new(Full::new(value.to_string().into()))),
        Reply::Raw(code, bytes) => {
            let mut response = Response::new(Full::new(bytes));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok(response)
        }
        Reply::Close => Err("closed"),
        Reply::Hang => std::future::pending().await,
    }
}
