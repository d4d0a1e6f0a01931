//! Pulls from a real registry, Debian's `docker-registry`, on loopback.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use cri::v1;

use super::archive;
use crate::harness::{Node, guest_layer};

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
    let digest = registry.push("group/guest", "v1", &[guest_layer()]);
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
    let mut config = node.container_config(&["echo", "pulled"]);
    config.image.as_mut().unwrap().image = id;
    let container = node.run(&sandbox, config).await;
    let status = node.ended(&container).await;
    assert_eq!(
        (status.exit_code, status.image_ref),
        (0, format!("{name}@{digest}"))
    );

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
        &[archive::Layer::new().file("x", 0o644, b"fresh").finish()],
    );
    let (_, layers, _) =
        archive::parts(&[archive::Layer::new().file("x", 0o644, b"fresh").finish()]);
    let hex = archive::digest_of(&layers[0]).replace("sha256:", "");
    let path = blobs.join(&hex[..2]).join(&hex).join("data");
    let mut data = std::fs::read(&path).unwrap();
    let last = data.len() - 1;
    data[last] ^= 1;
    std::fs::write(&path, data).unwrap();
    let damaged = pull(
        &node,
        &format!("{}/group/damaged:v1", registry.address),
        None,
    )
    .await
    .unwrap_err();
    assert!(
        damaged.message().to_lowercase().contains("digest"),
        "{damaged}"
    );
}

pub async fn private_images_need_credentials(node: Node) {
    let Some(registry) = Registry::start(&node, true) else {
        println!("skipped: docker-registry is not installed");
        return;
    };
    registry.push(
        "private/app",
        "v1",
        &[archive::Layer::new().file("x", 0o644, b"x").finish()],
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
