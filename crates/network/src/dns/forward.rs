//! Names outside the cluster: asked of the name servers the node itself uses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Edns, Message, Query};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::cache::{Cache, Question};

/// How long one server may take before the next is tried.
const TRY: Duration = Duration::from_secs(2);
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// Servers heeded, as by the C library.
const SERVERS_MAX: usize = 3;
/// Questions under way; above that they are answered with a failure at once (upstream's value).
const CONCURRENT: usize = 1000;
const PAYLOAD: u16 = 1232;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// There is nobody to ask.
    #[error("no upstream name server")]
    NoServers,
    /// Too many questions at once.
    #[error("too many questions are waiting for upstream")]
    Busy,
    /// All servers failed; the last failure.
    #[error("name server {server}: {reason}")]
    Failed {
        /// The server.
        server: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// Where the servers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// These.
    Fixed(Vec<SocketAddr>),
    /// Those of a `resolv.conf`, read again when it changes.
    ResolvConf(PathBuf),
}

impl Default for Upstreams {
    fn default() -> Self {
        Self::ResolvConf(PathBuf::from("/etc/resolv.conf"))
    }
}

/// The servers of a `resolv.conf`.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .filter_map(|rest| rest.split_whitespace().next())
        // A scope (`fe80::1%eth0`) is not understood: such a server is left out.
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

#[derive(Debug, Default)]
struct Read {
    modified: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

/// Asks upstream.
#[derive(Debug)]
pub(super) struct Forwarder {
    upstreams: Upstreams,
    /// Addresses that lead back to this server.
    own: Vec<IpAddr>,
    read: Mutex<Read>,
    slots: Semaphore,
    pub cache: Cache,
}

impl Forwarder {
    pub fn new(upstreams: Upstreams, own: Vec<IpAddr>) -> Self {
        Self {
            upstreams,
            own,
            read: Mutex::default(),
            slots: Semaphore::new(CONCURRENT),
            cache: Cache::default(),
        }
    }

    /// The servers to ask, without those that would ask us.
    fn servers(&self) -> Vec<SocketAddr> {
        let path = match &self.upstreams {
            Upstreams::Fixed(servers) => return servers.clone(),
            Upstreams::ResolvConf(path) => path,
        };
        let modified = std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let mut read = self.read.lock();
        if read.modified.is_none() || read.modified != modified {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut servers = parse(&text);
            servers.retain(|server| {
                let loops = self.own.contains(&server.ip());
                if loops {
                    tracing::warn!(%server, path = %path.display(), "not forwarding to the cluster's own DNS");
                }
                !loops
            });
            servers.truncate(SERVERS_MAX);
            *read = Read { modified, servers };
        }
        read.servers.clone()
    }

    /// Upstream's answer to a question.
    pub async fn ask(&self, query: &Query, request: &Message) -> Result<Message, ForwardError> {
        let question = Question::new(query, request);
        if let Some(answer) = self.cache.get(&question) {
            return Ok(answer);
        }
        let _slot = self.slots.try_acquire().map_err(|_| ForwardError::Busy)?;
        let servers = self.servers();
        let mut last = ForwardError::NoServers;
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            match exchange(*server, query, request).await {
                Ok(answer) => {
                    self.cache.put(question, &answer);
                    return Ok(answer);
                }
                Err(reason) => {
                    last = ForwardError::Failed {
                        server: *server,
                        reason,
                    }
                }
            }
        }
        Err(last)
    }
}

fn outgoing(query: &Query, request: &Message) -> Message {
    // `query()` draws the id at random; with a fresh source port it is what makes forging hard.
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.set_dnssec_ok(request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok));
    message.set_edns(edns);
    message
}

fn matches(answer: &Message, asked: &Message) -> bool {
    let same = |a: &Query, b: &Query| {
        a.name().eq_ignore_root(b.name())
            && a.query_type() == b.query_type()
            && a.query_class() == b.query_class()
    };
    answer.metadata.id == asked.metadata.id
        && match (&answer.queries[..], &asked.queries[..]) {
            ([a], [b]) => same(a, b),
            // Some servers leave the question out of a failure.
            ([], _) => true,
            _ => false,
        }
}

async fn exchange(server: SocketAddr, query: &Query, request: &Message) -> Result<Message, String> {
    let asked = outgoing(query, request);
    let bytes = asked.to_vec().map_err(|e| e.to_string())?;
    let timeout = |_| "no answer in time".to_owned();
    let answer = tokio::time::timeout(TRY, by_udp(server, &asked, &bytes))
        .await
        .map_err(timeout)?;
    let answer = answer.map_err(|e| e.to_string())?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let whole = tokio::time::timeout(TRY, by_tcp(server, &asked, &bytes)).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole),
        // Better a part than nothing; it says that it is one.
        _ => Ok(answer),
    }
}

async fn by_udp(server: SocketAddr, asked: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not parse or does not match is not the answer, whoever sent it.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && matches(&answer, asked)
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, asked: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(|_| std::io::ErrorKind::InvalidData)?;
    if matches(&answer, asked) {
        Ok(answer)
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_like_the_c_library_does() {
        let text = "# c\nsearch x\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # x\nnameserver fe80::1%eth0\nnameservers 1.1.1.1\n";
        assert_eq!(
            parse(text),
            [
                "192.0.2.1:53".parse().unwrap(),
                "[2001:db8::1]:53".parse().unwrap()
            ]
        );
    }

    #[test]
    fn servers_that_lead_back_are_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nameserver 10.96.0.10\nnameserver 192.0.2.1\n").unwrap();
        let own = vec!["10.96.0.10".parse().unwrap()];
        let forwarder = Forwarder::new(Upstreams::ResolvConf(file.path().to_owned()), own);
        assert_eq!(forwarder.servers(), ["192.0.2.1:53".parse().unwrap()]);
        let missing = Forwarder::new(
            Upstreams::ResolvConf("/nonexistent/resolv.conf".into()),
            Vec::new(),
        );
        assert!(missing.servers().is_empty());
    }
}
