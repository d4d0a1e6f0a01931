//! The built-in pod network against the kernel.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use network::bridge::{Bridge, Config};
use network::netlink::route::Route;
use network::netlink::socket::{Family, Socket};
use runtime::network::{Attachment, Bandwidth, PodNetwork, PortMapping};
use rustix::net::{AddressFamily, SocketType};

use crate::namespace::{Namespace, ask, cable, instance, on_node, serve};

pub struct Node {
    pub instance: String,
    pub network: Arc<Bridge>,
    pub config: Config,
    _state: tempfile::TempDir,
}

pub struct Pod {
    pub namespace: Namespace,
    pub attachment: Attachment,
    pub ip: IpAddr,
}

impl Node {
    pub fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let instance = instance();
        let config = Config {
            instance: instance.clone(),
            state_dir: state.path().to_owned(),
            pod_cidrs: vec!["10.244.7.0/24".parse().unwrap()],
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            mtu: None,
        };
        Self {
            instance,
            network: Bridge::open(config.clone()).unwrap(),
            config,
            _state: state,
        }
    }

    pub async fn pod(&self, name: &str, ports: &[(u16, u16)]) -> Pod {
        let namespace = Namespace::new();
        let mappings = ports
            .iter()
            .map(|(host, pod)| host_port("TCP", *host, *pod))
            .collect();
        let attachment = attachment(&namespace, name, mappings);
        let ip = self.network.add(&attachment).await.unwrap().addresses[0];
        Pod {
            namespace,
            attachment,
            ip,
        }
    }
}

pub fn attachment(
    namespace: &Namespace,
    name: &str,
    port_mappings: Vec<PortMapping>,
) -> Attachment {
    Attachment {
        sandbox_id: format!("sandbox-{name}"),
        netns: namespace.path.clone(),
        namespace: "default".into(),
        name: name.into(),
        uid: name.into(),
        port_mappings,
        bandwidth: Bandwidth::default(),
    }
}

pub fn host_port(protocol: &str, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        protocol: protocol.into(),
        container_port,
        host_port,
        host_ip: None,
    }
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[test]
fn pods_reach_each_other_the_node_and_the_outside() {
    on_node(|| async {
        let outside = Namespace::new();
        cable(&outside, "192.0.2.1/24", "192.0.2.9/24");
        let node = Node::new();
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        b.namespace.serve(80, "b");
        assert_eq!(
            a.namespace.ask(at(b.ip, 80)).unwrap(),
            ("b".into(), a.ip),
            "pod to pod keeps its address"
        );
        assert_eq!(ask(at(b.ip, 80)).unwrap().0, "b", "node to pod");
        serve(TcpListener::bind("0.0.0.0:81").unwrap(), "node");
        assert_eq!(
            a.namespace.ask("192.0.2.1:81".parse().unwrap()).unwrap(),
            ("node".into(), a.ip)
        );
        outside.serve(82, "outside");
        let seen = a.namespace.ask("192.0.2.9:82".parse().unwrap()).unwrap();
        assert_eq!(
            seen,
            ("outside".into(), "192.0.2.1".parse().unwrap()),
            "leaves the cluster masqueraded"
        );
        serve(TcpListener::bind("127.0.0.1:83").unwrap(), "private");
        let loopback = a.namespace.run(|| {
            let gateway = node.network.gateway().unwrap();
            let status = std::process::Command::new("ip")
                .args([
                    "route",
                    "replace",
                    "127.0.0.1/32",
                    "via",
                    &gateway.to_string(),
                    "table",
                    "local",
                ])
                .status();
            let _ = status;
            ask("127.0.0.1:83".parse().unwrap())
        });
        assert!(loopback.is_err(), "the node's loopback is not for pods");
    });
}

#[test]
fn add_check_and_del_are_idempotent_and_survive_a_restart() {
    on_node(|| async {
        let node = Node::new();
        let a = node.pod("a", &[(8080, 80)]).await;
        assert_eq!(
            node.network.add(&a.attachment).await.unwrap().addresses,
            [a.ip]
        );
        node.network.check(&a.attachment).await.unwrap();
        a.namespace.serve(80, "a");

        let again = Bridge::open(node.config.clone()).unwrap();
        again.check(&a.attachment).await.unwrap();
        assert_eq!(again.add(&a.attachment).await.unwrap().addresses, [a.ip]);
        assert_eq!(ask(at(a.ip, 80)).unwrap().0, "a");
        assert_eq!(
            ask("127.0.0.1:8080".parse().unwrap()).unwrap().0,
            "a",
            "host port after a restart"
        );

        again.del(&a.attachment).await.unwrap();
        again.del(&a.attachment).await.unwrap();
        assert!(again.check(&a.attachment).await.is_err());
        assert!(
            ask("127.0.0.1:8080".parse().unwrap()).is_err(),
            "host port is gone"
        );
    });
}

#[test]
fn del_works_after_the_namespace_vanished() {
    on_node(|| async {
        let node = Node::new();
        let a = node.pod("a", &[(8081, 80)]).await;
        let attachment = a.attachment.clone();
        a.namespace.unpin();
        drop(a);
        node.network.del(&attachment).await.unwrap();
        let b = node.pod("b", &[(8081, 80)]).await;
        b.namespace.serve(80, "b");
        assert_eq!(ask("127.0.0.1:8081".parse().unwrap()).unwrap().0, "b");
    });
}

#[test]
fn host_ports_answer_from_everywhere() {
    on_node(|| async {
        let outside = Namespace::new();
        cable(&outside, "192.0.2.1/24", "192.0.2.9/24");
        let node = Node::new();
        let (a, b) = (node.pod("a", &[(8082, 80)]).await, node.pod("b", &[]).await);
        a.namespace.serve(80, "a");
        let host: SocketAddr = "192.0.2.1:8082".parse().unwrap();
        assert_eq!(
            outside.ask(host).unwrap(),
            ("a".into(), "192.0.2.9".parse().unwrap())
        );
        assert_eq!(b.namespace.ask(host).unwrap(), ("a".into(), b.ip));
        assert_eq!(
            a.namespace.ask(host).unwrap().0,
            "a",
            "a pod reaches itself"
        );
        assert_eq!(ask(host).unwrap().0, "a");
        assert_eq!(ask("127.0.0.1:8082".parse().unwrap()).unwrap().0, "a");
    });
}

#[test]
fn a_range_can_come_later() {
    on_node(|| async {
        let state = tempfile::tempdir().unwrap();
        let config = Config {
            instance: instance(),
            state_dir: state.path().to_owned(),
            pod_cidrs: Vec::new(),
            cluster_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            mtu: Some(1400),
        };
        let network = Bridge::open(config.clone()).unwrap();
        assert!(network.ready().await.unwrap_err().contains("range"));
        network
            .set_pod_cidrs(&["10.9.0.0/24".to_owned()])
            .await
            .unwrap();
        network.ready().await.unwrap();
        assert_eq!(network.gateway(), Some("10.9.0.1".parse().unwrap()));
        let config = Config {
            pod_cidrs: Vec::new(),
            ..config
        };
        let again = Bridge::open(config).unwrap();
        again.ready().await.unwrap();
        assert_eq!(
            again.gateway(),
            network.gateway(),
            "a restart goes on with the range"
        );
        again
            .set_pod_cidrs(&["10.8.0.0/24".to_owned()])
            .await
            .unwrap();
        let mut route = Route::open().unwrap();
        let link = route.link(again.name()).unwrap().unwrap().index;
        let addresses = route.addresses(Some(link)).unwrap();
        let expected: IpAddr = "10.8.0.1".parse().unwrap();
        let v4: Vec<_> = addresses.into_iter().filter(IpAddr::is_ipv4).collect();
        assert_eq!(v4, [expected], "another range takes its place");
        let pod = Namespace::new();
        let attachment = attachment(&pod, "later", Vec::new());
        let ip = again.add(&attachment).await.unwrap().addresses[0];
        pod.serve(80, "later");
        assert_eq!(ask(at(ip, 80)).unwrap().0, "later");
        network::cleanup(network.name().trim_start_matches("corten-")).unwrap();
    });
}

#[test]
fn many_pods_at_once() {
    on_node(|| async {
        let node = Node::new();
        let mut pods = Vec::new();
        for n in 0..40 {
            pods.push(node.pod(&n.to_string(), &[]).await);
        }
        let mut ips: Vec<_> = pods.iter().map(|p| p.ip).collect();
        ips.dedup();
        assert_eq!(ips.len(), 40);
        pods[39].namespace.serve(80, "last");
        assert_eq!(
            pods[0].namespace.ask(at(pods[39].ip, 80)).unwrap().0,
            "last"
        );
        for pod in &pods {
            node.network.del(&pod.attachment).await.unwrap();
        }
        network::cleanup(&node.instance).unwrap();
    });
}

#[test]
fn flushed_rules_come_back() {
    on_node(|| async {
        let node = Node::new();
        let a = node.pod("a", &[(8083, 80)]).await;
        a.namespace.serve(80, "a");
        network::netlink::nft::delete_table(
            &mut Socket::open(Family::Netfilter).unwrap(),
            network::netlink::nft::Family::V4,
            &network::names::pods_table(&node.instance),
        )
        .unwrap();
        assert!(ask("127.0.0.1:8083".parse().unwrap()).is_err());
        node.network.ready().await.unwrap();
        assert_eq!(ask("127.0.0.1:8083".parse().unwrap()).unwrap().0, "a");
    });
}

#[test]
fn bandwidth_is_limited() {
    on_node(|| async {
        let node = Node::new();
        let namespace = Namespace::new();
        let mut attachment = attachment(&namespace, "limited", Vec::new());
        attachment.bandwidth = Bandwidth {
            ingress: 8_000_000,
            egress: 80_000_000_000,
        };
        node.network.add(&attachment).await.unwrap();
        let show = || {
            let output = std::process::Command::new("tc")
                .args(["qdisc", "show"])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let (host, pod) = (show(), namespace.run(show));
        assert!(
            host.contains("tbf") && host.contains("rate 8Mbit"),
            "{host}"
        );
        assert!(pod.contains("tbf") && pod.contains("rate 80Gbit"), "{pod}");
    });
}

#[test]
fn udp_clients_follow_a_host_port_to_its_next_pod() {
    on_node(|| async {
        let node = Node::new();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(3)))
            .unwrap();
        for name in ["a", "b"] {
            let namespace = Namespace::new();
            let attachment = attachment(&namespace, name, vec![host_port("UDP", 8053, 53)]);
            node.network.add(&attachment).await.unwrap();
            let server = namespace.run(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
            socket.send_to(b"?", "127.0.0.1:8053").unwrap();
            let mut buffer = [0; 8];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(name.as_bytes(), from).unwrap();
            let (length, _) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], name.as_bytes());
            node.network.del(&attachment).await.unwrap();
        }
    });
}

#[test]
fn pods_share_a_host_port_on_different_addresses() {
    on_node(|| async {
        let outside = Namespace::new();
        cable(&outside, "192.0.2.1/24", "192.0.2.9/24");
        let node = Node::new();
        let addresses = ["127.0.0.1", "192.0.2.1"];
        let mut pods = Vec::new();
        for ip in addresses {
            let namespace = Namespace::new();
            let mut mapping = host_port("TCP", 8084, 80);
            mapping.host_ip = Some(ip.parse().unwrap());
            node.network
                .add(&attachment(&namespace, ip, vec![mapping]))
                .await
                .unwrap();
            namespace.serve(80, ip);
            pods.push(namespace);
        }
        for ip in addresses {
            assert_eq!(ask(at(ip.parse().unwrap(), 8084)).unwrap().0, ip);
        }
        // As a client does that binds to the node's address.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &at("192.0.2.1".parse().unwrap(), 0)).unwrap();
        rustix::net::connect(&socket, &at("127.0.0.1".parse().unwrap(), 8084)).unwrap();
        let mut text = String::new();
        std::net::TcpStream::from(socket)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "127.0.0.1 192.0.2.1");

        let namespace = Namespace::new();
        let taken = attachment(&namespace, "third", vec![host_port("TCP", 8084, 80)]);
        let error = node.network.add(&taken).await.unwrap_err().to_string();
        assert!(error.contains("host port 8084 is held"), "{error}");
    });
}
