//! The health check ports of load balancers' services (`healthCheckNodePort`): whether this node
//! has endpoints.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::engine::HealthCheck;
use crate::services::Key;

/// Checks of one port served at the same time; above that they wait in the listener's queue.
const CONCURRENT: usize = 32;
/// A check that takes longer is no check.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request longer than this is cut off.
const REQUEST_MAX: usize = 8 << 10;

struct Served {
    check: Arc<Mutex<HealthCheck>>,
    stop: CancellationToken,
}

/// The listeners, one per port.
pub(super) struct Health {
    shutdown: CancellationToken,
    served: BTreeMap<u16, Served>,
}

impl Health {
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            served: BTreeMap::new(),
        }
    }

    /// Opens, updates and closes ports.
    pub async fn update(&mut self, checks: impl Iterator<Item = &HealthCheck>) {
        let wanted: BTreeMap<u16, &HealthCheck> = checks.map(|check| (check.port, check)).collect();
        self.served.retain(|port, served| {
            let keep = wanted.contains_key(port);
            if !keep {
                served.stop.cancel();
            }
            keep
        });
        for (port, check) in wanted {
            if let Some(served) = self.served.get(&port) {
                served.check.lock().clone_from(check);
                continue;
            }
            let listener = match TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                .await
            {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(service = %check.key, port, %error, "health check port not served");
                    continue;
                }
            };
            let served = Served {
                check: Arc::new(Mutex::new(check.clone())),
                stop: self.shutdown.child_token(),
            };
            tokio::spawn(accept(listener, served.check.clone(), served.stop.clone()));
            self.served.insert(port, served);
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        for served in self.served.values() {
            served.stop.cancel();
        }
    }
}

async fn accept(listener: TcpListener, check: Arc<Mutex<HealthCheck>>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONCURRENT));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors or the like; each accepted connection that ends frees one.
                Err(_) => { tokio::time::sleep(Duration::from_millis(100)).await; continue; }
            },
        };
        let check = check.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &check)).await;
            drop(slot);
        });
    }
}

async fn answer(mut stream: TcpStream, check: &Mutex<HealthCheck>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        match stream.read(&mut chunk).await? {
            0 => break,
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    let response = response(&check.lock().clone());
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn response(check: &HealthCheck) -> String {
    let HealthCheck {
        key: Key { namespace, name },
        local_endpoints: count,
        ..
    } = check;
    let status = if *count > 0 {
        "200 OK"
    } else {
        "503 Service Unavailable"
    };
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ports_follow_the_services() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut health = Health::new(CancellationToken::new());
        let key = Key {
            namespace: "ns".into(),
            name: "web".into(),
        };
        let ask = || async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                .await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        for (count, status) in [(0, "503"), (2, "200")] {
            let check = HealthCheck {
                key: key.clone(),
                port,
                local_endpoints: count,
            };
            health.update([check].iter()).await;
            let text = ask().await.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
            assert!(
                text.contains(&format!("\"localEndpoints\": {count}")),
                "{text}"
            );
        }
    }
}
