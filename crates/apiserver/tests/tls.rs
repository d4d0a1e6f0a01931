//! Over TLS: client certificates, and the machine's own kubectl.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use apiserver::http::listen::tls_config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, namespace};

pub struct Served {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

pub async fn serve(cluster: &Cluster) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls_config(&cluster.pki.serving, cluster.pki.ca_pem()).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&cluster.server).serve(listener, tls, shutdown.clone()));
    Served {
        address,
        shutdown,
        task,
    }
}

struct Kubectl {
    config: std::path::PathBuf,
    home: std::path::PathBuf,
}

impl Kubectl {
    async fn run(&self, arguments: &str, input: &str) -> (bool, String) {
        let (config, home) = (self.config.clone(), self.home.clone());
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut child = Command::new("kubectl")
                .arg("--kubeconfig")
                .arg(config)
                .args(arguments)
                .env("HOME", home)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            // A command that reads nothing closes the pipe early.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap();
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            (output.status.success(), text)
        })
        .await
        .unwrap()
    }

    #[track_caller]
    fn expect(answer: (bool, String), word: &str) -> String {
        assert!(
            answer.0 && answer.1.contains(word),
            "no {word:?} in: {}",
            answer.1
        );
        answer.1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works() {
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        println!("skipped: no kubectl on this machine");
        return;
    }
    let cluster = Cluster::start().await;
    namespace(&cluster.admin(), "default").await;
    let served = serve(&cluster).await;
    let config = cluster.dir.path().join("admin.kubeconfig");
    let url = format!("https://{}", served.address);
    let now = jiff::Timestamp::now();
    cluster
        .pki
        .ensure_kubeconfig(&config, &url, "kubernetes-admin", &["system:masters"], now)
        .unwrap();
    let kubectl = Kubectl {
        config,
        home: cluster.dir.path().to_owned(),
    };
    let expect = Kubectl::expect;

    expect(kubectl.run("version", "").await, "Server Version: v1.36.0");
    expect(kubectl.run("get namespaces", "").await, "kube-system");
    expect(kubectl.run("auth whoami", "").await, "kubernetes-admin");
    expect(kubectl.run("auth can-i delete pods", "").await, "yes");
    expect(kubectl.run("api-resources", "").await, "deployments");
    expect(kubectl.run("api-versions", "").await, "apps/v1");
    expect(kubectl.run("cluster-info", "").await, "control plane");
    expect(
        kubectl
            .run("create deployment web --image=nginx --replicas=2", "")
            .await,
        "created",
    );
    expect(kubectl.run("get deployment web -o wide", "").await, "nginx");
    expect(
        kubectl.run("scale deployment web --replicas=3", "").await,
        "scaled",
    );
    expect(
        kubectl
            .run("get deployment web -o jsonpath={.spec.replicas}", "")
            .await,
        "3",
    );
    expect(
        kubectl
            .run("set image deployment/web nginx=nginx:2", "")
            .await,
        "image updated",
    );
    expect(
        kubectl.run("expose deployment web --port=80", "").await,
        "exposed",
    );
    expect(
        kubectl.run("get service web -o yaml", "").await,
        "clusterIP: 10.96.",
    );
    expect(kubectl.run("describe deployment web", "").await, "nginx:2");
    expect(
        kubectl.run("explain pod.spec.containers.image", "").await,
        "FIELD: image",
    );
    expect(
        kubectl.run("label deployment web tier=front", "").await,
        "labeled",
    );
    expect(
        kubectl.run("get deployments -l tier=front -A", "").await,
        "web",
    );
    expect(
        kubectl.run("annotate deployment web note=x", "").await,
        "annotated",
    );
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1'}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: q}\n";
    expect(kubectl.run("apply -f -", map).await, "configmap/m created");
    expect(
        kubectl.run("apply -f -", map).await,
        "configmap/m unchanged",
    );
    let changed = map.replace("'1'", "'2'");
    let (same, text) = kubectl.run("diff -f -", &changed).await;
    assert!(!same && text.contains("+  a: \"2\""), "{text}");
    expect(
        kubectl
            .run("apply --server-side --force-conflicts -f -", &changed)
            .await,
        "configmap/m serverside-applied",
    );
    expect(
        kubectl.run("replace -f -", &changed).await,
        "configmap/m replaced",
    );
    expect(
        kubectl.run("get secret s -o jsonpath={.data.p}", "").await,
        "cQ==",
    );
    let (done, text) = kubectl
        .run("apply -f -", &map.replace("data: {a", "dta: {a"))
        .await;
    assert!(!done && text.contains("unknown field \"dta\""), "{text}");
    expect(kubectl.run("create token default", "").await, "ey");
    expect(kubectl.run("delete configmap m", "").await, "deleted");
    expect(kubectl.run("get events", "").await, "No resources");
    expect(
        kubectl.run("get --raw /readyz?verbose", "").await,
        "readyz check passed",
    );

    served.shutdown.cancel();
    served.task.await.unwrap();
}
