//! Connections: made, kept while idle, and closed when nobody wanted them for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::error::OutboundError;
use super::tls::Tls;
use crate::http::body::RequestBody;

/// A backend that does not answer the call within this is not there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Idle connections are closed after this.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections kept to one place; further ones are closed.
const MAX_PER_PLACE: usize = 25;
/// Places that connections are kept to; connections to further ones are closed after use.
const MAX_PLACES: usize = 256;

/// Host with port, and the TLS set-up.
pub(super) type Key = (String, u64);

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// Idle connections.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: HashMap<Key, Vec<Idle>>,
    sweeping: bool,
}

impl Pool {
    /// The connection that was used last, if it still stands.
    pub(super) fn take(&self, key: &Key) -> Option<SendRequest<RequestBody>> {
        let mut state = self.idle.lock();
        let list = state.places.get_mut(key)?;
        while let Some(idle) = list.pop() {
            if idle.sender.is_ready() {
                return Some(idle.sender);
            }
        }
        None
    }

    /// Keeps a connection for others, as soon as the answer under way has been read.
    pub(super) fn keep(pool: &Arc<Pool>, key: Key, mut sender: SendRequest<RequestBody>) {
        let pool = pool.clone();
        tokio::spawn(async move {
            // Ends with an error when the connection was closed or upgraded.
            if sender.ready().await.is_ok() {
                Pool::put(&pool, key, sender);
            }
        });
    }

    fn put(pool: &Arc<Pool>, key: Key, sender: SendRequest<RequestBody>) {
        let mut state = pool.idle.lock();
        if !state.places.contains_key(&key) && state.places.len() >= MAX_PLACES {
            return;
        }
        let list = state.places.entry(key).or_default();
        if list.len() >= MAX_PER_PLACE {
            return;
        }
        list.push(Idle {
            sender,
            since: Instant::now(),
        });
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(Pool::sweep(pool.clone()));
        }
    }

    /// Closes what has been idle too long, and ends when nothing is left.
    async fn sweep(pool: Arc<Pool>) {
        loop {
            tokio::time::sleep(IDLE / 2).await;
            let mut state = pool.idle.lock();
            state.places.retain(|_, list| {
                list.retain(|idle| idle.sender.is_ready() && idle.since.elapsed() < IDLE);
                !list.is_empty()
            });
            if state.places.is_empty() {
                state.sweeping = false;
                return;
            }
        }
    }
}

/// A connection to the first of the addresses that takes the call.
pub(super) async fn dial(
    addresses: &[SocketAddr],
    server_name: String,
    tls: &Tls,
) -> Result<SendRequest<RequestBody>, OutboundError> {
    let mut last = OutboundError::Dial("dial tcp: no address".to_owned());
    for address in addresses {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return handshake(stream, server_name, tls).await,
            Ok(Err(error)) => last = OutboundError::from_dial(*address, &error),
            Err(_) => last = OutboundError::Dial(format!("dial tcp {address}: i/o timeout")),
        }
    }
    Err(last)
}

async fn handshake(
    stream: TcpStream,
    server_name: String,
    tls: &Tls,
) -> Result<SendRequest<RequestBody>, OutboundError> {
    // Only makes small requests go out at once.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(server_name)
        .map_err(|e| OutboundError::Tls(format!("tls: server name: {e}")))?;
    let connect = TlsConnector::from(tls.config()).connect(name.clone(), stream);
    let stream = match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(OutboundError::from_handshake(&name, &error)),
        Err(_) => {
            return Err(OutboundError::Tls(
                "net/http: TLS handshake timeout".to_owned(),
            ));
        }
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| OutboundError::from_hyper(&e))?;
    tokio::spawn(async move {
        // Its errors reach whoever reads the answer.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
