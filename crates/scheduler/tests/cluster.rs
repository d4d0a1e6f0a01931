//! An API server with a scheduler, nodes without kubelets, and waiting for things.

use std::{fmt::Debug, sync::Arc, time::Duration};

use api::clock::SystemClock;
use apiserver::{
    ApiServer, Config, UserInfo,
    pki::{Names, Pki},
};
use client::{Context, Informers, Scope};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub client: kube::Client,
    server: Arc<ApiServer>,
    _scheduler: DropGuard,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// With nodes of these names.
    pub async fn start(nodes: &[&str]) -> Cluster {
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
        let store = store::Store::open(dir.path().join("store"), options).unwrap();
        let config = Config::new(&pki).unwrap();
        let server = ApiServer::new(config, store, Arc::new(SystemClock))
            .await
            .unwrap();
        let sign_in = |name: &str, groups: &[&str]| {
            client::in_process(server.local().as_user(UserInfo::new(name, groups)))
        };
        let shutdown = CancellationToken::new();
        let scheduler = Context::new(sign_in("system:kube-scheduler", &[]), "default-scheduler");
        tokio::spawn(scheduler::run(scheduler, shutdown.clone()));
        let cluster = Cluster {
            client: sign_in("admin", &["system:masters"]),
            server: server.clone(),
            _scheduler: shutdown.drop_guard(),
            _dir: dir,
        };
        cluster
            .create::<k8s_openapi::api::core::v1::ServiceAccount>(
                "default",
                json!({"metadata": {"name": "default"}}),
            )
            .await;
        for name in nodes {
            cluster.create_node(name).await;
        }
        cluster
    }

    async fn create_node(&self, name: &str) {
        self.create::<Node>("", json!({"metadata": {"name": name}}))
            .await;
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let status = json!({"status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        api.patch_status(name, &params, &Patch::Merge(&status))
            .await
            .unwrap();
        // There is no controller to see that it is ready.
        let open = json!({"spec": {"taints": null}});
        api.patch(name, &params, &Patch::Merge(&open))
            .await
            .unwrap();
    }

    /// Creates an object in its namespace, or a cluster-scoped one with an empty namespace.
    pub async fn create<K>(&self, namespace: &str, mut object: Value) -> K
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let object = serde_json::from_value(object).unwrap();
        let created = api.create(&PostParams::default(), &object).await.unwrap();
        serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()
    }

    /// Waits until an object of the default namespace is as wanted, and answers it.
    pub async fn wait<K>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> Arc<K>
    where
        K: client::informer::Object + Resource<DynamicType = ()> + Debug,
    {
        let informers = Informers::new(self.client.clone());
        let informer = informers.get::<K>(Scope::All);
        let mut changes = informer.subscribe();
        let seen = || informer.store().get("default", name);
        let waiting = async {
            informer.synced().await;
            loop {
                if let Some(object) = seen().filter(|object| wanted(object)) {
                    return object;
                }
                changes.next().await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(object) => object,
            Err(_) => panic!("waited in vain for {name}: {:#?}", seen()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.end_watches();
    }
}
