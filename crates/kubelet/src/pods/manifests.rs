//! Static pods: pods from manifest files in a folder of this node, and the mirror pods that show
//! them in the API. A file's pod lives as long as the file says the same; its uid is a digest of
//! what it says, so that a later kubelet finds its containers again.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Node, Pod, PodSpec, Toleration, Volume},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::inotify::Directory;

/// Where a pod comes from; `file` for static ones.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// Digest of a static pod's manifest.
const HASH: &str = "kubernetes.io/config.hash";
/// When the kubelet first read it.
const SEEN: &str = "kubernetes.io/config.seen";
/// Marks a mirror pod, with its static pod's digest.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Waits after which a folder that cannot be watched is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// A manifest that makes no pod.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The folder, or a file in it.
    #[error("static pod manifest {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content.
    #[error("static pod manifest {path}: {reason}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Makes the pod of a manifest.
pub fn parse(path: &Path, text: &[u8], node: &str, now: Timestamp) -> Result<Pod, ManifestError> {
    let bad = |reason: String| ManifestError::Content {
        path: path.to_owned(),
        reason,
    };
    let decoded = schema::decode::yaml_untyped(text).map_err(|e| bad(e.to_string()))?;
    let mut value = decoded;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err(bad("it is no Pod of v1".to_owned()));
    }
    if let Some(resource) = api::catalog::builtin().by_kind("", "v1", "Pod") {
        api::defaulting::apply(resource, &mut value);
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    let Some(name) = pod.metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err(bad("metadata.name is missing".to_owned()));
    };
    let Some(spec) = pod.spec.as_mut() else {
        return Err(bad("spec is missing".to_owned()));
    };
    if let Some(what) = reference(spec) {
        return Err(bad(format!(
            "a static pod may not refer to objects of the API: {what}"
        )));
    }
    spec.node_name = Some(node.to_owned());
    // Nothing that befalls the node throws a static pod off it.
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Default::default()
    });
    pod.status = None;
    pod.metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    pod.metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(&pod).map_err(|e| bad(e.to_string()))?);
    digest.update(path.as_os_str().as_encoded_bytes());
    let hash: String = digest.finalize()[..16]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    pod.metadata.uid.get_or_insert_with(|| hash.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    annotations.insert(HASH.to_owned(), hash);
    annotations.insert(SEEN.to_owned(), now.to_string());
    Ok(pod)
}

/// What of a spec only the API could give, if anything.
fn reference(spec: &PodSpec) -> Option<&'static str> {
    let of_volume = |volume: &Volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.persistent_volume_claim.is_some()
            || volume.ephemeral.is_some()
    };
    let of_container = |container: &Container| {
        let of_env = container.env.iter().flatten().any(|env| {
            let from = env.value_from.as_ref();
            from.is_some_and(|f| f.config_map_key_ref.is_some() || f.secret_key_ref.is_some())
        });
        of_env || container.env_from.iter().flatten().next().is_some()
    };
    let named = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    let mut containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    if named(&spec.service_account_name) {
        Some("serviceAccountName")
    } else if spec.image_pull_secrets.iter().flatten().next().is_some() {
        Some("imagePullSecrets")
    } else if spec.resource_claims.iter().flatten().next().is_some() {
        Some("resourceClaims")
    } else if spec.volumes.iter().flatten().any(of_volume) {
        Some("volumes")
    } else if containers.any(of_container) {
        Some("env")
    } else {
        None
    }
}

/// Reads the manifests of a folder (or the one file), by name; hidden files are left out.
pub fn read(place: &Path, node: &str, now: Timestamp) -> (Vec<Arc<Pod>>, Vec<ManifestError>) {
    let mut errors = Vec::new();
    let mut unread = |path: &Path, source: io::Error| {
        // A folder or file that is not there (any more) has no pods.
        if source.kind() != io::ErrorKind::NotFound {
            errors.push(ManifestError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut files = Vec::new();
    if place.is_file() {
        files.push(place.to_owned());
    } else {
        match fs::read_dir(place) {
            Ok(entries) => files.extend(entries.flatten().map(|e| e.path()).filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                !name.starts_with('.') && path.is_file()
            })),
            Err(error) => unread(place, error),
        }
    }
    files.sort();
    let mut texts = Vec::new();
    for path in files {
        match fs::read(&path) {
            Ok(text) => texts.push((path, text)),
            Err(error) => unread(&path, error),
        }
    }
    let mut pods: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    for (path, text) in texts {
        match parse(&path, &text, node, now) {
            Ok(pod) => match pods.entry(name_of(&pod)) {
                Entry::Occupied(taken) => errors.push(ManifestError::Content {
                    path,
                    reason: format!("another manifest has the pod {} already", taken.key()),
                }),
                Entry::Vacant(free) => {
                    free.insert(Arc::new(pod));
                }
            },
            Err(error) => errors.push(error),
        }
    }
    (pods.into_values().collect(), errors)
}

/// `namespace/name`.
pub fn name_of(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{}/{}",
        text(&pod.metadata.namespace),
        text(&pod.metadata.name)
    )
}

/// Tells the pods of a folder, now and whenever they change.
pub async fn follow(
    place: PathBuf,
    node: String,
    clock: impl Fn() -> Timestamp,
    found: watch::Sender<Vec<Arc<Pod>>>,
) {
    loop {
        let folder = if place.is_dir() {
            Some(place.as_path())
        } else {
            place.parent()
        };
        // Watched before it is read: what is written meanwhile wakes us.
        let watched = folder.map(Directory::new).transpose();
        let (mut pods, errors) = read(&place, &node, clock());
        for error in errors {
            tracing::warn!(%error, "no static pod");
        }
        found.send_if_modified(|known| {
            // When it was read is no difference.
            for pod in &mut pods {
                if let Some(same) = known.iter().find(|k| k.metadata.uid == pod.metadata.uid) {
                    *pod = same.clone();
                }
            }
            let uids = |list: &[Arc<Pod>]| -> Vec<_> {
                list.iter().map(|p| p.metadata.uid.clone()).collect()
            };
            let changed = uids(known) != uids(&pods);
            *known = pods;
            changed
        });
        let waited = match &watched {
            Ok(Some(directory)) => directory.changed().await,
            Ok(None) => Err(io::Error::from(io::ErrorKind::NotFound)),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = waited {
            tracing::debug!(place = %place.display(), %error, "static pods are looked for again later");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if found.is_closed() {
            return;
        }
    }
}

/// Whether an API object is there only to show a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a String> {
    pod.metadata.annotations.as_ref()?.get(name)
}

/// Whether a mirror pod shows this static pod, and stays.
pub fn shows(mirror: &Pod, pod: &Pod) -> bool {
    annotation(mirror, MIRROR) == annotation(pod, HASH)
        && mirror.metadata.deletion_timestamp.is_none()
}

/// The mirror pod of a static pod. The node owns it, so that it goes with the node.
pub fn mirror(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    let hash = annotation(pod, HASH).cloned().unwrap_or_default();
    let metadata = &mut mirror.metadata;
    metadata.uid = None;
    metadata
        .annotations
        .get_or_insert_default()
        .insert(MIRROR.to_owned(), hash);
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..Default::default()
    }]);
    mirror.status = None;
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
        spec:\n  containers: [{name: a, image: 'i:1'}]\n";

    fn parsed(text: &str) -> Result<Pod, String> {
        let now = Timestamp::UNIX_EPOCH;
        parse(Path::new("/m/web.yaml"), text.as_bytes(), "Node-1", now).map_err(|e| e.to_string())
    }

    #[test]
    fn a_manifest_becomes_a_pod_of_the_node() {
        let pod = parsed(WEB).expect("a pod");
        assert_eq!(name_of(&pod), "default/web-node-1");
        let spec = pod.spec.clone().expect("a spec");
        assert_eq!(spec.node_name.as_deref(), Some("Node-1"));
        assert_eq!(
            spec.restart_policy.as_deref(),
            Some("Always"),
            "defaults are there"
        );
        assert!(
            spec.tolerations
                .is_some_and(|t| t[0].effect.as_deref() == Some("NoExecute"))
        );
        assert_eq!(annotation(&pod, SOURCE).map(String::as_str), Some("file"));
        let same = parsed(WEB).expect("a pod");
        assert_eq!(same.metadata.uid, pod.metadata.uid);
        let other = parsed(&WEB.replace("i:1", "i:2")).expect("a pod");
        assert_ne!(other.metadata.uid, pod.metadata.uid);
        let json = serde_json::to_string(&serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j", "namespace": "ns"},
            "spec": {"containers": [{"name": "a", "image": "i"}]},
        }));
        let json = parsed(&json.expect("text")).expect("a pod");
        assert_eq!(name_of(&json), "ns/j-node-1");
    }

    #[test]
    fn what_makes_no_pod_says_why() {
        for (text, words) in [
            ("{", "static pod manifest /m/web.yaml: "),
            ("kind: Service\napiVersion: v1\n", "it is no Pod of v1"),
            (
                &WEB.replace("{name: web}", "{}"),
                "metadata.name is missing",
            ),
            (
                &format!("{WEB}  volumes: [{{name: v, configMap: {{name: c}}}}]\n"),
                "may not refer to objects of the API: volumes",
            ),
            (
                &format!("{WEB}  serviceAccountName: x\n"),
                "serviceAccountName",
            ),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn folders_are_read_by_name_and_once_per_pod() {
        let home = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(home.path().join(name), text);
        let look = || read(home.path(), "n", Timestamp::UNIX_EPOCH);
        assert_eq!(look().0.len() + look().1.len(), 0);
        write("b.yaml", WEB).expect("written");
        write("a.yaml", &WEB.replace("web", "first")).expect("written");
        write(".c.yaml", "hidden").expect("written");
        write("d.yaml", WEB).expect("written");
        let (pods, errors) = look();
        let names: Vec<_> = pods.iter().map(|p| name_of(p)).collect();
        assert_eq!(names, ["default/first-n", "default/web-n"]);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .to_string()
                .contains("d.yaml: another manifest has"),
            "{}",
            errors[0]
        );
        let (pods, _) = read(&home.path().join("b.yaml"), "n", Timestamp::UNIX_EPOCH);
        assert_eq!(pods.len(), 1);
        assert_eq!(
            read(&home.path().join("none"), "n", Timestamp::UNIX_EPOCH)
                .1
                .len(),
            0
        );
    }

    #[test]
    fn mirrors_show_one_version_of_a_static_pod() {
        let node = serde_json::json!({"metadata": {"name": "n", "uid": "node-uid"}});
        let node: Node = serde_json::from_value(node).expect("a node");
        let pod = parsed(WEB).expect("a pod");
        let shown = mirror(&pod, &node);
        assert!(is_mirror(&shown) && !is_mirror(&pod));
        assert_eq!(shown.metadata.uid, None);
        assert!(shows(&shown, &pod));
        let owners = shown.metadata.owner_references.clone().unwrap_or_default();
        assert_eq!(
            (owners[0].kind.as_str(), owners[0].uid.as_str()),
            ("Node", "node-uid")
        );
        let changed = parsed(&WEB.replace("i:1", "i:2")).expect("a pod");
        assert!(!shows(&shown, &changed));
    }
}
