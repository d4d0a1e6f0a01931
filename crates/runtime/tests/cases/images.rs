//! Importing, unpacking and removing images.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::PathBuf,
};

use cri::v1;
use tar::EntryType::{Char, Directory, Fifo, Link, Regular, Symlink};

use super::archive::{self, Layer};
use crate::harness::Node;

/// The directory of an image's uppermost layer.
fn top(node: &Node, image: &runtime::images::Image) -> PathBuf {
    node.store()
        .layers_directory()
        .join(image.layers.last().unwrap())
}

fn import(node: &Node, name: &str, layers: &[Vec<u8>]) -> Result<runtime::images::Image, String> {
    let path = node.directory.join(format!("{name}.tar"));
    archive::docker(&path, &[&format!("test.local/{name}:1")], layers);
    let mut images = node
        .store()
        .import(&path, None)
        .map_err(|e| e.to_string())?;
    Ok(images.remove(0))
}

pub async fn layers_are_unpacked_as_they_are(node: Node) {
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let below = Layer::new()
        .entry(Directory, "data", 0o750, None, &[])
        .owner(7, 8)
        .file("data/gone", 0o644, b"gone")
        .file("data/kept", 0o644, b"kept")
        .entry(Directory, "cover", 0o755, None, &[])
        .file("cover/old", 0o644, b"old")
        .file("set", 0o4755, b"set")
        .file("capable", 0o755, b"x")
        .extended("SCHILY.xattr.security.capability", capability)
        .entry(Symlink, "link", 0o777, Some("data"), &[])
        .finish();
    let above = Layer::new()
        // Parents are left out on purpose: they come from below.
        .entry(Regular, "data/.wh.gone", 0o644, None, &[])
        .file("data/new", 0o600, b"new")
        .entry(Link, "twin", 0o644, Some("data/kept"), &[])
        .entry(Directory, "cover", 0o755, None, &[])
        .file("cover/fresh", 0o644, b"fresh")
        .entry(Regular, "cover/.wh..wh..opq", 0o644, None, &[])
        .file("link/through", 0o644, b"through")
        .entry(Fifo, "pipe", 0o622, None, &[])
        .entry(Char, "device", 0o666, None, &[])
        .finish();
    let image = import(&node, "layers", &[below, above]).unwrap();
    let top = top(&node, &image);
    let data = fs::metadata(top.join("data")).unwrap();
    assert_eq!(
        (data.uid(), data.gid(), data.mode() & 0o7777),
        (7, 8, 0o750)
    );
    assert!(
        fs::symlink_metadata(top.join("data/gone"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(fs::read(top.join("data/through")).unwrap(), b"through");
    assert_eq!(fs::read(top.join("twin")).unwrap(), b"kept");
    assert!(
        fs::symlink_metadata(top.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    // What a container sees is the two together.
    let merged = merged(&node, &image);
    assert_eq!(names(&merged.join("cover")), ["fresh"]);
    assert_eq!(names(&merged.join("data")), ["kept", "new", "through"]);
    let set = fs::metadata(merged.join("set")).unwrap();
    assert_eq!(
        (set.permissions().mode() & 0o7777, set.mtime()),
        (0o4755, 1_000_000_000)
    );
    let mut value = [0; 64];
    let size = rustix::fs::getxattr(
        merged.join("capable"),
        "security.capability",
        &mut value[..],
    )
    .unwrap();
    assert_eq!(&value[..size], capability);
    rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
}

fn names(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Mounts an image's layers read-only.
fn merged(node: &Node, image: &runtime::images::Image) -> PathBuf {
    let target = node.directory.join("merged");
    fs::create_dir_all(&target).unwrap();
    let layers = node.store().layers_directory();
    let lower: Vec<String> = image
        .layers
        .iter()
        .rev()
        .map(|l| layers.join(l).display().to_string())
        .collect();
    let options = format!(
        "lowerdir={}:{}",
        lower.join(":"),
        layers.join("empty").display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount(
        "overlay",
        &target,
        "overlay",
        rustix::mount::MountFlags::RDONLY,
        options.as_c_str(),
    )
    .unwrap();
    target
}

pub async fn hostile_layers_stay_inside(node: Node) {
    let outside = node.directory.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "untouched").unwrap();
    let out = outside.display().to_string();
    let base = || Layer::new().directory("a", 0o755).finish();
    let attempts: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "dots",
            vec![
                Layer::new()
                    .file("../../../../../../../../tmp/corten-escape", 0o644, b"x")
                    .finish(),
            ],
        ),
        (
            "absolute-link",
            vec![
                Layer::new()
                    .entry(Symlink, "a", 0o777, Some(&out), &[])
                    .file("a/secret", 0o644, b"x")
                    .finish(),
            ],
        ),
        (
            "link-below",
            vec![
                Layer::new()
                    .entry(Symlink, "a", 0o777, Some(&out), &[])
                    .finish(),
                Layer::new().file("a/secret", 0o644, b"x").finish(),
            ],
        ),
        (
            "whiteout",
            vec![
                Layer::new()
                    .entry(Symlink, "a", 0o777, Some(&out), &[])
                    .finish(),
                Layer::new()
                    .entry(Regular, "a/.wh.secret", 0o644, None, &[])
                    .finish(),
            ],
        ),
        (
            "opaque",
            vec![
                Layer::new()
                    .entry(Symlink, "a", 0o777, Some(&out), &[])
                    .finish(),
                Layer::new()
                    .entry(Regular, "a/.wh..wh..opq", 0o644, None, &[])
                    .finish(),
            ],
        ),
        (
            "hardlink",
            vec![
                base(),
                Layer::new()
                    .entry(Link, "stolen", 0o644, Some(&format!("{out}/secret")), &[])
                    .finish(),
            ],
        ),
        (
            "file-link",
            vec![
                Layer::new()
                    .entry(Symlink, "f", 0o777, Some(&format!("{out}/secret")), &[])
                    .file("f", 0o644, b"x")
                    .finish(),
            ],
        ),
        (
            "dot-dot-whiteout",
            vec![
                base(),
                Layer::new()
                    .entry(Regular, "a/.wh...", 0o644, None, &[])
                    .finish(),
            ],
        ),
    ];
    for (name, layers) in attempts {
        // Whether it is refused or lands inside does not matter here.
        let _ = import(&node, name, &layers);
        assert_eq!(
            fs::read_to_string(outside.join("secret")).unwrap(),
            "untouched",
            "{name}"
        );
        assert_eq!(names(&outside), ["secret"], "{name}");
        assert_eq!(
            fs::metadata(outside.join("secret")).unwrap().nlink(),
            1,
            "{name}"
        );
        assert!(
            !std::path::Path::new("/tmp/corten-escape").exists(),
            "{name}"
        );
    }
}

pub async fn damaged_images_are_refused_with_the_reason(node: Node) {
    let path = node.directory.join("bad.tar");
    for (content, text) in [
        (b"no archive at all".to_vec(), "not an image archive"),
        (
            Layer::new().file("x", 0o644, b"x").finish(),
            "neither manifest.json nor index.json",
        ),
        (
            Layer::new().file("manifest.json", 0o644, b"{").finish(),
            "manifest.json:",
        ),
        (
            Layer::new()
                .file(
                    "manifest.json",
                    0o644,
                    b"[{\"Config\":\"c\",\"Layers\":[]}]",
                )
                .finish(),
            "c is missing",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let error = node.store().import(&path, None).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(node.store().list().unwrap().is_empty());
    assert!(
        fs::read_dir(node.store().root().join("ingest"))
            .unwrap()
            .next()
            .is_none()
    );
}

pub async fn layers_live_as_long_as_somebody_needs_them(node: Node) {
    let shared = Layer::new().file("shared", 0o644, b"shared").finish();
    let own = |text: &str| Layer::new().file("own", 0o644, text.as_bytes()).finish();
    let one = import(&node, "one", &[shared.clone(), own("one")]).unwrap();
    let two = import(&node, "two", &[shared, own("two")]).unwrap();
    assert_eq!(one.layers[0], two.layers[0]);
    let exists = |layer: &str| node.store().layers_directory().join(layer).exists();
    let remove = |name: &str| {
        let mut images = node.images.clone();
        let image = Some(v1::ImageSpec {
            image: name.into(),
            ..Default::default()
        });
        async move {
            images
                .remove_image(v1::RemoveImageRequest { image })
                .await
                .unwrap()
        }
    };
    remove("test.local/one:1").await;
    assert!(exists(&one.layers[0]) && !exists(&one.layers[1]));
    // A container keeps what it is made of, even without the image.
    let sandbox = node.sandbox("holder").await;
    let mut config = node.container_config(&[]);
    config.image.as_mut().unwrap().image = two.id.clone();
    let id = node.create(&sandbox, config).await;
    remove(&two.id).await;
    remove(&two.id).await;
    assert!(exists(&two.layers[0]) && exists(&two.layers[1]));
    node.cri
        .clone()
        .remove_container(v1::RemoveContainerRequest { container_id: id })
        .await
        .unwrap();
    import(&node, "three", &[own("three")]).unwrap();
    remove("test.local/three:1").await;
    assert!(!exists(&two.layers[0]) && !exists(&two.layers[1]));
}

pub async fn a_second_process_sees_and_changes_the_same_store(node: Node) {
    // As `corten image import` does while the server runs.
    let other = runtime::images::ImageStore::open(node.store().root().to_owned()).unwrap();
    let layer = Layer::new().file("x", 0o644, b"x").finish();
    let path = node.directory.join("other.tar");
    archive::docker(
        &path,
        &["test.local/other:1", "test.local/alias:2"],
        &[layer],
    );
    other.import(&path, None).unwrap();
    let list = node
        .images
        .clone()
        .list_images(v1::ListImagesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.images.len(), 1);
    assert_eq!(
        list.images[0].repo_tags,
        ["test.local/alias:2", "test.local/other:1"]
    );
    assert!(node.store().untag("test.local/alias:2").unwrap());
    assert_eq!(other.list().unwrap()[0].tags.len(), 1);
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let root = node.store().root().to_owned();
            let path = node.directory.join(format!("many-{n}.tar"));
            let common = Layer::new().file("common", 0o644, b"common").finish();
            let own = Layer::new().file("own", 0o644, &[n]).finish();
            archive::docker(&path, &[&format!("test.local/many:{n}")], &[common, own]);
            std::thread::spawn(move || {
                runtime::images::ImageStore::open(root)
                    .unwrap()
                    .import(&path, None)
                    .unwrap();
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(node.store().list().unwrap().len(), 5);
}

pub async fn the_built_in_image_is_made_once_per_program(node: Node) {
    let exe = std::env::current_exe().unwrap();
    let name = "corten.local/tools:latest";
    let image = node.store().ensure_builtin(name, &exe, &["echo"]).unwrap();
    assert_eq!(
        node.store().ensure_builtin(name, &exe, &["echo"]).unwrap(),
        image
    );
    assert_eq!(image.config.entrypoint, ["/corten", "tools"]);
    let sandbox = node.sandbox("tools").await;
    let mut config = node.container_config(&["echo", "from the built-in image"]);
    config.image.as_mut().unwrap().image = "corten.local/tools".into();
    config.command[0] = "/corten".into();
    let id = node.run(&sandbox, config).await;
    assert_eq!(node.ended(&id).await.exit_code, 0);
    assert_eq!(node.log("tools")[0].2, "from the built-in image");
}

pub async fn oci_layouts_are_imported(node: Node) {
    let layer = Layer::new().file("x", 0o644, b"x").finish();
    for (name, gzip) in [("plain", false), ("zipped", true)] {
        let path = node.directory.join(format!("{name}.tar"));
        archive::oci(
            &path,
            &format!("test.local/{name}:1"),
            std::slice::from_ref(&layer),
            gzip,
        );
        let images = node.store().import(&path, None).unwrap();
        assert_eq!(images.len(), 1);
        let image = node
            .store()
            .find(&format!("test.local/{name}:1"))
            .unwrap()
            .unwrap();
        assert_eq!(image.id, images[0].id);
        assert!(
            image
                .digests
                .iter()
                .any(|d| d.starts_with(&format!("test.local/{name}@sha256:")))
        );
    }
}
