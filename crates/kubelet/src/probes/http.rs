//! One HTTP request without a pool, a cache or a belief in certificates: what a probe needs.

use std::{sync::Arc, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::target::Request;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body: String,
}

/// Nothing came back.
#[derive(Debug, thiserror::Error)]
#[error("Get \"{url}\": {message}")]
pub struct HttpError {
    url: String,
    message: String,
}

/// Most of a body that is read.
const MAX_BODY: usize = 10 * 1024;
/// Redirects followed.
const MAX_REDIRECTS: usize = 10;

/// Accepts every certificate: a probe asks whether the server answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

static TLS: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Some(Arc::new(config))
});

/// GETs, following redirects on the same host.
pub async fn get(request: &Request, limit: Duration) -> Result<Answer, HttpError> {
    let failed = |message: String| HttpError {
        url: request.url(),
        message,
    };
    let work = async {
        let mut request = request.clone();
        for _ in 0..MAX_REDIRECTS {
            let answer = once(&request).await?;
            let next = match (&answer.location, answer.status) {
                (Some(location), 301 | 302 | 303 | 307 | 308) => follow(&request, location),
                _ => None,
            };
            match next {
                Some(next) => request = next,
                None => return Ok(answer),
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    };
    match timeout(limit, work).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned(),
        )),
    }
}

/// The redirected request; none when it leads to another host, which counts as an answer.
fn follow(request: &Request, location: &str) -> Option<Request> {
    let uri: http::Uri = location.parse().ok()?;
    let mut next = request.clone();
    if let Some(host) = uri.host() {
        if host.trim_matches(['[', ']']) != request.host {
            return None;
        }
        next.tls = uri.scheme_str() == Some("https");
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
    }
    next.path = uri
        .path_and_query()
        .map_or_else(|| "/".to_owned(), ToString::to_string);
    Some(next)
}

async fn once(request: &Request) -> Result<Answer, String> {
    let stream = TcpStream::connect((request.host.as_str(), request.port))
        .await
        .map_err(|error| {
            let host = if request.host.contains(':') {
                format!("[{}]", request.host)
            } else {
                request.host.clone()
            };
            format!(
                "dial tcp {host}:{}: connect: {}",
                request.port,
                plain(&error)
            )
        })?;
    if !request.tls {
        return exchange(request, stream).await;
    }
    let config = TLS.clone().ok_or("no TLS configuration")?;
    let name = ServerName::try_from(request.host.clone()).map_err(|e| e.to_string())?;
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|e| e.to_string())?;
    exchange(request, stream).await
}

async fn exchange<S>(request: &Request, stream: S) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let mut builder = http::Request::get(&request.path);
    let given = |name: &str| {
        request
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    if !given("host") {
        let url = request.url();
        let authority = url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default();
        builder = builder.header("host", authority);
    }
    if !given("user-agent") {
        builder = builder.header("user-agent", "kube-probe/1.36");
    }
    if !given("accept") {
        builder = builder.header("accept", "*/*");
    }
    for (name, value) in &request.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let message = builder
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let talk = async {
        let answer = sender
            .send_request(message)
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let location = answer
            .headers()
            .get("location")
            .and_then(|l| l.to_str().ok())
            .map(str::to_owned);
        // A longer body is cut off; what matters is the status.
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
            .unwrap_or_default();
        Ok(Answer {
            status,
            location,
            body,
        })
    };
    tokio::pin!(talk);
    tokio::select! {
        result = &mut talk => result,
        ended = connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// The system's words without the number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
