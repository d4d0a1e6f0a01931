//! The cluster that schedules: a remote one, or store, API server and scheduler in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::clock::SystemClock;
use apiserver::{ApiServer, UserInfo, pki};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    api::DeleteParams,
    runtime::wait::{await_condition, conditions},
};

use super::PHASE;
use crate::endpoint::{Access, Body, Endpoint};

type Boxed = UnsyncBoxBody<Bytes, anyhow::Error>;

/// Store and API server of this process.
pub struct Here {
    server: Arc<ApiServer>,
}

/// See the module.
pub enum Cluster {
    Remote(Box<Endpoint>, kube::Client),
    Local(Here, kube::Client),
}

impl Cluster {
    pub async fn remote(access: &Access) -> Result<Cluster> {
        let client = kube::Client::try_from(access.config().await?)?;
        Ok(Cluster::Remote(Box::new(access.connect(4).await?), client))
    }

    pub async fn here(dir: &Path) -> Result<Cluster> {
        ensure!(!dir.exists(), "{} exists already", dir.display());
        let names = pki::Names {
            cluster_domain: "cluster.local".to_owned(),
            ..pki::Names::default()
        };
        let pki = pki::Pki::ensure(&dir.join("pki"), &names, jiff::Timestamp::now())?;
        let seal = apiserver::seal::AesGcm::new(&pki.encryption_key)?;
        let options = store::Options {
            seal: Some(Arc::new(seal)),
            ..store::Options::default()
        };
        let store = store::Store::open(dir.join("store"), options)?;
        let config = apiserver::Config::new(&pki)?;
        let server = ApiServer::new(config, store, Arc::new(SystemClock)).await?;
        let admin = client::in_process(
            server
                .local()
                .as_user(UserInfo::new("bench", &["system:masters"])),
        );
        Ok(Cluster::Local(Here { server }, admin))
    }

    pub fn is_here(&self) -> bool {
        matches!(self, Cluster::Local(..))
    }

    /// Who measures, as a client.
    pub fn client(&self) -> &kube::Client {
        match self {
            Cluster::Remote(_, client) | Cluster::Local(_, client) => client,
        }
    }

    /// Starts the scheduler of this process; a remote cluster has its own. It ends with the guard.
    pub async fn start_scheduler(&self) -> Result<Option<DropGuard>> {
        let Cluster::Local(here, _) = self else {
            return Ok(None);
        };
        let user = UserInfo::new("system:kube-scheduler", &[]);
        let client = client::in_process(here.server.local().as_user(user));
        let context = client::Context::new(client, "default-scheduler");
        let shutdown = CancellationToken::new();
        tokio::spawn(scheduler::run(context, shutdown.clone()));
        Ok(Some(shutdown.drop_guard()))
    }

    /// Registers nodes and keeps them alive; with kubelets, pods on them run too.
    pub async fn register(&self, nodes: u32, prefix: &str, kubelets: bool) -> Result<DropGuard> {
        self.ensure(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": node_sim::object::LEASES}}),
        )
        .await?;
        let capacity = [
            ("cpu", "32"),
            ("memory", "256Gi"),
            ("pods", "250"),
            ("ephemeral-storage", "200Gi"),
        ];
        let config = node_sim::Config {
            nodes,
            prefix: prefix.to_owned(),
            capacity: capacity.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            labels: Default::default(),
            zones: 3,
            heartbeat: Duration::from_secs(20),
            stop: Duration::from_secs(1),
            writes: 32,
        };
        let shutdown = CancellationToken::new();
        let client = self.client().clone();
        node_sim::heartbeat::register(&client, &config).await?;
        if self.is_here() {
            // Nodes are fenced off when they are made, and there is no controller to see them Ready.
            let nodes_api: kube::Api<k8s_openapi::api::core::v1::Node> =
                kube::Api::all(client.clone());
            for index in 0..nodes {
                let patch = json!({"spec": {"taints": null}});
                let patch = kube::api::Patch::Merge(&patch);
                let name = node_sim::object::name(&config, index);
                let params = kube::api::PatchParams::default();
                nodes_api.patch(&name, &params, &patch).await?;
            }
        }
        if kubelets {
            tokio::spawn(node_sim::run(client, config, shutdown.clone()));
        } else {
            tokio::spawn(node_sim::heartbeat::renew_all(
                client,
                config,
                shutdown.clone(),
            ));
        }
        Ok(shutdown.drop_guard())
    }

    /// Takes the nodes away again, as far as possible.
    pub async fn remove_nodes(&self, nodes: u32, prefix: &str) {
        for n in 0..nodes {
            for path in [
                format!("/api/v1/nodes/{prefix}{n}"),
                format!(
                    "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{prefix}{n}",
                    node_sim::object::LEASES
                ),
            ] {
                if let Err(error) = self.send(Method::DELETE, &path, None).await {
                    eprintln!("{path}: {error:#}");
                }
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Bytes>,
    ) -> Result<(StatusCode, Boxed)> {
        match self {
            Cluster::Remote(endpoint, _) => {
                let body = body.map_or(Body::Empty, Body::Json);
                let response = endpoint.send(method, path, body).await?;
                let status = response.status();
                let body = response.into_body().map_err(anyhow::Error::from);
                Ok((status, body.boxed_unsync()))
            }
            Cluster::Local(_, client) => {
                let body = body.cloned().unwrap_or_default().to_vec();
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("content-type", "application/json")
                    .body(kube::client::Body::from(body))?;
                let response = client.send(request).await?;
                let status = response.status();
                let body = response.into_body().map_err(anyhow::Error::from);
                Ok((status, body.boxed_unsync()))
            }
        }
    }

    /// Creates an object.
    pub async fn post(&self, path: &str, body: &Bytes) -> Result<()> {
        let (status, answer) = self.send(Method::POST, path, Some(body)).await?;
        let text = answer.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&text);
        ensure!(status.is_success(), "POST {path}: {status}: {text}");
        Ok(())
    }

    /// Creates an object that may be there.
    pub async fn ensure(&self, path: &str, object: &Value) -> Result<()> {
        let body = Bytes::from(object.to_string());
        let (status, answer) = self.send(Method::POST, path, Some(&body)).await?;
        let text = answer.collect().await?.to_bytes();
        let there = status.is_success() || status == StatusCode::CONFLICT;
        let text = String::from_utf8_lossy(&text);
        ensure!(there, "POST {path}: {status}: {text}");
        Ok(())
    }

    /// Makes a namespace pods can be made in.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.ensure("/api/v1/namespaces", &namespace).await?;
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
        self.ensure(&path, &account).await
    }

    /// Deletes a namespace and waits until it is gone with all that is in it. In this process, where
    /// no controller empties it, the pods are deleted.
    pub async fn remove_namespace(&self, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{name}");
        if self.is_here() {
            let pods = format!("{path}/pods");
            let (status, answer) = self.send(Method::DELETE, &pods, None).await?;
            let text = answer.collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&text);
            ensure!(status.is_success(), "DELETE {pods}: {status}: {text}");
            return Ok(());
        }
        let api: kube::Api<Namespace> = kube::Api::all(self.client().clone());
        let uid = api.get(name).await?.metadata.uid.unwrap_or_default();
        api.delete(name, &DeleteParams::default()).await?;
        let gone = await_condition(api, name, conditions::is_deleted(&uid));
        tokio::time::timeout(PHASE, gone)
            .await
            .with_context(|| format!("{path} was there for more than {PHASE:?}"))??;
        Ok(())
    }

    /// The pods that become bound from now on.
    pub async fn bound(&self, namespace: &str) -> Result<Bound> {
        let list = format!("/api/v1/namespaces/{namespace}/pods?limit=1");
        let (status, answer) = self.send(Method::GET, &list, None).await?;
        ensure!(status.is_success(), "GET {list}: {status}");
        let list: Value = serde_json::from_slice(&answer.collect().await?.to_bytes())?;
        let revision = list["metadata"]["resourceVersion"]
            .as_str()
            .context("a list without revision")?;
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?watch=true&fieldSelector=spec.nodeName%21%3D&resourceVersion={revision}"
        );
        let (status, answer) = self.send(Method::GET, &path, None).await?;
        ensure!(status.is_success(), "GET {path}: {status}");
        Ok(Bound {
            body: answer,
            line: Vec::new(),
        })
    }
}

/// A watch of bound pods: a pod is added to it when it is bound.
pub struct Bound {
    body: Boxed,
    /// The beginning of the line under way.
    line: Vec<u8>,
}

/// How a line begins that says so. Nothing else of an event is looked at, so that the watch costs
/// the machine little.
const ADDED: &[u8] = br#"{"type":"ADDED""#;

impl Bound {
    /// How many more, at least one.
    pub async fn more(&mut self) -> Result<u64> {
        let mut count = 0;
        while count == 0 {
            let frame = self.body.frame().await.context("the watch ended")??;
            count = self.take(frame.data_ref().map_or(&[], |data| &data[..]));
        }
        Ok(count)
    }

    fn take(&mut self, data: &[u8]) -> u64 {
        let mut count = 0;
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            let before = self.line.len();
            let room = ADDED.len().saturating_sub(before).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            if before < ADDED.len() && self.line == ADDED {
                count += 1;
            }
            if part.ends_with(b"\n") {
                self.line.clear();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_wherever_they_are_cut() {
        let text =
            b"{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"MODIFIED\"}\n{\"type\":\"ADDED\"}\n";
        for size in 1..text.len() {
            let mut bound = Bound {
                body: http_body_util::Empty::new()
                    .map_err(|never| match never {})
                    .boxed_unsync(),
                line: Vec::new(),
            };
            let count: u64 = text.chunks(size).map(|part| bound.take(part)).sum();
            assert_eq!(count, 2, "cut every {size}");
        }
    }
}
