//! Runs the cases, and what they share: a runtime in a temporary directory, an image made from
//! this very program, calls over the real CRI socket.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cri::v1::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use futures::future::BoxFuture;
use runtime::{
    Config, Runtime,
    images::ImageStore,
    network::{Attached, Attachment, NetworkError, PodNetwork},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A case: its name, and what it does with a node of its own.
pub type Case = (&'static str, fn(Node) -> BoxFuture<'static, ()>);

pub fn main(cases: Vec<Case>) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What cargo-nextest asks of a test program.
    if args.iter().any(|a| a == "--list") {
        if !args.iter().any(|a| a == "--ignored") {
            for (name, _) in &cases {
                println!("{name}: test");
            }
        }
        return;
    }
    let exact = args.iter().any(|a| a == "--exact");
    let filter: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    for (name, case) in cases {
        let chosen = |f: &&String| {
            if exact {
                f.as_str() == name
            } else {
                name.contains(f.as_str())
            }
        };
        if !filter.is_empty() && !filter.iter().any(chosen) {
            continue;
        }
        if !rustix::process::geteuid().is_root() {
            println!("{name}: skipped: needs root");
            continue;
        }
        let outcome = std::panic::catch_unwind(move || run(case));
        println!("{name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(outcome.is_err());
    }
    std::process::exit(i32::from(failed > 0));
}

fn run(case: fn(Node) -> BoxFuture<'static, ()>) {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::Builder::new()
        .prefix("corten-runtime-")
        .tempdir()
        .unwrap();
    let path = directory.path().to_owned();
    let outcome = executor.block_on(async {
        let node = Node::start(&path).await;
        let inner = node.clone();
        // Spawned so that a panic still leads to the clean-up below.
        let outcome = tokio::spawn(async move { case(inner).await }).await;
        node.clean().await;
        outcome
    });
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// A server as a process of its own, for tests that kill it.
pub fn server(mut args: impl Iterator<Item = std::ffi::OsString>) {
    let directory = PathBuf::from(args.next().unwrap());
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    executor.block_on(async {
        let _node = Node::start(&directory).await;
        std::future::pending::<()>().await;
    });
}

/// Starts a [`server`] on a directory: the process, and a node to speak to it.
pub async fn separate(node: &Node, directory: &Path) -> (std::process::Child, Node) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("server").arg(directory);
    separate_as(command, node, directory).await
}

/// The same by a command of one's own.
pub async fn separate_as(
    mut command: std::process::Command,
    node: &Node,
    directory: &Path,
) -> (std::process::Child, Node) {
    let mut child = command.spawn().unwrap();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the server ended at once: {status}");
        }
        match cri::client::connect(&directory.join("cri.sock")).await {
            Ok((cri, images)) => {
                let node = Node {
                    cri,
                    images,
                    ..node.clone()
                };
                return (child, node);
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A network that has nothing but loopback.
pub struct Loopback {
    pub broken: AtomicBool,
}

#[async_trait::async_trait]
impl PodNetwork for Loopback {
    async fn ready(&self) -> Result<(), String> {
        if self.broken.load(Ordering::Relaxed) {
            Err("the test says so".into())
        } else {
            Ok(())
        }
    }

    async fn add(&self, attachment: &Attachment) -> Result<Attached, NetworkError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(NetworkError {
                operation: "add",
                sandbox: attachment.sandbox_id.clone(),
                reason: "the test says so".into(),
            });
        }
        let path = attachment.netns.clone();
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(path).unwrap();
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .unwrap();
            let status = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(status.unwrap().success());
        })
        .join()
        .unwrap();
        Ok(Attached {
            addresses: vec!["10.9.9.9".parse().unwrap()],
        })
    }

    async fn check(&self, _: &Attachment) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn del(&self, _: &Attachment) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn set_pod_cidrs(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }
}

/// A runtime serving on a socket, and its clients.
#[derive(Clone)]
pub struct Node {
    pub directory: PathBuf,
    pub runtime: Arc<Runtime>,
    pub network: Arc<Loopback>,
    pub cri: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
    shutdown: CancellationToken,
}

pub fn config(directory: &Path) -> Config {
    Config {
        root: directory.join("root"),
        state_dir: directory.join("state"),
        cgroup_parent: format!("/corten-test-{}", std::process::id()),
        shim: std::env::current_exe().unwrap(),
    }
}

impl Node {
    pub async fn start(directory: &Path) -> Self {
        let network = Arc::new(Loopback {
            broken: AtomicBool::new(false),
        });
        let runtime = Runtime::open(config(directory), network.clone())
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let socket = directory.join("cri.sock");
        let serving = runtime.serve(&socket, shutdown.clone());
        tokio::spawn(async move { serving.await.unwrap() });
        let (cri, images) = loop {
            match cri::client::connect(&socket).await {
                Ok(clients) => break clients,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self {
            directory: directory.to_owned(),
            runtime,
            network,
            cri,
            images,
            shutdown,
        }
    }

    /// Ends every pod, so that nothing of the test stays on the machine.
    pub async fn clean(&self) {
        let mut cri = self.cri.clone();
        if let Ok(list) = cri
            .list_pod_sandbox(v1::ListPodSandboxRequest::default())
            .await
        {
            for sandbox in list.into_inner().items {
                let request = v1::RemovePodSandboxRequest {
                    pod_sandbox_id: sandbox.id,
                };
                if let Err(error) = cri.remove_pod_sandbox(request).await {
                    println!("clean-up: {error}");
                }
            }
        }
        self.shutdown.cancel();
        let parent = config(&self.directory).cgroup_parent;
        let hierarchies = runtime::shim::cgroup::Hierarchies::detect();
        runtime::shim::cgroup::remove(&hierarchies, &parent);
    }

    /// The image `test.local/guest:latest`, made from this program.
    pub fn guest_image(&self) -> String {
        let archive = self.directory.join("guest.tar");
        super::cases::archive::docker(&archive, &["test.local/guest:latest"], &[guest_layer()]);
        self.runtime.images().import(&archive, None).unwrap();
        "test.local/guest:latest".to_owned()
    }

    pub fn sandbox_config(&self, name: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.into(),
                namespace: "default".into(),
                uid: format!("uid-{name}"),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.directory.join("logs").join(name).display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/pod-{name}", config(&self.directory).cgroup_parent),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container as i32,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub fn container_config(&self, command: &[&str]) -> v1::ContainerConfig {
        let command = ["/guest", "guest"]
            .iter()
            .chain(command)
            .map(|s| (*s).to_owned())
            .collect();
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: "main".into(),
                attempt: 0,
            }),
            image: Some(v1::ImageSpec {
                image: "test.local/guest:latest".into(),
                ..Default::default()
            }),
            command,
            log_path: "main.log".into(),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container as i32,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            labels: HashMap::from([("app".to_owned(), "guest".to_owned())]),
            ..Default::default()
        }
    }

    pub async fn sandbox(&self, name: &str) -> String {
        let request = v1::RunPodSandboxRequest {
            config: Some(self.sandbox_config(name)),
            runtime_handler: String::new(),
        };
        self.cri
            .clone()
            .run_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .pod_sandbox_id
    }

    pub async fn create(&self, sandbox: &str, config: v1::ContainerConfig) -> String {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: None,
        };
        self.cri
            .clone()
            .create_container(request)
            .await
            .unwrap()
            .into_inner()
            .container_id
    }

    pub async fn start_container(&self, id: &str) -> Result<(), tonic::Status> {
        let request = v1::StartContainerRequest {
            container_id: id.into(),
        };
        self.cri.clone().start_container(request).await.map(drop)
    }

    /// Creates and starts.
    pub async fn run(&self, sandbox: &str, config: v1::ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        self.start_container(&id).await.unwrap();
        id
    }

    pub async fn status(&self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest {
            container_id: id.into(),
            verbose: false,
        };
        self.cri
            .clone()
            .container_status(request)
            .await
            .unwrap()
            .into_inner()
            .status
            .unwrap()
    }

    /// Waits, by events, until the container has ended.
    pub async fn ended(&self, id: &str) -> v1::ContainerStatus {
        let wait = async {
            let events = self
                .cri
                .clone()
                .get_container_events(v1::GetEventsRequest {})
                .await;
            let mut events = events.unwrap().into_inner();
            loop {
                let status = self.status(id).await;
                if status.state == v1::ContainerState::ContainerExited as i32 {
                    return status;
                }
                events.message().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap()
    }

    pub async fn exec(&self, id: &str, command: &[&str]) -> v1::ExecSyncResponse {
        let request = v1::ExecSyncRequest {
            container_id: id.into(),
            cmd: ["/guest", "guest"]
                .iter()
                .chain(command)
                .map(|s| (*s).to_owned())
                .collect(),
            timeout: 30,
        };
        self.cri
            .clone()
            .exec_sync(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// The log of a sandbox's `main` container: stream, tag, text of each line.
    pub fn log(&self, sandbox: &str) -> Vec<(String, String, String)> {
        let path = self.directory.join("logs").join(sandbox).join("main.log");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                let fields: Vec<&str> = line.splitn(4, ' ').collect();
                assert!(fields[0].ends_with('Z') && fields[0].len() == 30, "{line}");
                (
                    fields[1].to_owned(),
                    fields[2].to_owned(),
                    fields[3].to_owned(),
                )
            })
            .collect()
    }

    pub fn store(&self) -> Arc<ImageStore> {
        Arc::clone(self.runtime.images())
    }
}

/// A layer with this program and what a container needs beside it.
pub fn guest_layer() -> Vec<u8> {
    use super::cases::archive::Layer;
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    Layer::new()
        .directory("tmp", 0o1777)
        .directory("etc", 0o755)
        .file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/guest\napp:x:1000:1000:app:/home:/guest\n",
        )
        .file(
            "etc/group",
            0o644,
            b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
        )
        .file("guest", 0o755, &program)
        .finish()
}
