//! Pulls from a real registry, Debian's `docker-registry`, on loopback.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use cri::v1;

use super::archive::{self, Layer};
use crate::harness::{self, Node, guest_layer};

const USER: &str = "someone";
const PASSWORD: &str = "s3cret";
/// That password, hashed with bcrypt.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

struct Registry {
    child: Child,
    address: String,
    authorization: Option<String>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one; none when there is no such program here.
    fn start(node: &Node, private: bool) -> Option<Self> {
        let directory = node
            .directory
            .join(if private { "private" } else { "public" });
        std::fs::create_dir(&directory).unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            directory.join("data").display()
        );
        if private {
            std::fs::write(directory.join("htpasswd"), format!("{USER}:{HASH}\n")).unwrap();
            config.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                directory.join("htpasswd").display()
            ));
        }
        std::fs::write(directory.join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .args(["serve".as_ref(), directory.join("config.yml").as_os_str()])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().unwrap().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let authorization = private.then(|| {
            use base64::Engine;
            let text =
                base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            format!("Authorization: Basic {text}\r\n")
        });
        Some(Self {
            child,
            address,
            authorization,
        })
    }

    /// One request: the response's head.
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let authorization = self.authorization.as_deref().unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 2"),
            "{method} {path}: {answer}"
        );
        answer
    }

    fn push(&self, repository: &str, tag: &str, layers: &[Vec<u8>]) -> String {
        let (config, layers, manifest) = archive::parts(layers);
        for blob in layers.iter().chain([&config]) {
            let head = self.request(
                "POST",
                &format!("/v2/{repository}/blobs/uploads/"),
                "text/plain",
                &[],
            );
            let location = head
                .lines()
                .find_map(|l| l.strip_prefix("Location: "))
                .unwrap();
            let path = location.trim().split_once(&self.address).unwrap().1;
            let path = format!("{path}&digest={}", archive::digest_of(blob));
            self.request("PUT", &path, "application/octet-stream", blob);
        }
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        self.request(
            "PUT",
            &format!("/v2/{repository}/manifests/{tag}"),
            kind,
            &manifest,
        );
        archive::digest_of(&manifest)
    }
}

async fn pull(
    node: &Node,
    image: &str,
    auth: Option<v1::AuthConfig>,
) -> Result<String, tonic::Status> {
    let request = v1::PullImageRequest {
        image: Some(v1::ImageSpec {
            image: image.into(),
            ..Default::default()
        }),
        auth,
        sandbox_config: None,
    };
    node.images
        .clone()
        .pull_image(request)
        .await
        .map(|r| r.into_inner().image_ref)
}

pub async fn images_are_pulled_and_run(node: Node) {
    let Some(registry) = Registry::start(&node, false) else {
        println!("skipped: docker-registry is not installed");
        return;
    };
    let (program, command) = program();
    let digest = registry.push("group/guest", "v1", &[program]);
    let name = format!("{}/group/guest", registry.address);
    let id = pull(&node, &format!("{name}:v1"), None).await.unwrap();
    assert_eq!(
        pull(&node, &format!("{name}@{digest}"), None)
            .await
            .unwrap(),
        id
    );
    let image = node.store().find(&id).unwrap().unwrap();
    assert_eq!(Vec::from_iter(&image.tags), [&format!("{name}:v1")]);
    assert_eq!(
        Vec::from_iter(&image.digests),
        [&format!("{name}@{digest}")]
    );
    let sandbox = node.sandbox("pulled").await;
    let mut config = node.container_config(&[]);
    config.command = command.iter().map(|s| (*s).to_owned()).collect();
    config.image.as_mut().unwrap().image = id;
    let container = node.run(&sandbox, config).await;
    let status = node.ended(&container).await;
    assert_eq!(
        (status.exit_code, status.image_ref),
        (0, format!("{name}@{digest}"))
    );
    assert_eq!(node.log("pulled")[0].2, "pulled");

    let missing = pull(&node, &format!("{name}:none"), None)
        .await
        .unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    assert!(
        missing
            .message()
            .contains(&format!("{name}:none: not found")),
        "{missing}"
    );
    let nowhere = pull(&node, "127.0.0.1:1/x:v1", None).await.unwrap_err();
    assert!(
        nowhere
            .message()
            .to_lowercase()
            .contains("connection refused"),
        "{nowhere}"
    );
    assert_eq!(
        pull(&node, "NOT/an:image:name", None)
            .await
            .unwrap_err()
            .code(),
        tonic::Code::InvalidArgument
    );
    // What arrives has to be what was asked for.
    let blobs = node
        .directory
        .join("public/data/docker/registry/v2/blobs/sha256");
    registry.push(
        "group/damaged",
        "v1",
        &[Layer::new().file("x", 0o644, b"fresh").finish()],
    );
    let (_, layers, _) = archive::parts(&[Layer::new().file("x", 0o644, b"fresh").finish()]);
    let hex = archive::digest_of(&layers[0]).replace("sha256:", "");
    let path = blobs.join(&hex[..2]).join(&hex).join("data");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    for data in [flipped, cut, Vec::new()] {
        std::fs::write(&path, data).unwrap();
        let name = format!("{}/group/damaged:v1", registry.address);
        let damaged = pull(&node, &name, None).await.unwrap_err();
        assert!(
            damaged.message().to_lowercase().contains("digest"),
            "{damaged}"
        );
        assert!(node.store().find(&name).unwrap().is_none());
    }
    std::fs::write(&path, whole).unwrap();
    pull(
        &node,
        &format!("{}/group/damaged:v1", registry.address),
        None,
    )
    .await
    .unwrap();
}

/// A layer with a program that says "pulled": busybox where it is there and static, as it is a
/// twentieth of this test program, which is the other choice.
fn program() -> (Vec<u8>, &'static [&'static str]) {
    let busybox = std::fs::read("/usr/bin/busybox").unwrap_or_default();
    let dynamic = busybox.windows(9).any(|w| w == b"/ld-linux");
    if busybox.is_empty() || dynamic {
        return (guest_layer(), &["/guest", "guest", "echo", "pulled"]);
    }
    let layer = Layer::new().file("busybox", 0o755, &busybox).finish();
    (layer, &["/busybox", "echo", "pulled"])
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Stands between a node and its registry, and has one large answer stop on its way.
struct Relay {
    address: String,
    /// Told when the answer has stopped.
    stopped: mpsc::Receiver<()>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

/// What becomes of the answer that is stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The connection breaks.
    Breaks,
    /// Nothing comes until the relay is opened.
    Stalls,
}

impl Relay {
    const AFTER: usize = 1 << 20;

    fn start(to: &str, trouble: Trouble) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, stopped) = mpsc::channel();
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let (to, gate) = (to.to_owned(), Arc::clone(&open));
        let done = Arc::new(AtomicBool::new(false));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&to).unwrap();
                let (mut up, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut up, &mut back);
                    let _ = back.shutdown(Shutdown::Write);
                });
                let (tell, gate, done) = (tell.clone(), Arc::clone(&gate), Arc::clone(&done));
                std::thread::spawn(move || {
                    let (mut from, mut into) = (server, client);
                    let (mut passed, mut buffer) = (0, vec![0; 16 << 10]);
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        if into.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                        passed += count;
                        if passed < Self::AFTER || done.swap(true, Ordering::SeqCst) {
                            continue;
                        }
                        let _ = tell.send(());
                        if trouble == Trouble::Breaks {
                            break;
                        }
                        let (open, bell) = &*gate;
                        drop(bell.wait_while(open.lock().unwrap(), |open| !*open));
                    }
                    let _ = into.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            address,
            stopped,
            open,
        }
    }

    fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

pub async fn broken_transfers_are_made_again(node: Node) {
    let Some(registry) = Registry::start(&node, false) else {
        println!("skipped: docker-registry is not installed");
        return;
    };
    let layer = Layer::new().file("large", 0o644, &noise(3 << 20)).finish();
    registry.push("large", "v1", &[layer]);
    let relay = Relay::start(&registry.address, Trouble::Breaks);
    let name = format!("{}/large:v1", relay.address);
    pull(&node, &name, None).await.unwrap();
    relay.stopped.try_recv().unwrap();
    assert!(node.store().find(&name).unwrap().is_some());
}

/// The server is killed with half of a layer there.
pub async fn pulls_cut_by_a_kill_leave_nothing_and_can_be_made_again(node: Node) {
    let Some(registry) = Registry::start(&node, false) else {
        println!("skipped: docker-registry is not installed");
        return;
    };
    let layer = Layer::new().file("large", 0o644, &noise(3 << 20)).finish();
    registry.push("large", "v1", &[layer]);
    let relay = Relay::start(&registry.address, Trouble::Stalls);
    let name = format!("{}/large:v1", relay.address);
    let directory = node.directory.join("killed");
    std::fs::create_dir(&directory).unwrap();
    let (mut server, victim) = harness::separate(&node, &directory).await;
    let cut = tokio::spawn({
        let (victim, name) = (victim.clone(), name.clone());
        async move { pull(&victim, &name, None).await }
    });
    let relay = tokio::task::spawn_blocking(move || {
        relay.stopped.recv().unwrap();
        relay
    })
    .await
    .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    cut.await.unwrap().unwrap_err();
    relay.open();
    let again = Node::start(&directory).await;
    assert!(again.store().find(&name).unwrap().is_none());
    pull(&again, &name, None).await.unwrap();
    let ingest = directory.join("root/images/ingest");
    assert_eq!(std::fs::read_dir(ingest).unwrap().count(), 0);
    assert!(again.store().find(&name).unwrap().is_some());
    again.clean().await;
}

pub async fn private_images_need_credentials(node: Node) {
    let Some(registry) = Registry::start(&node, true) else {
        println!("skipped: docker-registry is not installed");
        return;
    };
    registry.push(
        "private/app",
        "v1",
        &[Layer::new().file("x", 0o644, b"x").finish()],
    );
    let name = format!("{}/private/app:v1", registry.address);
    let auth = |password: &str| {
        Some(v1::AuthConfig {
            username: USER.into(),
            password: password.into(),
            ..Default::default()
        })
    };
    for auth in [None, auth("wrong")] {
        let denied = pull(&node, &name, auth).await.unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied);
        assert!(denied.message().contains("pull access denied"), "{denied}");
        assert!(!denied.message().contains("wrong"), "{denied}");
    }
    pull(&node, &name, auth(PASSWORD)).await.unwrap();
}
