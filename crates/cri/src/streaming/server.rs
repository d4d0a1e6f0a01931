//! The HTTP side: a listener on loopback, tokens in paths, upgrades.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    Streams,
    exec::{self, Wanted},
    port_forward,
    session::Version,
    spdy::Connection,
    tokens::{Granted, Tokens},
    websocket,
};
use crate::v1;

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
const PORT_FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The streaming server.
pub struct StreamingServer {
    address: SocketAddr,
    tokens: Tokens,
    streams: Arc<dyn Streams>,
    shutdown: CancellationToken,
}

/// What an upgraded connection will speak.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket(Version),
    Tunnel,
    Spdy(Version),
}

/// How a request's upgrade is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Upgrade {
    protocol: Protocol,
    /// Name told back, when the client named any.
    name: Option<String>,
}

fn listed<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|v| !v.is_empty())
}

/// Chooses the protocol: the first of the client's that is spoken here.
fn choose(headers: &HeaderMap, port_forward: bool) -> Result<Upgrade, String> {
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if upgrade.eq_ignore_ascii_case("websocket") {
        let names: Vec<&str> = listed(headers, "sec-websocket-protocol").collect();
        if names.is_empty() {
            let version = Version {
                number: 1,
                base64: false,
            };
            return Ok(Upgrade {
                protocol: Protocol::WebSocket(version),
                name: None,
            });
        }
        for name in &names {
            let protocol = match (*name, port_forward) {
                (TUNNEL, true) => Some(Protocol::Tunnel),
                (PORT_FORWARD, true) => {
                    Version::from_name("v4.channel.k8s.io").map(Protocol::WebSocket)
                }
                (name, _) => Version::from_name(name).map(Protocol::WebSocket),
            };
            if let Some(protocol) = protocol {
                return Ok(Upgrade {
                    protocol,
                    name: Some((*name).to_owned()),
                });
            }
        }
        return Err(format!("none of the protocols {names:?} is supported"));
    }
    if upgrade.to_ascii_uppercase().starts_with("SPDY/3.1") {
        let names: Vec<&str> = listed(headers, STREAM_PROTOCOL).collect();
        if names.is_empty() {
            let version = Version {
                number: 1,
                base64: false,
            };
            return Ok(Upgrade {
                protocol: Protocol::Spdy(version),
                name: None,
            });
        }
        for name in &names {
            let version = match port_forward {
                true => (*name == PORT_FORWARD).then_some(Version {
                    number: 4,
                    base64: false,
                }),
                false => Version::from_name(name).filter(|v| !v.base64 && v.number < 5),
            };
            if let Some(version) = version {
                return Ok(Upgrade {
                    protocol: Protocol::Spdy(version),
                    name: Some((*name).to_owned()),
                });
            }
        }
        return Err(format!("none of the protocols {names:?} is supported"));
    }
    Err("an upgrade to websocket or SPDY/3.1 is needed".to_owned())
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into())));
    *response.status_mut() = status;
    response
}

/// The 101 response.
fn switching(headers: &HeaderMap, upgrade: &Upgrade) -> Option<Response<Full<Bytes>>> {
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let name = match &upgrade.name {
        Some(name) => Some(HeaderValue::from_str(name).ok()?),
        None => None,
    };
    if let Protocol::Spdy(_) = upgrade.protocol {
        out.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        if let Some(name) = name {
            out.insert(STREAM_PROTOCOL, name);
        }
        return Some(response);
    }
    let key = headers.get("sec-websocket-key")?.to_str().ok()?;
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(
        "sec-websocket-accept",
        HeaderValue::from_str(&websocket::accept(key)).ok()?,
    );
    if let Some(name) = name {
        out.insert("sec-websocket-protocol", name);
    }
    Some(response)
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
            shutdown,
        });
        tokio::spawn(Arc::clone(&server).listen(listener));
        Ok(server)
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            let stream = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors, most likely: some will be free soon.
                        tracing::warn!(%error, "streaming connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            tokio::spawn(Arc::clone(&self).connection(stream));
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        // Keystrokes are small and must not wait for one another.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let answer = self.answer(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "streaming connection ended");
        }
    }

    /// Answers a request and, after an upgrade, carries on in a task of its own.
    fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let token = request.uri().path().rsplit('/').next().unwrap_or_default();
        let Some(granted) = self.tokens.take(token) else {
            return plain(StatusCode::NOT_FOUND, "no such stream, or it has been used");
        };
        let port_forward = matches!(granted, Granted::PortForward(_));
        let upgrade = match choose(request.headers(), port_forward) {
            Ok(upgrade) => upgrade,
            Err(text) => return plain(StatusCode::BAD_REQUEST, text),
        };
        let Some(response) = switching(request.headers(), &upgrade) else {
            return plain(StatusCode::BAD_REQUEST, "the upgrade request is malformed");
        };
        let upgraded = hyper::upgrade::on(&mut request);
        let server = Arc::clone(self);
        tokio::spawn(async move {
            match upgraded.await {
                Ok(upgraded) => {
                    let shutdown = server.shutdown.clone();
                    tokio::select! {
                        () = server.carry(upgraded, upgrade.protocol, granted) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "upgrade failed"),
            }
        });
        response
    }

    async fn carry(&self, upgraded: Upgraded, protocol: Protocol, granted: Granted) {
        let stream = TokioIo::new(upgraded);
        if let Granted::PortForward(request) = granted {
            let streams = Arc::clone(&self.streams);
            let sandbox = request.pod_sandbox_id;
            return match protocol {
                Protocol::Spdy(_) => {
                    port_forward::spdy(Connection::new(stream), streams, sandbox).await
                }
                Protocol::Tunnel => {
                    let inner = port_forward::tunnel(stream);
                    port_forward::spdy(Connection::new(inner), streams, sandbox).await;
                }
                Protocol::WebSocket(version) => {
                    let ports = request
                        .port
                        .iter()
                        .filter_map(|p| u16::try_from(*p).ok())
                        .collect();
                    port_forward::websocket(stream, version, streams, sandbox, ports).await;
                }
            };
        }
        let wanted = match &granted {
            Granted::Exec(r) => Wanted {
                stdin: r.stdin,
                stdout: r.stdout,
                stderr: r.stderr,
                terminal: r.tty,
            },
            Granted::Attach(r) => Wanted {
                stdin: r.stdin,
                stdout: r.stdout,
                stderr: r.stderr,
                terminal: r.tty,
            },
            Granted::PortForward(_) => return,
        };
        match protocol {
            Protocol::WebSocket(version) => {
                let (session, sender) = exec::websocket(stream, version, wanted);
                session.run(self.process(&granted).await).await;
                let _ = sender.close(&1000_u16.to_be_bytes()).await;
            }
            Protocol::Spdy(version) => {
                let mut connection = Connection::new(stream);
                let Some(session) = exec::spdy(&mut connection, version, wanted).await else {
                    tracing::debug!("client did not open its streams");
                    return;
                };
                let gone = session.gone.clone();
                let run = async { session.run(self.process(&granted).await).await };
                tokio::select! {
                    () = run => {}
                    // Nothing more is opened: the end of this is the end of the connection.
                    () = async { while connection.accept().await.is_some() {} } => gone.cancel(),
                }
                connection.close().await;
            }
            Protocol::Tunnel => {}
        }
    }

    async fn process(&self, granted: &Granted) -> Result<super::Process, String> {
        match granted {
            Granted::Exec(request) => self.streams.exec(request).await,
            Granted::Attach(request) => self.streams.attach(request).await,
            Granted::PortForward(_) => Err("not a process".into()),
        }
    }

    fn url(&self, kind: &str, what: Granted) -> Result<String, tonic::Status> {
        let token = self.tokens.grant(what).ok_or_else(|| {
            tonic::Status::resource_exhausted("too many streams are waiting to be opened")
        })?;
        Ok(format!("http://{}/{kind}/{token}", self.address))
    }

    /// A URL that runs a command.
    pub fn exec_url(&self, request: v1::ExecRequest) -> Result<String, tonic::Status> {
        check(request.tty, request.stdin, request.stdout, request.stderr)?;
        self.url("exec", Granted::Exec(request))
    }

    /// A URL that takes part in a container's streams.
    pub fn attach_url(&self, request: v1::AttachRequest) -> Result<String, tonic::Status> {
        check(request.tty, request.stdin, request.stdout, request.stderr)?;
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

fn check(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Result<(), tonic::Status> {
    if tty && stderr {
        return Err(tonic::Status::invalid_argument(
            "tty and stderr cannot both be true",
        ));
    }
    if !(stdin || stdout || stderr) {
        return Err(tonic::Status::invalid_argument(
            "one of stdin, stdout, or stderr must be set",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn the_clients_first_known_protocol_wins() {
        let version = |number, base64| Version { number, base64 };
        let websocket =
            |names| headers(&[("upgrade", "websocket"), ("sec-websocket-protocol", names)]);
        let of = |names, forward| choose(&websocket(names), forward).map(|u| u.protocol);
        assert_eq!(
            of("v5.channel.k8s.io, v4.channel.k8s.io", false),
            Ok(Protocol::WebSocket(version(5, false)))
        );
        assert_eq!(
            of("new, v4.base64.channel.k8s.io", false),
            Ok(Protocol::WebSocket(version(4, true)))
        );
        assert_eq!(of(TUNNEL, true), Ok(Protocol::Tunnel));
        assert!(of(TUNNEL, false).is_err());
        assert!(of("new", false).is_err());
        let spdy = headers(&[
            ("upgrade", "SPDY/3.1"),
            (STREAM_PROTOCOL, "v5.channel.k8s.io,v4.channel.k8s.io"),
        ]);
        let chosen = choose(&spdy, false).unwrap();
        assert_eq!(chosen.protocol, Protocol::Spdy(version(4, false)));
        assert_eq!(chosen.name.as_deref(), Some("v4.channel.k8s.io"));
        assert!(choose(&spdy, true).is_err());
        assert!(choose(&HeaderMap::new(), false).is_err());
    }

    #[test]
    fn streams_that_make_no_sense_are_refused() {
        assert!(check(true, false, true, true).is_err());
        assert!(check(false, false, false, false).is_err());
        assert!(check(true, true, true, false).is_ok());
    }
}
