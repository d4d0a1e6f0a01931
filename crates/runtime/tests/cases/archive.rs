//! Image archives made by hand.

use std::{io::Write, path::Path};

use serde_json::json;

/// A layer being written.
pub struct Layer {
    entries: Vec<Entry>,
}

struct Entry {
    header: tar::Header,
    extended: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
}

impl Layer {
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    pub fn entry(
        mut self,
        kind: tar::EntryType,
        path: &str,
        mode: u32,
        link: Option<&str>,
        data: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        // Set by hand: the library refuses hostile paths, and these tests are about them.
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(link) = link {
            fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        self.entries.push(Entry {
            header,
            extended: Vec::new(),
            data: data.to_vec(),
        });
        self
    }

    /// Changes the owner of the entry before.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        let header = &mut self.entries.last_mut().unwrap().header;
        header.set_uid(uid);
        header.set_gid(gid);
        self
    }

    /// Gives the entry before an extended header.
    pub fn extended(mut self, key: &str, value: &[u8]) -> Self {
        self.entries
            .last_mut()
            .unwrap()
            .extended
            .push((key.to_owned(), value.to_vec()));
        self
    }

    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(tar::EntryType::Directory, path, mode, None, &[])
    }

    pub fn file(self, path: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, mode, None, data)
    }

    pub fn finish(self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for mut entry in self.entries {
            if !entry.extended.is_empty() {
                let list = entry
                    .extended
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_slice()));
                tar.append_pax_extensions(list).unwrap();
            }
            entry.header.set_cksum();
            tar.append(&entry.header, entry.data.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }
}

fn digest(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

fn configuration(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|l| digest(l)).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Entrypoint": ["/guest", "guest"], "Cmd": ["sleep"], "Env": ["FROM=image"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
    });
    serde_json::to_vec(&config).unwrap()
}

fn add(tar: &mut tar::Builder<std::fs::File>, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, data).unwrap();
}

/// Writes what `docker save` would.
pub fn docker(path: &Path, tags: &[&str], layers: &[Vec<u8>]) {
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    add(&mut tar, "config.json", &configuration(layers));
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    for (name, layer) in names.iter().zip(layers) {
        add(&mut tar, name, layer);
    }
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": names}]);
    add(&mut tar, "manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().unwrap().flush().unwrap();
}

/// Writes an OCI layout, with layers plain or compressed.
pub fn oci(path: &Path, name: &str, layers: &[Vec<u8>], gzip: bool) {
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut blob = |data: &[u8], kind: &str| {
        let digest = digest(data);
        add(
            &mut tar,
            &format!("blobs/{}", digest.replace(':', "/")),
            data,
        );
        json!({"mediaType": kind, "digest": digest, "size": data.len()})
    };
    let config = blob(
        &configuration(layers),
        "application/vnd.oci.image.config.v1+json",
    );
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            if !gzip {
                return blob(layer, "application/vnd.oci.image.layer.v1.tar");
            }
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(layer).unwrap();
            blob(
                &encoder.finish().unwrap(),
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )
        })
        .collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = blob(
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    manifest["annotations"] = json!({"io.containerd.image.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    add(
        &mut tar,
        "oci-layout",
        b"{\"imageLayoutVersion\":\"1.0.0\"}",
    );
    add(&mut tar, "index.json", index.to_string().as_bytes());
    tar.into_inner().unwrap().flush().unwrap();
}

/// The parts of an image as a registry takes them: configuration, layers, manifest.
pub fn parts(layers: &[Vec<u8>]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
    let config = configuration(layers);
    let layers: Vec<Vec<u8>> = layers
        .iter()
        .map(|layer| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(layer).unwrap();
            encoder.finish().unwrap()
        })
        .collect();
    let descriptor = |data: &[u8], kind: &str| json!({"mediaType": kind, "digest": digest(data), "size": data.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": descriptor(&config, "application/vnd.docker.container.image.v1+json"),
        "layers": layers
            .iter()
            .map(|l| descriptor(l, "application/vnd.docker.image.rootfs.diff.tar.gzip"))
            .collect::<Vec<_>>(),
    });
    (config, layers, manifest.to_string().into_bytes())
}

/// The digest of some content.
pub fn digest_of(data: &[u8]) -> String {
    digest(data)
}
