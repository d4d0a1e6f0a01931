//! An API server, a pretended runtime and a kubelet of one test, each on its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::clock::SystemClock;
use apiserver::pki::{Names, Pki};
use apiserver::{ApiServer, UserInfo};
use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerStatus, Event, Namespace, Node, Pod, ServiceAccount,
};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use kubelet::{Config, Kubelet, ServerTls};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::pretended_runtime::Runtime;

/// A condition that does not come is a failure; one that comes is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Cluster {
    pub admin: Client,
    pub node: Client,
    pub runtime: Runtime,
    pub pki: Pki,
    pub dir: tempfile::TempDir,
    socket: PathBuf,
    serving: tokio::task::JoinHandle<()>,
    running: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    _server: Arc<ApiServer>,
}

impl Cluster {
    /// With a kubelet whose node is Ready.
    pub async fn start() -> Self {
        let mut cluster = Self::bare().await;
        cluster.start_kubelet();
        cluster.node_ready().await;
        cluster
    }

    pub async fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::ensure(
            &dir.path().join("pki"),
            &Names {
                cluster_domain: "cluster.local".into(),
                ..Names::default()
            },
            jiff::Timestamp::now(),
        )
        .unwrap();
        let seal = apiserver::seal::AesGcm::new(&pki.encryption_key).unwrap();
        let options = store::Options {
            seal: Some(Arc::new(seal)),
            ..store::Options::default()
        };
        let store = store::Store::open(dir.path().join("store"), options).unwrap();
        let mut config = apiserver::Config::new(&pki).unwrap();
        config.advertise_address = [192, 0, 2, 1].into();
        let server = ApiServer::new(config, store, Arc::new(SystemClock))
            .await
            .unwrap();
        let as_user = |name: &str, groups: &[&str]| {
            client::in_process(server.local().as_user(UserInfo::new(name, groups)))
        };
        let admin = as_user("kubernetes-admin", &["system:masters"]);
        let node = as_user("system:node:n1", &["system:nodes"]);
        let runtime = Runtime::new();
        let socket = dir.path().join("cri.sock");
        let serving = runtime.serve(&socket);
        let cluster = Self {
            admin,
            node,
            runtime,
            pki,
            dir,
            socket,
            serving,
            running: None,
            _server: server,
        };
        cluster.make_namespace("default").await;
        cluster.make_namespace("kube-node-lease").await;
        cluster
    }

    async fn make_namespace(&self, name: &str) {
        let object: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        // The server may have it already.
        let _ = Api::all(self.admin.clone())
            .create(&PostParams::default(), &object)
            .await;
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        let api: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), name);
        let _ = api.create(&PostParams::default(), &account).await;
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(
            "n1",
            self.dir.path().join("kubelet"),
            &self.socket,
            self.node.clone(),
        );
        // No cgroups are made: the directory holds none.
        config.cgroup_mount = self.dir.path().join("no-cgroups");
        config.node_ip = Some([127, 0, 0, 1].into());
        config.listen = ([127, 0, 0, 1], 0).into();
        let serving = self
            .pki
            .issue_server(
                "system:node:n1",
                &["127.0.0.1".to_owned()],
                jiff::Timestamp::now(),
            )
            .unwrap();
        config.tls = Some(ServerTls {
            certificate_chain: serving.certificate.clone().into_bytes(),
            private_key: serving.key.clone().into_bytes(),
            client_ca: self.pki.ca_pem().as_bytes().to_vec(),
        });
        config
    }

    pub fn start_kubelet(&mut self) {
        let shutdown = CancellationToken::new();
        let kubelet = Kubelet::new(self.config()).unwrap();
        let token = shutdown.clone();
        let task = tokio::spawn(async move { kubelet.run(token).await.unwrap() });
        self.running = Some((shutdown, task));
    }

    pub async fn stop_kubelet(&mut self) {
        let (shutdown, task) = self.running.take().unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    pub async fn node_ready(&self) -> Node {
        self.node_that(|node| condition_of_node(node, "Ready").as_deref() == Some("True"))
            .await
    }

    pub async fn node_that(&self, wanted: impl Fn(&Node) -> bool) -> Node {
        let api: Api<Node> = Api::all(self.admin.clone());
        let condition = |node: Option<&Node>| node.is_some_and(&wanted);
        let found = tokio::time::timeout(PATIENCE, await_condition(api, "n1", condition)).await;
        found.expect("the node in time").unwrap().unwrap()
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), "default")
    }

    /// Makes a pod bound to the node.
    pub async fn create(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = "n1".into();
        if spec.get("automountServiceAccountToken").is_none() {
            spec["automountServiceAccountToken"] = false.into();
        }
        let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap()
    }

    pub async fn config_map(&self, name: &str, data: Value) {
        let map = json!({"metadata": {"name": name}, "data": data});
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        let api: Api<ConfigMap> = Api::namespaced(self.admin.clone(), "default");
        api.create(&PostParams::default(), &map).await.unwrap();
    }

    /// Waits for a pod to be as wanted.
    pub async fn pod_that(&self, name: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let condition = |pod: Option<&Pod>| pod.is_some_and(&wanted);
        let waiting = await_condition(self.pods(), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => {
                let pod = self.pods().get_opt(name).await.unwrap();
                let status = pod.and_then(|p| p.status);
                panic!(
                    "pod {name} stays {}",
                    serde_json::to_string_pretty(&status).unwrap()
                );
            }
        }
    }

    pub async fn ready(&self, name: &str) -> Pod {
        self.pod_that(name, |pod| {
            condition(pod, "Ready").as_deref() == Some("True")
        })
        .await
    }

    pub async fn gone(&self, name: &str) {
        let waiting = await_condition(self.pods(), name, |pod: Option<&Pod>| pod.is_none());
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("gone in time")
            .unwrap();
    }

    pub async fn delete(&self, name: &str, grace: u32) {
        self.pods()
            .delete(name, &DeleteParams::default().grace_period(grace))
            .await
            .unwrap();
    }

    /// Waits until every one of these events (reason, part of the message) was written.
    pub async fn events(&self, pod: &str, wanted: &[(&str, &str)]) {
        let api: Api<Event> = Api::namespaced(self.admin.clone(), "default");
        let fields = format!("involvedObject.name={pod}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let events = api
                .list(&ListParams::default().fields(&fields))
                .await
                .unwrap()
                .items;
            let missing: Vec<_> = wanted
                .iter()
                .filter(|(reason, text)| {
                    !events.iter().any(|e| {
                        e.reason.as_deref() == Some(reason)
                            && e.message.as_deref().unwrap_or_default().contains(text)
                    })
                })
                .collect();
            if missing.is_empty() {
                return;
            }
            let seen: Vec<_> = events.iter().map(|e| (&e.reason, &e.message)).collect();
            assert!(
                tokio::time::Instant::now() < deadline,
                "no {missing:?} among {seen:#?}"
            );
            // The recorder writes beside the kubelet; there is nothing to wait on but the list.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((shutdown, _)) = &self.running {
            shutdown.cancel();
        }
        self.serving.abort();
        let memory = self.dir.path().join("kubelet/memory");
        let _ = rustix::mount::unmount(&memory, rustix::mount::UnmountFlags::DETACH);
    }
}

pub fn condition(pod: &Pod, name: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|c| c.type_ == name)?.status.clone())
}

pub fn condition_of_node(node: &Node, name: &str) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|c| c.type_ == name)?.status.clone())
}

pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten()
        .find(|c| c.name == name)
}

pub fn waiting_reason(pod: &Pod, name: &str) -> Option<String> {
    container(pod, name)?
        .state
        .as_ref()?
        .waiting
        .as_ref()?
        .reason
        .clone()
}

/// Waits for something that has no watch.
pub async fn until(wanted: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !wanted() {
        assert!(tokio::time::Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
