//! Debian's `docker-registry` on the loopback of a cluster's node, with images pushed by hand.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    thread,
};

use serde_json::json;

use crate::{images, world::World};

/// Who may pull from it.
pub const USER: &str = "someone";
/// With this password.
pub const PASSWORD: &str = "s3cret";
/// That password, hashed with bcrypt.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";
/// Both as HTTP's basic authentication has them.
const BASIC: &str = "c29tZW9uZTpzM2NyZXQ=";

/// See the module. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`, on the node.
    pub address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one that wants [`USER`] and [`PASSWORD`]; none when there is no such program here.
    pub fn start(world: &World, folder: &Path) -> Option<Registry> {
        let program = crate::find("docker-registry")?;
        let folder = folder.join("registry");
        std::fs::create_dir(&folder).expect("registry's folder");
        std::fs::write(folder.join("htpasswd"), format!("{USER}:{HASH}\n")).expect("htpasswd");
        let config = json!({
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": "127.0.0.1:0"},
            "auth": {"htpasswd": {"realm": "test", "path": folder.join("htpasswd")}},
        });
        std::fs::write(folder.join("config.yml"), config.to_string()).expect("configuration");
        let mut child = world
            .on_node(program)
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the registry");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on ")?;
                rest.split(['"', ',', ' ']).next().map(str::to_owned)
            })
            .expect("the registry listens");
        thread::spawn(move || lines.for_each(drop));
        Some(Registry { child, address })
    }

    /// Puts an image of these files there.
    pub fn push(
        &self,
        world: &World,
        repository: &str,
        tag: &str,
        config: serde_json::Value,
        files: &[images::File<'_>],
    ) {
        let layer = images::layer(files);
        let config = images::configuration(config, &layer).into_bytes();
        let descriptor = |data: &[u8], kind: &str| json!({"mediaType": kind, "digest": images::digest(data), "size": data.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": descriptor(&config, "application/vnd.docker.container.image.v1+json"),
            "layers": [descriptor(&layer, "application/vnd.docker.image.rootfs.diff.tar")],
        });
        let address = self.address.clone();
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        world.visit_node(move || {
            for blob in [&layer, &config] {
                let uploads = format!("/v2/{repository}/blobs/uploads/");
                let answer = request(&address, "POST", &uploads, "text/plain", &[]);
                let location = answer
                    .lines()
                    .find_map(|l| l.strip_prefix("Location: "))
                    .expect("a place for the upload");
                let path = location.trim().split_once(&address).expect("its path").1;
                let path = format!("{path}&digest={}", images::digest(blob));
                request(&address, "PUT", &path, "application/octet-stream", blob);
            }
            let kind = "application/vnd.docker.distribution.manifest.v2+json";
            let path = format!("/v2/{repository}/manifests/{tag}");
            request(
                &address,
                "PUT",
                &path,
                kind,
                manifest.to_string().as_bytes(),
            );
        });
    }
}

/// One request, which has to succeed: the whole answer.
fn request(address: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connect to the registry");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Basic {BASIC}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("send");
    stream.write_all(body).expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("receive");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 2"),
        "{method} {path}: {answer}"
    );
    answer
}
