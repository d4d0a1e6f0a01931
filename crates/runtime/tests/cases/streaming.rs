//! Exec, attach and port-forward into real containers, over WebSockets.

use std::time::Duration;

use cri::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::Node;

/// A WebSocket client, as small as can be.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn open(url: &str, protocol: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Self { stream }
    }

    async fn send(&mut self, channel: u8, data: &[u8]) {
        // A mask of zeros is a mask.
        let mut frame = vec![0x82, 0x80 | (data.len() + 1) as u8, 0, 0, 0, 0, channel];
        frame.extend_from_slice(data);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next message: channel and data; none at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let work = async {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => usize::from(self.stream.read_u16().await.ok()?),
                127 => self.stream.read_u64().await.ok()? as usize,
                short => usize::from(short),
            };
            let mut data = vec![0; length];
            self.stream.read_exact(&mut data).await.ok()?;
            (first & 15 == 2).then(|| (data[0], data[1..].to_vec()))
        };
        tokio::time::timeout(Duration::from_secs(30), work)
            .await
            .unwrap()
    }

    /// Reads one channel until it holds a text.
    async fn until(&mut self, channel: u8, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            let (from, data) = self
                .next()
                .await
                .unwrap_or_else(|| panic!("ended after {seen:?}"));
            if from == channel {
                seen.push_str(&String::from_utf8_lossy(&data));
            }
        }
    }

    /// Reads everything to the end: the status, and what came on the output.
    async fn rest(&mut self) -> (serde_json::Value, String) {
        let (mut status, mut output) = (Vec::new(), Vec::new());
        while let Some((channel, data)) = self.next().await {
            match channel {
                1 => output.extend(data),
                3 => status.extend(data),
                _ => {}
            }
        }
        (
            serde_json::from_slice(&status).unwrap_or_default(),
            String::from_utf8(output).unwrap(),
        )
    }
}

async fn exec_url(node: &Node, id: &str, command: &[&str], tty: bool) -> String {
    let request = v1::ExecRequest {
        container_id: id.into(),
        cmd: ["/guest", "guest"]
            .iter()
            .chain(command)
            .map(|s| (*s).to_owned())
            .collect(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    node.cri
        .clone()
        .exec(request)
        .await
        .unwrap()
        .into_inner()
        .url
}

pub async fn exec_carries_streams_and_exit_codes(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("exec").await;
    let id = node.run(&sandbox, node.container_config(&["sleep"])).await;
    let url = exec_url(&node, &id, &["cat"], false).await;
    let mut client = Client::open(&url, "v5.channel.k8s.io").await;
    client.send(0, b"through and back").await;
    client.send(255, &[0]).await;
    let (status, output) = client.rest().await;
    assert_eq!(
        (status["status"].as_str(), output.as_str()),
        (Some("Success"), "through and back")
    );
    let url = exec_url(&node, &id, &["exit", "9"], false).await;
    let (status, _) = Client::open(&url, "v4.channel.k8s.io").await.rest().await;
    assert_eq!(status["details"]["causes"][0]["message"], "9");
    // A terminal: it echoes, has the size it was given, and is a terminal.
    let url = exec_url(&node, &id, &["terminal"], true).await;
    let mut client = Client::open(&url, "v5.channel.k8s.io").await;
    client.send(4, b"{\"Width\":123,\"Height\":45}").await;
    client.until(1, "123x45").await;
    client.send(0, b"typed\r").await;
    client.until(1, "got typed").await;
    assert_eq!(client.rest().await.0["status"], "Success");
    // A command that is not there.
    let request = v1::ExecRequest {
        container_id: id.clone(),
        cmd: vec!["nothing".into()],
        tty: false,
        stdin: false,
        stdout: true,
        stderr: false,
    };
    let url = node
        .cri
        .clone()
        .exec(request)
        .await
        .unwrap()
        .into_inner()
        .url;
    let (status, _) = Client::open(&url, "v4.channel.k8s.io").await.rest().await;
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("exec: \"nothing\": executable file not found in $PATH"),
        "{message}"
    );
}

pub async fn exec_that_takes_too_long_is_killed(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("slow").await;
    let id = node.run(&sandbox, node.container_config(&["sleep"])).await;
    let request = v1::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["/guest".into(), "guest".into(), "sleep".into()],
        timeout: 1,
    };
    let error = node.cri.clone().exec_sync(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    let processes = node.exec(&id, &["processes"]).await.stdout;
    let processes = String::from_utf8(processes).unwrap();
    assert_eq!(
        processes.matches("guest guest sleep").count(),
        1,
        "{processes}"
    );
}

/// Attaches one client that only looks on, and then one that brings the input.
async fn attach_two(node: &Node, id: &str) -> (Client, Client) {
    let attach = |stdin| v1::AttachRequest {
        container_id: id.to_owned(),
        stdin,
        tty: false,
        stdout: true,
        stderr: true,
    };
    let mut cri = node.cri.clone();
    let watching = cri.attach(attach(false)).await.unwrap().into_inner().url;
    let mut watcher = Client::open(&watching, "v4.channel.k8s.io").await;
    // Who has been greeted misses nothing from then on.
    assert_eq!(watcher.next().await, Some((1, Vec::new())));
    let typing = cri.attach(attach(true)).await.unwrap().into_inner().url;
    let client = Client::open(&typing, "v5.channel.k8s.io").await;
    (watcher, client)
}

pub async fn attach_follows_a_running_container(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("attach").await;
    let mut config = node.container_config(&["cat"]);
    (config.stdin, config.stdin_once) = (true, true);
    let id = node.run(&sandbox, config).await;
    let (mut watcher, mut client) = attach_two(&node, &id).await;
    client.send(0, b"line one\n").await;
    client.until(1, "line one\n").await;
    watcher.until(1, "line one\n").await;
    // The end of the one client's input is the end of the container's.
    client.send(255, &[0]).await;
    assert_eq!(client.rest().await.0["status"], "Success");
    assert_eq!(watcher.rest().await.0["status"], "Success");
    assert_eq!(node.ended(&id).await.exit_code, 0);
    assert_eq!(node.log("attach")[0].2, "line one");
}

pub async fn the_one_client_misses_nothing(node: Node) {
    node.guest_image();
    // The second gives its output up before it is gone.
    for command in ["greet", "closes"] {
        let sandbox = node.sandbox(command).await;
        let mut config = node.container_config(&[command]);
        (config.stdin, config.stdin_once) = (true, true);
        let id = node.run(&sandbox, config).await;
        while node.log(command).is_empty() {
            tokio::task::yield_now().await;
        }
        // Who only looks on takes nothing away.
        let (mut watcher, mut client) = attach_two(&node, &id).await;
        client.until(1, "welcome\n").await;
        client.send(255, &[0]).await;
        let (status, rest) = client.rest().await;
        assert_eq!(
            (status["status"].as_str(), rest.as_str()),
            (Some("Success"), "")
        );
        assert_eq!(watcher.rest().await.1, "");
    }
}

pub async fn ports_are_forwarded_into_the_pod(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("ports").await;
    node.run(&sandbox, node.container_config(&["serve", "8080"]))
        .await;
    let open = |port| {
        let request = v1::PortForwardRequest {
            pod_sandbox_id: sandbox.clone(),
            port: vec![port],
        };
        let mut cri = node.cri.clone();
        async move {
            let url = cri.port_forward(request).await.unwrap().into_inner().url;
            Client::open(&url, "v4.channel.k8s.io").await
        }
    };
    // Until the program listens, connections are refused, and say so.
    loop {
        let mut client = open(8080).await;
        client.send(0, b"into the pod").await;
        let mut seen = [String::new(), String::new()];
        while let Some((channel, data)) = client.next().await {
            seen[usize::from(channel)].push_str(&String::from_utf8_lossy(&data));
            if seen[0].contains("into the pod") {
                break;
            }
        }
        if seen[0].contains("into the pod") {
            break;
        }
        assert!(seen[1].contains("connection refused"), "{seen:?}");
    }
    let mut client = open(9).await;
    client.until(1, "connection refused").await;
}
