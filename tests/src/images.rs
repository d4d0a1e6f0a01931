//! Images the tests make themselves, as `docker save` archives of one layer.

use std::path::Path;

use serde_json::json;

/// A file of an image: path, mode, content.
pub type File<'a> = (&'a str, u32, &'a [u8]);

/// Writes an archive with an image of these files.
pub fn archive(to: &Path, name: &str, config: serde_json::Value, files: &[File<'_>]) {
    let layer = layer(files);
    let image = configuration(config, &layer);
    let config_name = format!("{}.json", digest(image.as_bytes()).replace(':', "-"));
    let manifest =
        json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    let mut archive = tar::Builder::new(std::fs::File::create(to).expect("archive"));
    append(&mut archive, &config_name, 0o644, image.as_bytes());
    append(&mut archive, "layer.tar", 0o644, &layer);
    append(&mut archive, "manifest.json", 0o644, manifest.as_bytes());
    archive.finish().expect("archive");
}

/// A layer with these files.
pub fn layer(files: &[File<'_>]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        append(&mut layer, path, *mode, content);
    }
    layer.into_inner().expect("layer")
}

/// The configuration of an image of one layer.
pub fn configuration(config: serde_json::Value, layer: &[u8]) -> String {
    json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    .to_string()
}

/// Debian's busybox, where it is there and needs no libraries.
pub fn busybox() -> Option<Vec<u8>> {
    let program = std::fs::read(crate::find("busybox")?).ok()?;
    let dynamic = program.windows(9).any(|w| w == b"/ld-linux");
    (!dynamic).then_some(program)
}

fn append<W: std::io::Write>(to: &mut tar::Builder<W>, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    to.append_data(&mut header, path, content).expect("append");
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}
