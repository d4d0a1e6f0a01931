//! Questions and answers, from the zone alone and over sockets with an upstream server of the
//! test's own.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::zone::{Answer, Fact, Type};
use super::*;

fn put(
    objects: &mut Objects,
    namespace: &str,
    name: &str,
    spec: &Value,
    endpoints: Value,
    ports: &Value,
) {
    let service = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    objects.put_service(Arc::new(serde_json::from_value(service).unwrap()));
    let slice = json!({
        "metadata": {"namespace": namespace, "name": format!("{name}-1"),
            "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    objects.put_slice(Arc::new(serde_json::from_value(slice).unwrap()));
}

fn objects() -> Objects {
    let mut objects = Objects::default();
    let http = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let target = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    let pod = json!([{"addresses": ["10.244.0.7"]}]);
    put(
        &mut objects,
        "default",
        "web",
        &json!({"clusterIP": "10.96.0.5", "ports": http}),
        pod,
        &target,
    );
    let pods = json!([
        {"addresses": ["10.244.0.2"], "hostname": "db-0"},
        {"addresses": ["10.244.0.3"], "hostname": "db-1", "conditions": {"ready": false}},
        {"addresses": ["10.244.0.4"]},
    ]);
    let headless = json!({"clusterIP": "None", "ports": http});
    put(&mut objects, "data", "db", &headless, pods.clone(), &target);
    let mut early = headless;
    early["publishNotReadyAddresses"] = true.into();
    put(&mut objects, "data", "early", &early, pods, &target);
    let alias = |name: &str| json!({"type": "ExternalName", "externalName": name});
    put(
        &mut objects,
        "default",
        "far",
        &alias("Example.org"),
        json!([]),
        &json!([]),
    );
    put(
        &mut objects,
        "default",
        "near",
        &alias("web.default.svc.cluster.local"),
        json!([]),
        &json!([]),
    );
    put(
        &mut objects,
        "default",
        "round",
        &alias("round.default.svc.cluster.local"),
        json!([]),
        &json!([]),
    );
    let dual =
        json!({"clusterIPs": ["10.96.0.6", "fd00::6"], "clusterIP": "10.96.0.6", "ports": http});
    put(
        &mut objects,
        "default",
        "dual",
        &dual,
        json!([]),
        &json!([]),
    );
    let many: Vec<_> = (0..200)
        .map(|n| json!({"addresses": [format!("10.244.9.{n}")]}))
        .collect();
    put(
        &mut objects,
        "default",
        "many",
        &json!({"clusterIP": "None"}),
        many.into(),
        &target,
    );
    objects
}

fn zone() -> Zone {
    let (mut zone, mut objects) = (Zone::new(Some("10.96.0.10".parse().unwrap())), objects());
    for key in objects.take_changed() {
        zone.update(
            &key,
            objects.service(&key).map(AsRef::as_ref),
            objects.slices(&key),
        );
    }
    zone
}

fn show(answer: Answer) -> Vec<String> {
    let Answer::Exists(facts) = answer else {
        return vec!["NXDOMAIN".to_owned()];
    };
    let text = |fact| match fact {
        Fact::Address(ip) => ip.to_string(),
        Fact::Alias(name) => format!("CNAME {name}"),
        Fact::Server {
            target,
            port,
            addresses,
        } => format!("SRV {}:{port} {addresses:?}", target.join(".")),
        Fact::Text(text) => format!("TXT {text}"),
        Fact::Pointer(labels) => format!("PTR {}", labels.join(".")),
        Fact::Authority => "SOA".to_owned(),
        Fact::NameServer => "NS".to_owned(),
    };
    facts.into_iter().map(text).collect()
}

#[test]
fn what_the_zone_answers() {
    let zone = zone();
    let nothing: [&str; 0] = [];
    let gone = ["NXDOMAIN"];
    let table: &[(&str, Type, &[&str])] = &[
        ("web.default.svc", Type::A, &["10.96.0.5"]),
        ("web.default.svc", Type::Aaaa, &nothing),
        ("web.default.svc", Type::Txt, &nothing),
        ("web.other.svc", Type::A, &gone),
        ("other.default.svc", Type::A, &gone),
        ("dual.default.svc", Type::Aaaa, &["fd00::6"]),
        ("dual.default.svc", Type::Any, &["10.96.0.6", "fd00::6"]),
        (
            "_http._tcp.web.default.svc",
            Type::Srv,
            &["SRV web.default.svc:80 [10.96.0.5]"],
        ),
        (
            "web.default.svc",
            Type::Srv,
            &["SRV web.default.svc:80 [10.96.0.5]"],
        ),
        ("_http._udp.web.default.svc", Type::Srv, &gone),
        ("_other._tcp.web.default.svc", Type::Srv, &gone),
        ("_http._tcp.web.default.svc", Type::A, &nothing),
        ("_tcp.web.default.svc", Type::A, &nothing),
        ("x.y.z.web.default.svc", Type::A, &gone),
        ("10-244-0-7.web.default.svc", Type::A, &["10.244.0.7"]),
        ("db.data.svc", Type::A, &["10.244.0.2", "10.244.0.4"]),
        ("db-0.db.data.svc", Type::A, &["10.244.0.2"]),
        ("db-1.db.data.svc", Type::A, &gone),
        ("10-244-0-4.db.data.svc", Type::A, &["10.244.0.4"]),
        (
            "_http._tcp.db.data.svc",
            Type::Srv,
            &[
                "SRV 10-244-0-4.db.data.svc:8080 [10.244.0.4]",
                "SRV db-0.db.data.svc:8080 [10.244.0.2]",
            ],
        ),
        (
            "early.data.svc",
            Type::A,
            &["10.244.0.2", "10.244.0.3", "10.244.0.4"],
        ),
        ("db-1.early.data.svc", Type::A, &["10.244.0.3"]),
        ("far.default.svc", Type::A, &["CNAME Example.org"]),
        ("x.far.default.svc", Type::A, &gone),
        ("1-2-3-4.any.pod", Type::A, &["1.2.3.4"]),
        ("1-2-3-4.any.pod", Type::Aaaa, &nothing),
        ("fd00--5.any.pod", Type::Aaaa, &["fd00::5"]),
        ("name.any.pod", Type::A, &gone),
        ("default.svc", Type::A, &nothing),
        ("none.svc", Type::A, &gone),
        ("svc", Type::A, &nothing),
        ("", Type::Soa, &["SOA"]),
        ("", Type::Ns, &["NS"]),
        ("", Type::A, &nothing),
        ("ns.dns", Type::A, &["10.96.0.10"]),
        ("dns-version", Type::Txt, &["TXT 1.1.0"]),
        ("other", Type::A, &gone),
    ];
    for (name, kind, expected) in table {
        let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
        assert_eq!(
            show(zone.answer(&labels, *kind)),
            *expected,
            "{name} {kind:?}"
        );
    }
}

#[test]
fn reverse_names() {
    let zone = zone();
    let names = |ip: &str| {
        zone.reverse(ip.parse().unwrap())
            .map(|facts| show(Answer::Exists(facts)))
    };
    assert_eq!(names("10.96.0.5").unwrap(), ["PTR web.default.svc"]);
    assert_eq!(
        names("10.244.0.2").unwrap(),
        ["PTR db-0.db.data.svc", "PTR db-0.early.data.svc"]
    );
    assert_eq!(names("10.244.0.99"), None);
}

#[test]
fn services_come_and_go() {
    let (mut zone, mut objects) = (zone(), objects());
    let key = crate::services::Key {
        namespace: "data".into(),
        name: "db".into(),
    };
    let gone = objects.service(&key).unwrap().clone();
    objects.remove_service(&gone);
    zone.update(&key, None, objects.slices(&key));
    assert_eq!(
        zone.answer(&["db", "data", "svc"], Type::A),
        Answer::NoSuchName
    );
    assert_eq!(
        zone.answer(&["data", "svc"], Type::A),
        Answer::Exists(Vec::new()),
        "the namespace has another"
    );
    let key = crate::services::Key {
        namespace: "data".into(),
        name: "early".into(),
    };
    zone.update(&key, None, None);
    assert_eq!(zone.answer(&["data", "svc"], Type::A), Answer::NoSuchName);
    assert_eq!(zone.reverse("10.244.0.2".parse().unwrap()), None);
}

/// An upstream that knows one name, and one whose answer is too large for UDP.
async fn upstream() -> (SocketAddr, Arc<AtomicU32>) {
    let sockets = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = sockets.local_addr().unwrap();
    let tcp = tokio::net::TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let answer = |bytes: &[u8], whole: bool| {
        let request = Message::from_vec(bytes).unwrap();
        let name = request.queries[0].name().clone();
        let mut answer = reply::response(&request, ResponseCode::NoError);
        let text = name.to_lowercase().to_string();
        if text == "large.org." && !whole {
            answer.metadata.truncation = true;
        } else if text == "example.org." || text == "large.org." {
            answer.add_answer(Record::from_rdata(
                name,
                60,
                RData::A(A::new(192, 0, 2, 80)),
            ));
        } else {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer.to_vec().unwrap()
    };
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = sockets.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::Relaxed);
            // Something else first: an answer to another question must not be taken.
            let mut forged = Message::from_vec(&buffer[..length]).unwrap();
            forged.metadata.message_type = MessageType::Response;
            forged.metadata.id = forged.metadata.id.wrapping_add(1);
            let _ = sockets.send_to(&forged.to_vec().unwrap(), from).await;
            let _ = sockets
                .send_to(&answer(&buffer[..length], false), from)
                .await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut bytes).await.unwrap();
            let bytes = answer(&bytes, true);
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, asked)
}

struct Running {
    address: SocketAddr,
    resolver: Arc<Resolver>,
    metrics: Metrics,
    _stop: tokio_util::sync::DropGuard,
}

fn start(upstreams: Vec<SocketAddr>) -> Running {
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        upstreams: Upstreams::Fixed(upstreams),
        service_ip: Some("10.96.0.10".parse().unwrap()),
        ..Config::default()
    };
    let mut server = Server::bind(config).unwrap();
    *server.resolver.zone.write() = zone();
    server.resolver.ready.store(true, Ordering::Release);
    let stop = CancellationToken::new();
    let (address, metrics) = (server.addresses()[0], server.config.metrics.clone());
    let sockets = server.sockets.remove(0);
    tokio::spawn(sockets.serve(server.resolver.clone(), metrics.clone(), stop.clone()));
    Running {
        address,
        resolver: server.resolver,
        metrics,
        _stop: stop.drop_guard(),
    }
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

impl Running {
    async fn udp(&self, bytes: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(bytes, self.address).await.unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.udp(&request(name, kind).to_vec().unwrap()).await
    }
}

fn records(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|r| format!("{} {} {}", r.name, r.record_type(), r.data))
        .collect()
}

#[tokio::test]
async fn answers_over_udp() {
    let server = start(Vec::new());
    let web = server
        .ask("Web.default.svc.Cluster.local.", RecordType::A)
        .await;
    assert!(web.metadata.authoritative && web.metadata.recursion_available);
    assert_eq!(
        records(&web.answers),
        ["Web.default.svc.Cluster.local. A 10.96.0.5"],
        "as it was asked"
    );
    assert_eq!(web.answers[0].ttl, reply::TTL);

    let none = server
        .ask("none.default.svc.cluster.local.", RecordType::A)
        .await;
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(none.authorities[0].record_type(), RecordType::SOA);
    let no_data = server
        .ask("web.default.svc.cluster.local.", RecordType::AAAA)
        .await;
    assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
    assert_eq!(no_data.authorities[0].record_type(), RecordType::SOA);

    let srv = server
        .ask("_http._tcp.db.data.svc.cluster.local.", RecordType::SRV)
        .await;
    assert_eq!((srv.answers.len(), srv.additionals.len()), (2, 2));
    let near = server
        .ask("near.default.svc.cluster.local.", RecordType::A)
        .await;
    assert_eq!(
        records(&near.answers),
        [
            "near.default.svc.cluster.local. CNAME web.default.svc.cluster.local.",
            "web.default.svc.cluster.local. A 10.96.0.5"
        ]
    );
    let round = server
        .ask("round.default.svc.cluster.local.", RecordType::A)
        .await;
    assert!(round.answers.len() <= 10, "an alias of itself ends");
    let reverse = server.ask("5.0.96.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(
        records(&reverse.answers),
        ["5.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local."]
    );
    let text = server
        .ask("dns-version.cluster.local.", RecordType::TXT)
        .await;
    assert_eq!(
        records(&text.answers),
        ["dns-version.cluster.local. TXT 1.1.0"]
    );
}

#[tokio::test]
async fn large_answers_are_cut_for_udp_and_whole_over_tcp() {
    let server = start(Vec::new());
    let name = "many.default.svc.cluster.local.";
    let plain = server.ask(name, RecordType::A).await;
    assert!(plain.metadata.truncation && !plain.answers.is_empty());
    let mut bigger = request(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    bigger.set_edns(edns);
    let cut = server.udp(&bigger.to_vec().unwrap()).await;
    assert!(cut.metadata.truncation && cut.answers.len() > plain.answers.len());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        let bytes = request(name, RecordType::A).to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut bytes).await.unwrap();
        let whole = Message::from_vec(&bytes).unwrap();
        assert_eq!(
            (whole.answers.len(), whole.metadata.truncation),
            (200, false)
        );
    }
}

#[tokio::test]
async fn other_names_are_asked_upstream_and_kept() {
    let (upstream, asked) = upstream().await;
    let server = start(vec![upstream]);
    for _ in 0..3 {
        let answer = server.ask("example.org.", RecordType::A).await;
        assert_eq!(records(&answer.answers), ["example.org. A 192.0.2.80"]);
        assert!(!answer.metadata.authoritative);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the answer was kept");
    let large = server.ask("large.org.", RecordType::A).await;
    assert_eq!(large.answers.len(), 1, "asked again over TCP");
    let far = server
        .ask("far.default.svc.cluster.local.", RecordType::A)
        .await;
    assert_eq!(
        records(&far.answers),
        [
            "far.default.svc.cluster.local. CNAME Example.org.",
            "example.org. A 192.0.2.80"
        ],
        "an alias is followed, as clients do not"
    );
    let none = server.ask("none.org.", RecordType::A).await;
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    server.metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("coredns_dns_responses_total{rcode=\"NXDOMAIN\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn without_an_upstream_only_other_names_fail() {
    let closed = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let server = start(vec![closed]);
    let failed = server.ask("example.org.", RecordType::A).await;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    let web = server
        .ask("web.default.svc.cluster.local.", RecordType::A)
        .await;
    assert_eq!(web.answers.len(), 1);
}

#[tokio::test]
async fn nothing_is_denied_before_the_zone_is_known() {
    let server = start(Vec::new());
    server.resolver.ready.store(false, Ordering::Release);
    let answer = server
        .ask("web.default.svc.cluster.local.", RecordType::A)
        .await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn malformed_requests_get_an_error_and_answers_get_nothing() {
    let server = start(Vec::new());
    let mut update = request("web.default.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    let mut two = request("a.", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    let mut response = request("a.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for silent in [&[0_u8; 3][..], &response.to_vec().unwrap()] {
        socket.send_to(silent, server.address).await.unwrap();
    }
    let mut broken = request("a.", RecordType::A).to_vec().unwrap();
    broken.truncate(14);
    assert_eq!(
        server.udp(&broken).await.metadata.response_code,
        ResponseCode::FormErr
    );
    assert_eq!(
        server
            .udp(&two.to_vec().unwrap())
            .await
            .metadata
            .response_code,
        ResponseCode::FormErr
    );
    let code = server
        .udp(&update.to_vec().unwrap())
        .await
        .metadata
        .response_code;
    assert!(
        matches!(code, ResponseCode::NotImp | ResponseCode::FormErr),
        "{code}"
    );
    // The server has answered what came later: had it answered the silent ones, that would be here
    // by now.
    assert!(socket.try_recv(&mut [0; 64]).is_err());
}
