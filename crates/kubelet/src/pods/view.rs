//! A pod as the worker looks at it: the API object plus what is derived from it once.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use sha2::{Digest, Sha256};

use super::{allocation::Held, manifests, resources};

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static NO_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);

/// Which list of the pod's spec a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end before the containers start.
    Init,
    /// An init container that keeps running.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// Added to a running pod.
    Ephemeral,
}

/// One version of a pod.
#[derive(Clone, Debug)]
pub struct PodView {
    pod: Arc<Pod>,
    ephemeral: Vec<Container>,
    held: Option<Held>,
    granted: Option<i64>,
}

impl PodView {
    /// Looks at `pod`.
    pub fn new(pod: Arc<Pod>) -> Self {
        let ephemeral = pod
            .spec
            .iter()
            .flat_map(|s| s.ephemeral_containers.iter().flatten())
            .filter_map(|c| {
                // The two types differ only in the target's name.
                let mut value = serde_json::to_value(c).ok()?;
                value.as_object_mut()?.remove("targetContainerName");
                serde_json::from_value(value).ok()
            })
            .collect();
        Self {
            pod,
            ephemeral,
            held: None,
            granted: None,
        }
    }

    /// The same with a change of resources that is held back, and is not in its spec.
    pub fn held_back(self, held: Held) -> Self {
        Self {
            held: Some(held),
            ..self
        }
    }

    /// The same with the generation that its last change of resources was granted at.
    pub fn granted_at(self, granted: Option<i64>) -> Self {
        Self { granted, ..self }
    }

    /// The change of resources that is held back.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The generation that its last change of resources was granted at.
    pub fn granted_generation(&self) -> Option<i64> {
        self.granted
    }

    /// The API object.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its generation.
    pub fn generation(&self) -> Option<i64> {
        self.pod.metadata.generation
    }

    /// What it asks for.
    pub fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().unwrap_or(&NO_SPEC)
    }

    /// What the API knows of it.
    pub fn status(&self) -> &PodStatus {
        self.pod.status.as_ref().unwrap_or(&NO_STATUS)
    }

    /// When it is to be gone.
    pub fn deletion(&self) -> Option<Timestamp> {
        self.pod.metadata.deletion_timestamp.as_ref().map(|t| t.0)
    }

    /// Seconds its containers get to end.
    pub fn grace_period(&self) -> i64 {
        self.pod
            .metadata
            .deletion_grace_period_seconds
            .filter(|_| self.pod.metadata.deletion_timestamp.is_some())
            .or(self.spec().termination_grace_period_seconds)
            .unwrap_or(30)
            .max(1)
    }

    /// Whether it uses the node's network.
    pub fn host_network(&self) -> bool {
        self.spec().host_network.unwrap_or(false)
    }

    /// Whether the API already says that it is over.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status().phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Whether it comes from a manifest on this node.
    pub fn is_static(&self) -> bool {
        self.annotation(manifests::SOURCE)
            .is_some_and(|source| source != "api")
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.pod
            .metadata
            .annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// `name_namespace(uid)`, as the messages name a pod.
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    /// The containers proper.
    pub fn containers(&self) -> &[Container] {
        &self.spec().containers
    }

    /// The init containers, sidecars among them.
    pub fn init_containers(&self) -> &[Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }

    /// The ephemeral containers.
    pub fn ephemeral_containers(&self) -> &[Container] {
        &self.ephemeral
    }

    /// The container whose namespaces an ephemeral container joins.
    pub fn ephemeral_target(&self, name: &str) -> Option<&str> {
        self.spec()
            .ephemeral_containers
            .iter()
            .flatten()
            .find(|c| c.name == name)?
            .target_container_name
            .as_deref()
            .filter(|target| !target.is_empty())
    }

    /// Every container with its kind.
    pub fn all(&self) -> impl Iterator<Item = (&Container, Kind)> {
        self.init_containers()
            .iter()
            .map(|c| {
                let kind = if resources::is_sidecar(c) {
                    Kind::Sidecar
                } else {
                    Kind::Init
                };
                (c, kind)
            })
            .chain(self.containers().iter().map(|c| (c, Kind::Main)))
            .chain(self.ephemeral.iter().map(|c| (c, Kind::Ephemeral)))
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<(&Container, Kind)> {
        self.all().find(|(c, _)| c.name == name)
    }

    /// Directory name of the pod's logs.
    pub fn log_dir_name(&self) -> String {
        format!("{}_{}_{}", self.namespace(), self.name(), self.uid())
    }

    /// The field path of a container, which events carry.
    pub fn field_path(&self, name: &str) -> Option<String> {
        let list = match self.container(name)?.1 {
            Kind::Init | Kind::Sidecar => "initContainers",
            Kind::Main => "containers",
            Kind::Ephemeral => "ephemeralContainers",
        };
        Some(format!("spec.{list}{{{name}}}"))
    }
}

/// Hash of what cannot change without a new container: its name and image.
pub fn container_hash(container: &Container) -> String {
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hasher.finalize()[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Whether a container that ended with `exit_code` runs again.
pub fn restartable(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else {
            continue;
        };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        if listed == (codes.operator == "In") && rule.action.starts_with("Restart") {
            return true;
        }
    }
    let policy = container
        .restart_policy
        .as_deref()
        .or(spec.restart_policy.as_deref())
        .unwrap_or("Always");
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}
