//! A cheap client: HTTP/2 over TLS with prebuilt bodies, so that on a shared machine the server is
//! what is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

/// How to reach a server.
#[derive(clap::Args, Clone)]
pub struct Access {
    /// The server, such as https://127.0.0.1:6443
    #[arg(long, conflicts_with = "kubeconfig")]
    server: Option<Uri>,
    /// A bearer token
    #[arg(long, requires = "server")]
    token: Option<String>,
    /// The server's certificate authority in PEM; without it the server is not verified
    #[arg(long, requires = "server")]
    certificate_authority: Option<PathBuf>,
    /// A kubeconfig, instead of server and token
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// A server and connections to it.
pub struct Endpoint {
    connections: Vec<SendRequest<Full<Bytes>>>,
    next: AtomicUsize,
    authority: String,
    authorization: Option<HeaderValue>,
}

/// A prebuilt request body and its kind.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// None.
    Empty,
    /// An object in JSON.
    Json(&'a Bytes),
    /// A patch of this content type.
    Patch(&'static str, &'a Bytes),
}

impl Access {
    /// As kube's client is configured.
    pub async fn config(&self) -> Result<kube::Config> {
        if let Some(path) = &self.kubeconfig {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let options = KubeConfigOptions::default();
            return Ok(kube::Config::from_custom_kubeconfig(file, &options).await?);
        }
        let server = self
            .server
            .clone()
            .context("name a server: --kubeconfig or --server")?;
        let mut config = kube::Config::new(server);
        match &self.certificate_authority {
            Some(path) => {
                let pem = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                config.root_cert = Some(vec![pem_to_der(&pem)?]);
            }
            None => config.accept_invalid_certs = true,
        }
        config.auth_info.token = self.token.clone().map(Into::into);
        Ok(config)
    }

    /// Connects `connections` times.
    pub async fn connect(&self, connections: usize) -> Result<Endpoint> {
        let config = self.config().await?;
        let authority = config
            .cluster_url
            .authority()
            .context("the server has no authority")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        ensure!(
            loopback,
            "{host} is not on this machine: benches load only what is"
        );
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let mut senders = Vec::new();
        for _ in 0..connections {
            let tcp = TcpStream::connect((host.as_str(), port))
                .await
                .with_context(|| format!("cannot connect to {host}:{port}"))?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(host.clone())?;
            let stream = tls
                .connect(name, tcp)
                .await
                .context("the TLS handshake failed")?;
            let mut builder = Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(32 << 20)
                .max_frame_size(1 << 20);
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            senders.push(sender);
        }
        Ok(Endpoint {
            connections: senders,
            next: AtomicUsize::new(0),
            authority: authority.to_string(),
            authorization: token(&config.auth_info)?,
        })
    }
}

fn pem_to_der(pem: &[u8]) -> Result<Vec<u8>> {
    use rustls_pki_types::pem::PemObject;
    let certificate = rustls_pki_types::CertificateDer::from_pem_slice(pem);
    Ok(certificate
        .map_err(|error| anyhow::anyhow!("not a certificate: {error}"))?
        .to_vec())
}

/// The token's type hides it from everything but serialization.
fn token(auth: &AuthInfo) -> Result<Option<HeaderValue>> {
    let value = serde_json::to_value(auth)?;
    let text = match (value["token"].as_str(), &auth.token_file) {
        (Some(token), _) => token.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path)?,
        (None, None) => return Ok(None),
    };
    let mut header = HeaderValue::from_str(&format!("Bearer {}", text.trim()))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

impl Endpoint {
    /// Sends a request; any status will do.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<Response<Incoming>> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connections[next % self.connections.len()].clone();
        connection.ready().await.context("the connection is gone")?;
        let uri = format!("https://{}{path}", self.authority);
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (kind, bytes) = match body {
            Body::Empty => (None, Bytes::new()),
            Body::Json(bytes) => (Some("application/json"), bytes.clone()),
            Body::Patch(kind, bytes) => (Some(kind), bytes.clone()),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        Ok(connection
            .send_request(request.body(Full::new(bytes))?)
            .await?)
    }

    /// Sends a request and counts the bytes of a good answer.
    pub async fn count(&self, method: Method, path: &str, body: Body<'_>) -> Result<usize> {
        let response = self.send(method.clone(), path, body).await?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!(
                "{method} {path}: {status}: {}",
                String::from_utf8_lossy(&text)
            );
        }
        let mut body = response.into_body();
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            count += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(count)
    }

    /// Sends a request and reads a good answer.
    pub async fn read(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<serde_json::Value> {
        let response = self.send(method.clone(), path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = || String::from_utf8_lossy(&bytes);
        ensure!(status.is_success(), "{method} {path}: {status}: {}", text());
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Makes an object that may be there already.
    pub async fn ensure(&self, path: &str, object: &serde_json::Value) -> Result<()> {
        let bytes = Bytes::from(serde_json::to_vec(object)?);
        let response = self.send(Method::POST, path, Body::Json(&bytes)).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        let there = status.is_success() || status == StatusCode::CONFLICT;
        ensure!(
            there,
            "POST {path}: {status}: {}",
            String::from_utf8_lossy(&text)
        );
        Ok(())
    }
}
