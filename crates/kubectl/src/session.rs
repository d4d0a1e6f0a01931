//! How the cluster is reached, and the raw requests everything else is made of.

use futures::AsyncBufRead;
use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

use crate::{
    error::{Error, Result, usage},
    flags::Connection,
    mapping::Mapping,
};

/// A client with the namespace to use.
pub struct Session {
    /// The client.
    pub client: Client,
    /// Where the API server is.
    pub server: String,
    /// Namespace of requests that name none.
    pub namespace: String,
    mapping: tokio::sync::OnceCell<Mapping>,
}

impl Session {
    /// Reads the kubeconfig (`--kubeconfig`, `$KUBECONFIG`, `~/.kube/config`, the pod's own account).
    pub async fn open(flags: &Connection) -> Result<Session> {
        let options = KubeConfigOptions {
            context: flags.context.clone(),
            ..KubeConfigOptions::default()
        };
        let unreadable = |e: &dyn std::fmt::Display| usage(format!("error loading config: {e}"));
        let mut config = match &flags.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|e| unreadable(&e))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| unreadable(&e))?
            }
            None => match Config::from_kubeconfig(&options).await {
                Ok(config) => config,
                Err(error) => Config::incluster().map_err(|_| {
                    usage(format!("{error}; set KUBECONFIG to the cluster's admin.kubeconfig, or use --kubeconfig"))
                })?,
            },
        };
        if let Some(server) = &flags.server {
            config.cluster_url = server
                .parse()
                .map_err(|e| usage(format!("--server {server}: {e}")))?;
        }
        if let Some(token) = &flags.token {
            config.auth_info.token = Some(token.clone().into());
        }
        if let Some(user) = &flags.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !flags.impersonate_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(flags.impersonate_groups.clone());
        }
        config.accept_invalid_certs |= flags.insecure_skip_tls_verify;
        // A watch or a followed log may be silent for as long as it likes.
        config.read_timeout = None;
        let limit = crate::commands::duration(&flags.request_timeout)?;
        if !limit.is_zero() {
            config.read_timeout = Some(limit);
        }
        let namespace = flags
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config)?;
        Ok(Session {
            client,
            server,
            namespace,
            mapping: tokio::sync::OnceCell::new(),
        })
    }

    /// What the server serves, asked once.
    pub async fn mapping(&self) -> Result<&Mapping> {
        self.mapping
            .get_or_try_init(|| Mapping::discover(self))
            .await
    }

    /// A request with a JSON answer.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value> {
        let request = request(method, path, accept, body)?;
        Ok(self.client.request::<Value>(request).await?)
    }

    /// A GET with a JSON answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, "application/json", None).await
    }

    /// A GET whose answer is text.
    pub async fn text(&self, path: &str) -> Result<String> {
        Ok(self
            .client
            .request_text(request(Method::GET, path, "*/*", None)?)
            .await?)
    }

    /// A GET whose answer goes on.
    pub async fn stream(&self, path: &str, accept: &str) -> Result<impl AsyncBufRead + use<>> {
        Ok(self
            .client
            .request_stream(request(Method::GET, path, accept, None)?)
            .await?)
    }
}

fn request(
    method: Method,
    path: &str,
    accept: &str,
    body: Option<(&str, &Value)>,
) -> Result<Request<Vec<u8>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", accept);
    let mut bytes = Vec::new();
    if let Some((kind, value)) = body {
        request = request.header("content-type", kind);
        bytes = value.to_string().into_bytes();
    }
    request
        .body(bytes)
        .map_err(|e| Error::Connect(e.to_string()))
}

/// Text as part of a query.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
