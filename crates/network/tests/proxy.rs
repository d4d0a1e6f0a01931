//! The service proxy against the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::proxy::{Config, Engine};
use network::services::Objects;
use serde_json::{Value, json};

use crate::bridge::{Node, Pod};
use crate::namespace::{Namespace, ask, cable, on_node, serve};

struct Proxy {
    engine: Engine,
    objects: Objects,
}

fn service(name: &str, spec: &Value) -> Arc<Service> {
    let object = json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(name: &str, protocol: &str, backends: &[(IpAddr, u16)], node: &str) -> Arc<EndpointSlice> {
    let port = backends.first().map_or(80, |(_, port)| *port);
    let endpoints: Vec<_> = backends
        .iter()
        .map(|(ip, _)| json!({"addresses": [ip], "nodeName": node}))
        .collect();
    let object = json!({
        "metadata": {"namespace": "ns", "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "p", "port": port, "protocol": protocol}],
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

impl Proxy {
    fn new(node: &Node) -> Self {
        let config = Config {
            instance: node.instance.clone(),
            node_name: "me".into(),
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            ..Config::default()
        };
        Self {
            engine: Engine::open(config).unwrap(),
            objects: Objects::default(),
        }
    }

    fn apply(&mut self) {
        self.engine.apply(&mut self.objects).unwrap();
    }

    fn serve(&mut self, name: &str, spec: &Value, pods: &[&Pod]) {
        self.objects.put_service(service(name, spec));
        self.point(name, pods);
    }

    fn point(&mut self, name: &str, pods: &[&Pod]) {
        let backends: Vec<_> = pods.iter().map(|p| (p.ip, 8080)).collect();
        self.objects.put_slice(slice(name, "TCP", &backends, "me"));
        self.apply();
    }
}

fn web(ip: &str) -> Value {
    json!({"clusterIP": ip, "ports": [{"name": "p", "port": 80, "protocol": "TCP"}]})
}

fn node_port(ip: &str, port: u16) -> Value {
    json!({"clusterIP": ip, "type": "NodePort",
        "ports": [{"name": "p", "port": 80, "protocol": "TCP", "nodePort": port}]})
}

async fn servers(node: &Node, names: &[&str]) -> Vec<Pod> {
    let mut pods = Vec::new();
    for name in names {
        let pod = node.pod(name, &[]).await;
        pod.namespace.serve(8080, name);
        pods.push(pod);
    }
    pods
}

fn names(answers: impl Iterator<Item = String>) -> BTreeSet<String> {
    answers.collect()
}

#[test]
fn a_service_spreads_over_its_endpoints() {
    on_node(|| async {
        let node = Node::new();
        let pods = servers(&node, &["a", "b", "c"]).await;
        let client = node.pod("client", &[]).await;
        let mut proxy = Proxy::new(&node);
        proxy.serve("web", &web("10.96.0.5"), &pods.iter().collect::<Vec<_>>());
        let vip: SocketAddr = "10.96.0.5:80".parse().unwrap();
        let from_pod = names((0..60).map(|_| client.namespace.ask(vip).unwrap().0));
        assert_eq!(from_pod.len(), 3, "{from_pod:?}");
        assert_eq!(
            client.namespace.ask(vip).unwrap().1,
            client.ip,
            "pods keep their address"
        );
        let from_node = names((0..60).map(|_| ask(vip).unwrap().0));
        assert_eq!(from_node.len(), 3, "{from_node:?}");

        let other_port: SocketAddr = "10.96.0.5:81".parse().unwrap();
        let refused = |e: std::io::Error| e.kind() == std::io::ErrorKind::ConnectionRefused;
        assert!(
            client.namespace.ask(other_port).is_err_and(refused),
            "a port the service does not have"
        );
        proxy.point("web", &[]);
        assert!(
            client.namespace.ask(vip).is_err_and(refused),
            "no endpoints, from a pod"
        );
        assert!(ask(vip).is_err_and(refused), "no endpoints, from the node");
        proxy.point("web", &[&pods[1]]);
        assert_eq!(client.namespace.ask(vip).unwrap().0, "b");
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    for bridged in ["0", "1"] {
        on_node(|| async move {
            let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if std::fs::write(switch, bridged).is_err() {
                println!("skipped: no br_netfilter on this kernel (case {bridged})");
            }
            let node = Node::new();
            let pods = servers(&node, &["a"]).await;
            let mut proxy = Proxy::new(&node);
            proxy.serve("web", &web("10.96.0.5"), &[&pods[0]]);
            assert_eq!(
                pods[0]
                    .namespace
                    .ask("10.96.0.5:80".parse().unwrap())
                    .unwrap()
                    .0,
                "a",
                "bridged: {bridged}"
            );
        });
    }
}

#[test]
fn bridged_frames_shown_to_the_filter_change_nothing() {
    on_node(|| async {
        if std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").is_err() {
            println!("skipped: no br_netfilter on this kernel");
            return;
        }
        let node = Node::new();
        let pods = servers(&node, &["a", "b"]).await;
        let mut proxy = Proxy::new(&node);
        proxy.serve("web", &web("10.96.0.5"), &pods.iter().collect::<Vec<_>>());
        let seen = names((0..40).map(|_| {
            pods[0]
                .namespace
                .ask("10.96.0.5:80".parse().unwrap())
                .unwrap()
                .0
        }));
        assert_eq!(seen.len(), 2);
    });
}

#[test]
fn node_ports_answer_on_every_address() {
    on_node(|| async {
        let outside = Namespace::new();
        cable(&outside, "192.0.2.1/24", "192.0.2.9/24");
        let node = Node::new();
        let pods = servers(&node, &["a"]).await;
        let client = node.pod("client", &[]).await;
        let mut proxy = Proxy::new(&node);
        proxy.serve("web", &node_port("10.96.0.5", 30080), &[&pods[0]]);
        let gateway = IpAddr::from(node.network.gateway().unwrap());
        assert_eq!(
            outside.ask("192.0.2.1:30080".parse().unwrap()).unwrap(),
            ("a".into(), gateway),
            "masqueraded"
        );
        assert_eq!(
            client
                .namespace
                .ask("192.0.2.1:30080".parse().unwrap())
                .unwrap()
                .0,
            "a"
        );
        assert_eq!(ask("192.0.2.1:30080".parse().unwrap()).unwrap().0, "a");
        assert_eq!(
            ask("127.0.0.1:30080".parse().unwrap()).unwrap().0,
            "a",
            "localhost"
        );

        let mut local = node_port("10.96.0.5", 30080);
        local["externalTrafficPolicy"] = "Local".into();
        proxy.serve("web", &local, &[&pods[0]]);
        let seen = outside.ask("192.0.2.1:30080".parse().unwrap()).unwrap();
        assert_eq!(
            seen,
            ("a".into(), "192.0.2.9".parse().unwrap()),
            "policy Local keeps the client's address"
        );
        proxy.serve("web", &node_port("10.96.0.5", 30080), &[]);
        let refused = outside.ask("192.0.2.1:30080".parse().unwrap());
        assert!(refused.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_client_stays_with_its_endpoint() {
    on_node(|| async {
        let node = Node::new();
        let pods = servers(&node, &["a", "b", "c"]).await;
        let mut clients = Vec::new();
        for n in 0..8 {
            clients.push(node.pod(&format!("client{n}"), &[]).await);
        }
        let mut proxy = Proxy::new(&node);
        let mut spec = web("10.96.0.5");
        spec["sessionAffinity"] = "ClientIP".into();
        proxy.serve("web", &spec, &pods.iter().collect::<Vec<_>>());
        let vip: SocketAddr = "10.96.0.5:80".parse().unwrap();
        let mut bound = Vec::new();
        for client in &clients {
            let seen = names((0..10).map(|_| client.namespace.ask(vip).unwrap().0));
            assert_eq!(seen.len(), 1, "{seen:?}");
            bound.extend(seen);
        }
        assert!(
            bound.iter().collect::<BTreeSet<_>>().len() > 1,
            "clients are spread: {bound:?}"
        );
        let mut successor = Proxy::new(&node);
        successor.serve("web", &spec, &pods.iter().collect::<Vec<_>>());
        proxy = successor;
        for (client, before) in clients.iter().zip(&bound) {
            assert_eq!(
                client.namespace.ask(vip).unwrap().0,
                *before,
                "over a restart"
            );
        }
        // The endpoint of the first client goes: it moves, the others of remaining endpoints stay.
        let left: Vec<_> = pods
            .iter()
            .filter(|p| p.attachment.name != bound[0])
            .collect();
        proxy.point("web", &left);
        for (client, before) in clients.iter().zip(&bound) {
            let now = client.namespace.ask(vip).unwrap().0;
            if *before == bound[0] {
                assert_ne!(now, bound[0]);
            } else {
                assert_eq!(now, *before);
            }
        }
    });
}

#[test]
fn no_connection_fails_while_endpoints_change() {
    on_node(|| async {
        let node = Node::new();
        let pods = servers(&node, &["a", "b", "c"]).await;
        let client = node.pod("client", &[]).await;
        let mut proxy = Proxy::new(&node);
        proxy.serve("web", &web("10.96.0.5"), &pods.iter().collect::<Vec<_>>());
        let done = Arc::new(AtomicBool::new(false));
        let (flag, from) = (done.clone(), client.namespace.file.try_clone().unwrap());
        let path = client.namespace.path.clone();
        let worker = std::thread::spawn(move || {
            let mut answers = 0;
            network::netlink::netns::within(&path, &from, || {
                while !flag.load(Ordering::Relaxed) {
                    ask("10.96.0.5:80".parse().unwrap()).unwrap();
                    answers += 1;
                }
                Ok(())
            })
            .unwrap();
            answers
        });
        for round in 0..60 {
            let some: Vec<_> = pods
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != round % 3)
                .map(|(_, p)| p)
                .collect();
            proxy.point("web", &some);
            if round % 10 == 9 {
                // What a restart does: another engine puts a whole table in place of this one's.
                let mut successor = Proxy::new(&node);
                successor.serve("web", &web("10.96.0.5"), &some);
                proxy = successor;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(worker.join().unwrap() > 0);
    });
}

#[test]
fn udp_clients_move_on_when_their_endpoint_goes() {
    on_node(|| async {
        let node = Node::new();
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        for pod in [&a, &b] {
            let socket = pod.namespace.run(|| UdpSocket::bind("0.0.0.0:53").unwrap());
            let name = pod.attachment.name.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            });
        }
        let client = node.pod("client", &[]).await;
        let socket = client
            .namespace
            .run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket
            .set_read_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        let ask = || {
            let mut buffer = [0; 64];
            socket.send_to(b"?", "10.96.0.10:53").unwrap();
            let (length, _) = socket.recv_from(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let mut proxy = Proxy::new(&node);
        let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 53, "protocol": "UDP"}]});
        proxy.objects.put_service(service("dns", &spec));
        proxy
            .objects
            .put_slice(slice("dns", "UDP", &[(a.ip, 53)], "me"));
        proxy.apply();
        assert_eq!(ask(), "a");
        proxy
            .objects
            .put_slice(slice("dns", "UDP", &[(b.ip, 53)], "me"));
        proxy.apply();
        assert_eq!(ask(), "b", "same client port, other endpoint");
    });
}

#[test]
fn external_addresses_and_the_nodes_own_servers() {
    on_node(|| async {
        let outside = Namespace::new();
        cable(&outside, "192.0.2.1/24", "192.0.2.9/24");
        let node = Node::new();
        serve(TcpListener::bind("192.0.2.1:6443").unwrap(), "api");
        let client = node.pod("client", &[]).await;
        let mut proxy = Proxy::new(&node);
        let spec = json!({"clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.50"],
            "ports": [{"name": "p", "port": 443, "protocol": "TCP"}]});
        proxy.objects.put_service(service("kubernetes", &spec));
        proxy.objects.put_slice(slice(
            "kubernetes",
            "TCP",
            &[("192.0.2.1".parse().unwrap(), 6443)],
            "me",
        ));
        proxy.apply();
        assert_eq!(
            client
                .namespace
                .ask("10.96.0.1:443".parse().unwrap())
                .unwrap(),
            ("api".into(), client.ip)
        );
        assert_eq!(ask("10.96.0.1:443".parse().unwrap()).unwrap().0, "api");
        assert_eq!(
            ask("192.0.2.50:443".parse().unwrap()).unwrap().0,
            "api",
            "external address from the node"
        );
    });
}

#[test]
fn five_thousand_services_load() {
    on_node(|| async {
        let node = Node::new();
        let pods = servers(&node, &["a"]).await;
        let mut proxy = Proxy::new(&node);
        for n in 0..5000_u32 {
            let ip = format!("10.96.{}.{}", 1 + n / 250, 1 + n % 250);
            let name = format!("s{n}");
            proxy.objects.put_service(service(&name, &web(&ip)));
            let backends: Vec<_> = (0..3)
                .map(|e| (IpAddr::from([10, 244, 9, (1 + (n + e) % 250) as u8]), 8080))
                .collect();
            proxy
                .objects
                .put_slice(slice(&name, "TCP", &backends, "other"));
        }
        let begun = std::time::Instant::now();
        proxy.apply();
        println!("5000 services of 3 endpoints: {:?}", begun.elapsed());
        let begun = std::time::Instant::now();
        proxy.point("s4999", &[&pods[0]]);
        println!("one endpoint change among them: {:?}", begun.elapsed());
        assert_eq!(ask("10.96.20.250:80".parse().unwrap()).unwrap().0, "a");
        network::cleanup(&node.instance).unwrap();
        assert!(ask("10.96.20.250:80".parse().unwrap()).is_err());
    });
}

#[test]
fn flushed_rules_are_noticed() {
    on_node(|| async {
        let node = Node::new();
        let pods = servers(&node, &["a"]).await;
        let mut proxy = Proxy::new(&node);
        proxy.serve("web", &web("10.96.0.5"), &[&pods[0]]);
        assert!(proxy.engine.is_intact());
        let status = std::process::Command::new("nft")
            .args(["flush", "ruleset"])
            .status();
        if !status.is_ok_and(|status| status.success()) {
            println!("skipped: needs the program nft");
            return;
        }
        assert!(!proxy.engine.is_intact());
        proxy.apply();
        assert_eq!(ask("10.96.0.5:80".parse().unwrap()).unwrap().0, "a");
    });
}
