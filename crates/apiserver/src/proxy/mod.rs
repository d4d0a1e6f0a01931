//! What the server does not answer itself: logs and streams of containers come from the node's
//! kubelet; `proxy` reaches pods, services and nodes over HTTP. Upgraded connections (WebSocket,
//! SPDY) are passed through as raw bytes after the other side's own 101.

mod connect;
mod html;
mod log;
mod options;
mod rewrite;
mod target;

use std::sync::{Arc, OnceLock};

use api::status::Status;
use http::header::{self, HeaderName};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use crate::http::body::{Body, BoxError, RequestBody};
use crate::http::listen::TlsError;
use crate::http::websocket;
use crate::outbound::{Tls, Trust};
use crate::pki::Identity;
use crate::registry::call::Call;
use crate::request::info::RequestInfo;
use target::{Channel, Target};

/// The way to kubelets, pods and services.
pub struct Proxy {
    kubelets: Option<Arc<ClientConfig>>,
    others: OnceLock<Arc<ClientConfig>>,
}

impl Proxy {
    /// With this TLS towards kubelets.
    pub fn new(kubelets: Option<Arc<ClientConfig>>) -> Proxy {
        Proxy {
            kubelets,
            others: OnceLock::new(),
        }
    }

    /// The TLS towards a backend, none where it is called without.
    fn tls(&self, channel: Channel) -> Result<Option<Arc<ClientConfig>>, BoxError> {
        match channel {
            Channel::Plain => Ok(None),
            Channel::Kubelet => match &self.kubelets {
                Some(tls) => Ok(Some(tls.clone())),
                None => Err("no TLS identity towards kubelets is configured".into()),
            },
            Channel::Unverified => {
                if let Some(tls) = self.others.get() {
                    return Ok(Some(tls.clone()));
                }
                let tls = Tls::new(&Trust::Unchecked, None)?.config();
                Ok(Some(self.others.get_or_init(|| tls).clone()))
            }
        }
    }
}

/// The client's side of TLS towards kubelets: `identity` as client certificate; the kubelet's must
/// be signed by `ca`.
pub fn client_tls(identity: &Identity, ca: &str) -> Result<Arc<ClientConfig>, TlsError> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let refused = |e: &dyn std::fmt::Display| TlsError::Rustls(e.to_string());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots
            .add(certificate.map_err(|e| refused(&e))?)
            .map_err(|e| refused(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&e))?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain()?, identity.key_der()?)
        .map_err(|e| refused(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Is the request one that another server answers?
pub fn is_proxied(info: &RequestInfo) -> bool {
    info.is_resource
        && match info.resource.as_str() {
            "pods" => matches!(
                info.subresource.as_str(),
                "log" | "exec" | "attach" | "portforward" | "proxy"
            ),
            "services" | "nodes" => info.subresource == "proxy",
            _ => false,
        }
        && info.group.is_empty()
}

/// Headers that are about one connection.
const HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
];

/// Sends the request on and its answer back.
pub async fn forward(
    mut call: Call,
    mut request: Request<RequestBody>,
) -> Result<Response<Body>, Status> {
    let subresource = call.endpoint.resource.subresource(&call.info.subresource);
    let subresource = subresource.ok_or_else(Status::no_resource)?;
    let served = subresource.verbs.iter().any(|v| &**v == call.info.verb);
    let passes = call.info.subresource == "proxy" && request.method() == Method::OPTIONS;
    if !served && !passes {
        return Err(Status::method_not_allowed());
    }
    if call.info.subresource != "log" {
        options::admit(&mut call).await?;
    }
    let raw_query = request.uri().query().unwrap_or("").to_owned();
    let Some(target) = target::find(&call, &raw_query)? else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    if call.info.subresource == "proxy"
        && call.info.rest.is_none()
        && matches!(*request.method(), Method::GET | Method::HEAD)
    {
        return rewrite::to_root(request.uri());
    }
    let listening = call.info.subresource == "log" && websocket::is_wanted(request.headers());
    if listening {
        return log::stream(&call, &target, request).await;
    }
    let upgrades = request.headers().contains_key(header::UPGRADE);
    let rewritten = target.rewritten && !upgrades;
    let unreachable = |e: &dyn std::fmt::Display| {
        if rewritten {
            return Status::service_unavailable(format!("error trying to reach service: {e}"));
        }
        Status::other(
            500,
            "InternalError",
            format!("Internal error occurred: error dialing backend: {e}"),
        )
    };
    let mut sender = call
        .server
        .proxy
        .dial(&target)
        .await
        .map_err(|e| unreachable(&e))?;

    let upgraded = upgrades.then(|| hyper::upgrade::on(&mut request));
    let links = rewritten.then(|| rewrite::links(&call, &target, &request));
    let mut outgoing = outgoing(request, &target, upgrades)?;
    if let Some(links) = &links {
        rewrite::tell(links, &mut outgoing);
    }
    let mut response = sender
        .send_request(outgoing)
        .await
        .map_err(|e| unreachable(&e))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgraded else {
            return Err(Status::internal(
                "the backend upgraded a connection that nobody asked to",
            ));
        };
        let backend = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(backend)) = (client.await, backend.await) else {
                return;
            };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            // Either side may hang up; that is how these connections end.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
        });
        return Ok(response.map(|_| Body::empty()));
    }
    let code = response.status();
    if target.kubelet && !code.is_success() {
        return Err(kubelet_error(response).await);
    }
    strip(response.headers_mut());
    let (parts, body) = response.into_parts();
    let stream = http_body_util::BodyDataStream::new(body.map_err(|e| Box::new(e) as BoxError));
    let response = Response::from_parts(parts, Body::stream(stream));
    match &links {
        Some(links) => rewrite::answer(links, response).await,
        None => Ok(response),
    }
}

impl Proxy {
    async fn dial(&self, target: &Target) -> Result<SendRequest<RequestBody>, BoxError> {
        connect::connect(target, self.tls(target.channel)?).await
    }
}

fn outgoing(
    request: Request<RequestBody>,
    target: &Target,
    upgrades: bool,
) -> Result<Request<RequestBody>, Status> {
    let (mut parts, body) = request.into_parts();
    let asked = parts.uri.authority().map(ToString::to_string);
    parts.uri = target
        .path
        .parse::<Uri>()
        .map_err(|e| Status::bad_request(e.to_string()))?;
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let upgrade = parts.headers.get(header::UPGRADE).cloned();
    strip(&mut parts.headers);
    // The client's proof is for this server alone.
    parts.headers.remove(header::AUTHORIZATION);
    let impersonation: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|n| n.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    impersonation.into_iter().for_each(|name| {
        parts.headers.remove(name);
    });
    // Backends behind the proxy subresource see the host that the client asked for, as upstream's.
    if !target.rewritten || !parts.headers.contains_key(header::HOST) {
        let host = match &asked {
            Some(asked) if target.rewritten => asked.clone(),
            _ => target.address.to_string(),
        };
        parts.headers.insert(
            header::HOST,
            host.parse()
                .map_err(|_| Status::internal("the backend's address is no header value"))?,
        );
    }
    if let Some(upgrade) = upgrade.filter(|_| upgrades) {
        parts.headers.insert(header::UPGRADE, upgrade);
        parts.headers.insert(
            header::CONNECTION,
            http::HeaderValue::from_static("Upgrade"),
        );
    }
    Ok(Request::from_parts(parts, body))
}

pub(crate) fn strip(headers: &mut http::HeaderMap) {
    for name in HOP {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The most of an error's text that is passed on.
const MAX_ERROR: usize = 8 * 1024;

async fn kubelet_error(response: Response<hyper::body::Incoming>) -> Status {
    let code = response.status();
    let body = http_body_util::Limited::new(response.into_body(), MAX_ERROR);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    };
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::other(
            404,
            "NotFound",
            format!("the server could not find the requested resource ({text})"),
        ),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Status::other(
            code.as_u16(),
            "Forbidden",
            format!("the kubelet refused this server: {text}"),
        ),
        _ => Status::internal(text),
    }
}
