//! What the runtime knows, in the protocol's words.

use std::collections::HashMap;

use cri::v1;

use super::{Runtime, RuntimeError};
use crate::{
    container::{record::Container, signals},
    images::{Image, ImageError, PullError},
    sandbox::record::Sandbox,
    shim::client::ShimError,
};

impl From<RuntimeError> for tonic::Status {
    fn from(error: RuntimeError) -> Self {
        use tonic::Code;
        let code = match &error {
            RuntimeError::NoSandbox(_)
            | RuntimeError::NoContainer(_)
            | RuntimeError::NoImage(_)
            | RuntimeError::Image(ImageError::NotFound(_))
            | RuntimeError::Pull(PullError::NotFound { .. }) => Code::NotFound,
            RuntimeError::Invalid(_)
            | RuntimeError::Sandbox(_)
            | RuntimeError::Container(_)
            | RuntimeError::Image(ImageError::Reference(_))
            | RuntimeError::Pull(PullError::Reference(_)) => Code::InvalidArgument,
            RuntimeError::State(_) => Code::FailedPrecondition,
            RuntimeError::Timeout(_) => Code::DeadlineExceeded,
            RuntimeError::Shim(ShimError::Gone(_)) => Code::Unavailable,
            RuntimeError::Pull(PullError::Denied { .. }) => Code::PermissionDenied,
            _ => Code::Unknown,
        };
        tonic::Status::new(code, error.to_string())
    }
}

/// User and user name of an image, as the kubelet wants them apart.
fn image_user(image: &Image) -> (Option<v1::Int64Value>, String) {
    let user = image.config.user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(value) => (Some(v1::Int64Value { value }), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// An image in the protocol's words.
pub(super) fn image(image: &Image) -> v1::Image {
    let (uid, username) = image_user(image);
    v1::Image {
        id: image.id.clone(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size,
        uid,
        username,
        spec: Some(v1::ImageSpec {
            image: image.id.clone(),
            ..v1::ImageSpec::default()
        }),
        pinned: image.pinned,
    }
}

impl Runtime {
    pub(super) fn sandbox_summary(&self, sandbox: &Sandbox) -> v1::PodSandbox {
        let config = sandbox.config.lock();
        let life = sandbox.life.lock();
        v1::PodSandbox {
            id: sandbox.id.clone(),
            metadata: config.metadata.clone(),
            state: sandbox_state(life.ready) as i32,
            created_at: life.created_at,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            runtime_handler: sandbox.runtime_handler.clone(),
        }
    }

    pub(super) fn sandbox_status(&self, sandbox: &Sandbox) -> v1::PodSandboxStatus {
        let config = sandbox.config.lock();
        let life = sandbox.life.lock();
        let mut addresses = life.addresses.iter().map(ToString::to_string);
        // A pod in the node's network has no address of its own: the kubelet knows the node's.
        let network = sandbox.netns.as_ref().map(|_| v1::PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| v1::PodIp { ip }).collect(),
        });
        v1::PodSandboxStatus {
            id: sandbox.id.clone(),
            metadata: config.metadata.clone(),
            state: sandbox_state(life.ready) as i32,
            created_at: life.created_at,
            network: Some(network.unwrap_or_default()),
            linux: Some(v1::LinuxPodSandboxStatus {
                namespaces: Some(v1::Namespace {
                    options: Some(crate::sandbox::plan::namespaces(&config)),
                }),
            }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            runtime_handler: sandbox.runtime_handler.clone(),
        }
    }

    pub(super) fn container_summary(&self, container: &Container) -> v1::Container {
        let config = container.config.lock();
        v1::Container {
            id: container.id.clone(),
            pod_sandbox_id: container.sandbox.clone(),
            metadata: config.metadata.clone(),
            image: config.image.clone(),
            image_ref: container.image_ref.clone(),
            state: container.state() as i32,
            created_at: container.life.borrow().created_at,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            image_id: container.image.clone(),
        }
    }

    pub(super) fn container_status(&self, container: &Container) -> v1::ContainerStatus {
        let life = container.life.borrow().clone();
        let config = container.config.lock();
        let exit = life.exit.unwrap_or_default();
        let (reason, message) = match (&life.failure, exit.at) {
            (Some(failure), _) => (failure.reason.clone(), failure.message.clone()),
            (None, 0) => (String::new(), String::new()),
            (None, _) if exit.oom_killed && exit.code != 0 => ("OOMKilled".into(), String::new()),
            (None, _) if exit.code == 0 => ("Completed".into(), String::new()),
            (None, _) => ("Error".into(), String::new()),
        };
        let linux = config.linux.as_ref();
        let resources =
            linux
                .and_then(|l| l.resources.clone())
                .map(|linux| v1::ContainerResources {
                    linux: Some(linux),
                    windows: None,
                });
        let user = life.started.as_ref().map(|started| v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: started.identity.uid.into(),
                gid: started.identity.gid.into(),
                supplemental_groups: started
                    .identity
                    .groups
                    .iter()
                    .map(|g| i64::from(*g))
                    .collect(),
            }),
        });
        let signal =
            signals::name(container.stop_signal).and_then(|n| v1::Signal::from_str_name(&n));
        v1::ContainerStatus {
            id: container.id.clone(),
            metadata: config.metadata.clone(),
            state: container.state() as i32,
            created_at: life.created_at,
            started_at: life.started.map_or(0, |s| s.at),
            finished_at: exit.at,
            exit_code: exit.code,
            image: config.image.clone(),
            image_ref: container.image_ref.clone(),
            reason,
            message,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: container
                .log_path
                .as_ref()
                .map(|p| p.display().to_string())
                .unwrap_or_default(),
            resources,
            image_id: container.image.clone(),
            user,
            stop_signal: signal.unwrap_or(v1::Signal::RuntimeDefault) as i32,
        }
    }

    /// Details for people, as JSON text under `info`.
    pub(super) fn container_info(&self, container: &Container) -> HashMap<String, String> {
        let life = container.life.borrow();
        let info = serde_json::json!({
            "sandboxID": container.sandbox,
            "pid": life.started.as_ref().map_or(0, |s| s.pid),
            "cgroup": container.cgroup,
            "oomKilled": life.exit.as_ref().is_some_and(|e| e.oom_killed),
            "process": {
                "args": container.process.args,
                "cwd": container.process.cwd,
                "noNewPrivileges": container.process.no_new_privileges,
            },
        });
        HashMap::from([("info".to_owned(), info.to_string())])
    }
}

fn sandbox_state(ready: bool) -> v1::PodSandboxState {
    if ready {
        v1::PodSandboxState::SandboxReady
    } else {
        v1::PodSandboxState::SandboxNotready
    }
}
