//! The sockets: UDP and TCP on every listening address.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::reply;
use super::resolver::{Resolver, Step};

/// TCP connections at the same time, per address; above that they wait in the listener's queue.
const CONNECTIONS: usize = 256;
/// A connection on which nothing comes for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Requests that wait for upstream at the same time, per address; above that they are dropped and
/// the client asks again.
const WAITING: usize = 2000;
/// What the kernel keeps while the server is busy.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A bound address.
#[derive(Debug)]
pub(super) struct Sockets {
    pub address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

fn open(address: SocketAddr, kind: SocketType) -> std::io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, kind, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, kind == SocketType::STREAM)?;
    // The address may be one that its interface is yet to get.
    if address.is_ipv4() {
        let _ = sockopt::set_ip_freebind(&fd, true);
    }
    if kind == SocketType::DGRAM {
        let _ = sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER);
    }
    rustix::net::bind(&fd, &address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&fd, 1024)?;
    }
    Ok(fd)
}

impl Sockets {
    /// Binds both protocols to one address; port 0 takes the same free port for both.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let udp = UdpSocket::from_std(open(address, SocketType::DGRAM)?.into())?;
        let address = udp.local_addr()?;
        let tcp = TcpListener::from_std(open(address, SocketType::STREAM)?.into())?;
        Ok(Self { address, udp, tcp })
    }

    /// Serves until shutdown.
    pub async fn serve(
        self,
        resolver: Arc<Resolver>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) {
        let udp = serve_udp(self.udp, resolver.clone(), metrics.clone());
        let tcp = serve_tcp(self.tcp, resolver, metrics);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = udp => {}
            () = tcp => {}
        }
    }
}

/// A request, or the answer to what is none; nothing for what must not be answered.
fn decode(bytes: &[u8]) -> Result<Message, Option<Box<Message>>> {
    match Message::from_vec(bytes) {
        // Answering an answer could go on for ever between two servers.
        Ok(message) if message.metadata.message_type == MessageType::Response => Err(None),
        Ok(message) => Ok(message),
        Err(_) => {
            let id = bytes
                .get(0..2)
                .and_then(|b| b.try_into().ok())
                .map(u16::from_be_bytes);
            let asks = bytes.get(2).is_some_and(|flags| flags & 0x80 == 0);
            Err(id
                .filter(|_| asks && bytes.len() >= 12)
                .map(|id| Box::new(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))))
        }
    }
}

async fn serve_udp(socket: UdpSocket, resolver: Arc<Resolver>, metrics: Metrics) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is one of an earlier answer's (unreachable client) and no reason to stop.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let begun = Instant::now();
        let request = match decode(&buffer[..length]) {
            Ok(request) => request,
            Err(answer) => {
                if let Some(bytes) = answer.and_then(|m| reply::encode(&m, u16::MAX).ok()) {
                    let _ = socket.try_send_to(&bytes, from);
                }
                continue;
            }
        };
        metrics.request(&request, "udp", from);
        match resolver.local(&request) {
            Step::Answer(answer) => {
                send(&socket, &request, &answer, from).await;
                metrics.response(&answer, begun);
            }
            step @ Step::Ask(..) => {
                let Ok(slot) = waiting.clone().try_acquire_owned() else {
                    continue;
                };
                let (socket, resolver, metrics) =
                    (socket.clone(), resolver.clone(), metrics.clone());
                tokio::spawn(async move {
                    let answer = resolver.resolve(&request, step).await;
                    send(&socket, &request, &answer, from).await;
                    metrics.response(&answer, begun);
                    drop(slot);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, request: &Message, answer: &Message, to: SocketAddr) {
    match reply::encode(answer, reply::udp_limit(request)) {
        Ok(bytes) => {
            if let Err(error) = socket.send_to(&bytes, to).await {
                tracing::debug!(%to, %error, "could not send a DNS answer");
            }
        }
        Err(error) => tracing::warn!(%error, "could not encode a DNS answer"),
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>, metrics: Metrics) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors or the like: others must end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (resolver, metrics) = (resolver.clone(), metrics.clone());
        tokio::spawn(async move {
            let _ = converse(stream, from, &resolver, &metrics).await;
            drop(slot);
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    resolver: &Arc<Resolver>,
    metrics: &Metrics,
) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut bytes = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut bytes)).await??;
        let begun = Instant::now();
        let answer = match decode(&bytes) {
            Ok(request) => {
                metrics.request(&request, "tcp", from);
                resolver.resolve(&request, resolver.local(&request)).await
            }
            Err(Some(answer)) => *answer,
            Err(None) => return Ok(()),
        };
        let encoded =
            reply::encode(&answer, u16::MAX).map_err(|_| std::io::ErrorKind::InvalidData)?;
        let mut framed = Vec::with_capacity(encoded.len() + 2);
        framed.extend_from_slice(&(encoded.len() as u16).to_be_bytes());
        framed.extend_from_slice(&encoded);
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
        metrics.response(&answer, begun);
    }
}
