//! Starting a cluster for a test, and waiting for things in it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use api::clock::SystemClock;
use apiserver::pki::{Names, Pki};
use apiserver::{ApiServer, Config, UserInfo};
use client::{Context, Scope};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::mortal::{Life, Mortal, Tally};

/// Only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Controllers that run.
pub struct Running {
    shutdown: CancellationToken,
    handle: JoinHandle<Result<(), controllers::RunError>>,
    mortal: bool,
    metrics: client::metrics::Metrics,
}

impl Running {
    /// Were they started to be killed?
    pub fn is_mortal(&self) -> bool {
        self.mortal
    }

    /// Ends them; those that were killed may say what they like.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let ended = self.handle.await.unwrap();
        assert!(self.mortal || ended.is_ok(), "{ended:?}");
    }
}

pub struct Cluster {
    pub client: kube::Client,
    /// What controllers have written.
    pub tally: Tally,
    controllers: Option<Running>,
    kubelet: JoinHandle<()>,
    server: Arc<ApiServer>,
    pub pki: Pki,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// A cluster whose controllers run under their own identities, as in earnest.
    pub async fn start() -> Self {
        let mut cluster = Self::without_controllers().await;
        cluster.controllers = Some(cluster.run(None, &[]));
        cluster
            .wait::<k8s_openapi::api::core::v1::ServiceAccount>("default", |all| {
                all.iter()
                    .any(|account| account.metadata.name.as_deref() == Some("default"))
            })
            .await;
        cluster
    }

    /// An API server and a kubelet, and nobody between them.
    pub async fn without_controllers() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = Names {
            cluster_domain: "cluster.local".to_owned(),
            ..Names::default()
        };
        let pki = Pki::ensure(&dir.path().join("pki"), &names, jiff::Timestamp::now()).unwrap();
        let seal = apiserver::seal::AesGcm::new(&pki.encryption_key).unwrap();
        let options = store::Options {
            seal: Some(Arc::new(seal)),
            ..store::Options::default()
        };
        let store = Store::open(dir.path().join("store"), options).unwrap();
        let mut config = Config::new(&pki).unwrap();
        config.runtime_config = vec!["api/all=true".to_owned()];
        let server = ApiServer::new(config, store, Arc::new(SystemClock))
            .await
            .unwrap();
        let admin = UserInfo::new("kubernetes-admin", &["system:masters"]);
        let admin = client::in_process(server.local().as_user(admin));
        let kubelet = tokio::spawn(fake_kubelet(admin.clone()));
        let cluster = Self {
            client: admin,
            tally: Tally::default(),
            controllers: None,
            kubelet,
            server,
            pki,
            _dir: dir,
        };
        cluster.create_node("n1").await;
        cluster
    }

    /// Starts controllers: those named, or all; with a life, those that it counts end with it.
    pub fn run(&self, life: Option<Life>, only: &[&str]) -> Running {
        let sign_in = {
            let (server, life) = (self.server.clone(), life.clone());
            let tally = self.tally.clone();
            move |account: &str, name: &str, groups: &[&str]| {
                client::in_process(Mortal {
                    inner: server.local().as_user(UserInfo::new(name, groups)),
                    account: account.to_owned(),
                    life: life.clone(),
                    tally: tally.clone(),
                })
            }
        };
        let manager = sign_in("", "system:kube-controller-manager", &[]);
        let shutdown = CancellationToken::new();
        let context = Context::new(manager, "controller-manager");
        let metrics = context.metrics.clone();
        let config = controllers::Config {
            context,
            clients: Arc::new(move |account: &str| {
                let name = format!("system:serviceaccount:kube-system:{account}");
                sign_in(
                    account,
                    &name,
                    &[
                        "system:serviceaccounts",
                        "system:serviceaccounts:kube-system",
                    ],
                )
            }),
            node_networks: [("10.244.0.0/16", 24), ("fd00:244::/48", 64)]
                .map(|(cluster, mask)| controllers::NodeNetwork {
                    cluster: cluster.parse().unwrap(),
                    mask,
                })
                .into(),
            root_ca_pem: self.pki.ca_pem().to_owned(),
            signer: Some(controllers::Signer {
                certificate_pem: self.pki.ca_pem().to_owned(),
                key_pem: self.pki.authority.key_pem().to_owned(),
            }),
            load_balancer_reserved_ports: Some(vec![6443]),
            workers: 5,
            disabled: controllers::names()
                .filter(|name| !only.is_empty() && !only.contains(name))
                .map(str::to_owned)
                .collect(),
        };
        Running {
            handle: tokio::spawn(controllers::run(config, shutdown.clone())),
            shutdown,
            mortal: life.is_some(),
            metrics,
        }
    }

    pub async fn create_node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.create::<k8s_openapi::api::core::v1::Node>("", node)
            .await;
        let api: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client.clone());
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .unwrap();
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object in its namespace, or a cluster-scoped one with an empty namespace.
    pub async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + serde::Serialize,
    {
        let resource = kube::core::ApiResource::erase::<K>(&());
        let api: Api<kube::core::DynamicObject> = if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        };
        let mut object = object;
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let object = serde_json::from_value(object).unwrap();
        let created = api.create(&PostParams::default(), &object).await.unwrap();
        serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()
    }

    /// Waits until the objects of a kind in a namespace (or all, if that is empty) are as wanted, and
    /// answers them. Says what they were if that does not come to be.
    pub async fn wait<K>(&self, namespace: &str, wanted: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: client::informer::Object + Resource<DynamicType = ()>,
    {
        let scope = if namespace.is_empty() {
            Scope::All
        } else {
            Scope::fields(&format!("metadata.namespace={namespace}"))
        };
        let informers = client::Informers::new(self.client.clone());
        let informer = informers.get::<K>(scope);
        let mut changes = informer.subscribe();
        let seen = || {
            informer
                .store()
                .list()
                .iter()
                .map(|object| (**object).clone())
                .collect::<Vec<K>>()
        };
        let waiting = async {
            informer.synced().await;
            loop {
                let all = seen();
                if wanted(&all) {
                    return all;
                }
                changes.next().await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(all) => all,
            Err(_) => panic!(
                "waited in vain for {} in {namespace:?}: {:#?}",
                K::kind(&()),
                seen()
            ),
        }
    }

    /// What the controllers count, as text.
    pub fn metrics(&self) -> String {
        let running = self.controllers.as_ref().unwrap();
        running.metrics.encode().unwrap()
    }

    pub async fn stop(mut self) {
        if let Some(running) = self.controllers.take() {
            running.stop().await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(running) = &self.controllers {
            running.shutdown.cancel();
        }
        self.kubelet.abort();
        self.server.end_watches();
    }
}

/// Binds pods and makes them ready; ends those whose image says so; removes the deleted.
async fn fake_kubelet(client: kube::Client) {
    let all: Api<Pod> = Api::all(client.clone());
    let mut events = std::pin::pin!(watcher::watcher(all, watcher::Config::default()));
    let mut address = 0;
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => pod,
            _ => continue,
        };
        let namespace = pod.metadata.namespace.clone().unwrap();
        let name = pod.metadata.name.clone().unwrap();
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        if pod.metadata.deletion_timestamp.is_some() {
            let now = kube::api::DeleteParams {
                grace_period_seconds: Some(0),
                ..Default::default()
            };
            let _ = api.delete(&name, &now).await;
            continue;
        }
        let spec = pod.spec.as_ref().unwrap();
        let image = spec.containers[0].image.clone().unwrap_or_default();
        if spec.node_name.is_none() {
            if image == "unbound" {
                continue;
            }
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}});
            let bytes = serde_json::to_vec(&binding).unwrap();
            let request = http::Request::post(format!(
                "/api/v1/namespaces/{namespace}/pods/{name}/binding"
            ))
            .header("content-type", "application/json")
            .body(bytes)
            .unwrap();
            let _: Result<Value, _> = client.request(request).await;
            continue;
        }
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .unwrap_or("Pending");
        if phase != "Pending" {
            continue;
        }
        address += 1;
        let ready = if image == "unready" { "False" } else { "True" };
        let now = api::clock::rfc3339(jiff::Timestamp::now());
        let status = match image.as_str() {
            "succeed" => json!({"phase": "Succeeded"}),
            "fail" => json!({"phase": "Failed"}),
            _ => {
                json!({"phase": "Running", "startTime": now, "podIP": format!("10.244.0.{address}"),
                "podIPs": [{"ip": format!("10.244.0.{address}")}],
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]})
            }
        };
        let patch = json!({ "status": status });
        let _ = api
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await;
    }
}
