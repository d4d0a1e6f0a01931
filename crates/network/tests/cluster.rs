//! Proxy and DNS driven by an API server in this process, as a node's server drives them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::clock::SystemClock;
use apiserver::pki::{Names, Pki};
use apiserver::{ApiServer, UserInfo};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use network::{dns, proxy};
use serde_json::{Value, json};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Node, Pod};
use crate::namespace::on_node;

/// Only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    server: Arc<ApiServer>,
    admin: kube::Client,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
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
        let config = apiserver::Config::new(&pki).unwrap();
        let server = ApiServer::new(config, store, Arc::new(SystemClock))
            .await
            .unwrap();
        let admin = client::in_process(
            server
                .local()
                .as_user(UserInfo::new("kubernetes-admin", &["system:masters"])),
        );
        Self {
            server,
            admin,
            _dir: dir,
        }
    }

    fn as_user(&self, name: &str) -> kube::Client {
        client::in_process(
            self.server
                .local()
                .as_user(UserInfo::new(name, &["system:authenticated"])),
        )
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.admin.clone(), "default")
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.admin.clone(), "default")
    }

    async fn create_service(&self, name: &str, spec: Value) -> Service {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.services()
            .create(
                &PostParams::default(),
                &serde_json::from_value(object).unwrap(),
            )
            .await
            .unwrap()
    }

    /// Points a service at pods.
    async fn point(&self, name: &str, pods: &[&Pod]) {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|p| json!({"addresses": [p.ip], "nodeName": "me"}))
            .collect();
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}],
        });
        let params = PatchParams::apply("test").force();
        self.slices()
            .patch(&format!("{name}-1"), &params, &Patch::Apply(object))
            .await
            .unwrap();
    }
}

/// Waits until `look` finds something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let attempt = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, attempt)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come to be"))
}

fn proxy_config(node: &Node) -> proxy::Config {
    proxy::Config {
        instance: node.instance.clone(),
        node_name: "me".into(),
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        ..proxy::Config::default()
    }
}

fn lookup(pod: &Pod, server: SocketAddr, name: &str) -> Option<Message> {
    let mut request = Message::new(9, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let bytes = request.to_vec().unwrap();
    pod.namespace.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .ok()?;
        socket.connect(server).ok()?;
        socket.send(&bytes).ok()?;
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).ok()?;
        Message::from_vec(&buffer[..length]).ok()
    })
}

fn address(message: &Message) -> Option<IpAddr> {
    message
        .answers
        .iter()
        .find_map(|record| record.data.ip_addr())
}

#[test]
fn services_are_served_and_named() {
    on_node(|| async {
        let cluster = Cluster::start().await;
        let node = Node::new();
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        for pod in [&a, &b] {
            pod.namespace.serve(8080, &pod.attachment.name);
        }
        let client = node.pod("client", &[]).await;

        let stop = CancellationToken::new();
        let running = tokio::spawn(proxy::run(
            proxy_config(&node),
            cluster.as_user("system:kube-proxy"),
            stop.clone(),
        ));
        let dns_stop = CancellationToken::new();
        let dns_ip: IpAddr = "10.96.0.10".parse().unwrap();
        let config = dns::Config {
            listen: vec![SocketAddr::new(node.network.gateway().unwrap().into(), 0)],
            cluster_domain: "cluster.local".into(),
            upstreams: dns::Upstreams::Fixed(Vec::new()),
            service_ip: Some(dns_ip),
            node_name: "me".into(),
            ..dns::Config::default()
        };
        let naming = tokio::spawn(dns::run(config, cluster.admin.clone(), dns_stop.clone()));

        let ports = json!([{"name": "p", "port": 80, "targetPort": 8080}]);
        let made = cluster.create_service("web", json!({"ports": ports})).await;
        let vip: IpAddr = made.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
        cluster.point("web", &[&a]).await;
        let web = SocketAddr::new(vip, 80);
        let served_by = |name: &'static str| {
            let client = &client;
            move || async move { (client.namespace.ask(web).ok()?.0 == name).then_some(()) }
        };
        until("the service", served_by("a")).await;
        cluster.point("web", &[&b]).await;
        until("the other endpoint", served_by("b")).await;

        let server = SocketAddr::new(dns_ip, 53);
        let name = "web.default.svc.cluster.local.";
        let found = until("the name", || async {
            address(&lookup(&client, server, name)?)
        })
        .await;
        assert_eq!(found, vip);
        let dns_name = "kube-dns.kube-system.svc.cluster.local.";
        assert_eq!(
            address(&lookup(&client, server, dns_name).unwrap()),
            Some(dns_ip)
        );

        // The proxy goes and its rules stay; what changed meanwhile is put right by its successor.
        stop.cancel();
        running.await.unwrap().unwrap();
        cluster.point("web", &[&a]).await;
        assert_eq!(client.namespace.ask(web).unwrap().0, "b");
        let stop = CancellationToken::new();
        let running = tokio::spawn(proxy::run(
            proxy_config(&node),
            cluster.as_user("system:kube-proxy"),
            stop.clone(),
        ));
        until("the successor", served_by("a")).await;

        cluster
            .services()
            .delete("web", &DeleteParams::default())
            .await
            .unwrap();
        cluster
            .slices()
            .delete("web-1", &DeleteParams::default())
            .await
            .unwrap();
        let gone = || async {
            let answer = lookup(&client, server, name)?;
            (answer.answers.is_empty() && client.namespace.ask(web).is_err()).then_some(())
        };
        until("the end of the service", gone).await;
        stop.cancel();
        dns_stop.cancel();
        running.await.unwrap().unwrap();
        naming.await.unwrap().unwrap();
    });
}
