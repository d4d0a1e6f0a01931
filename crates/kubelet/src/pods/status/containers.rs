//! The statuses of the containers.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser, PodStatus,
        VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Input, whole_seconds};
use crate::pods::{
    observed::{Run, State, timestamp},
    view::Kind,
};

/// Statuses of `spec.initContainers`.
pub fn init(input: &Input<'_>) -> Vec<ContainerStatus> {
    all(input, |kind| matches!(kind, Kind::Init | Kind::Sidecar))
}

/// Statuses of `spec.containers`.
pub fn main(input: &Input<'_>) -> Vec<ContainerStatus> {
    all(input, |kind| kind == Kind::Main)
}

/// Statuses of `spec.ephemeralContainers`.
pub fn ephemeral(input: &Input<'_>) -> Vec<ContainerStatus> {
    all(input, |kind| kind == Kind::Ephemeral)
}

fn all(input: &Input<'_>, wanted: impl Fn(Kind) -> bool) -> Vec<ContainerStatus> {
    let mut list: Vec<_> = input
        .pod
        .all()
        .filter(|(_, kind)| wanted(*kind))
        .map(|(container, kind)| one(input, container, kind))
        .collect();
    // Upstream sorts the containers by name and keeps the init containers in order.
    if !wanted(Kind::Init) {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    list
}

fn before<'a>(previous: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    [
        &previous.init_container_statuses,
        &previous.container_statuses,
        &previous.ephemeral_container_statuses,
    ]
    .into_iter()
    .flatten()
    .flatten()
    .find(|s| s.name == name)
}

fn one(input: &Input<'_>, container: &Container, kind: Kind) -> ContainerStatus {
    let name = &container.name;
    let old = before(input.previous, name);
    let run = input.observed.current(name);
    let mut status = ContainerStatus {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: old.map_or(0, |o| o.restart_count),
        last_state: old.and_then(|o| o.last_state.clone()),
        started: Some(false),
        volume_mounts: mounts(container),
        ..Default::default()
    };
    match run {
        None => {
            let terminated = old
                .and_then(|o| o.state.as_ref())
                .filter(|s| s.terminated.is_some());
            if let Some(state) = terminated {
                status.state = Some(state.clone());
                status.container_id = old.and_then(|o| o.container_id.clone());
                status.image_id = old.map(|o| o.image_id.clone()).unwrap_or_default();
            } else {
                status.state = Some(waiting(input, name, default_reason(input, kind)));
            }
        }
        Some(run) => describe(input, container, run, &mut status),
    }
    ready(input, container, kind, run, &mut status);
    status
}

fn default_reason(input: &Input<'_>, kind: Kind) -> &'static str {
    if input.pod.init_containers().is_empty() || kind == Kind::Ephemeral {
        "ContainerCreating"
    } else {
        "PodInitializing"
    }
}

fn waiting(input: &Input<'_>, name: &str, default: &str) -> ContainerState {
    let given = input.waiting.get(name);
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(given.map_or(default, |w| &w.reason).to_owned()),
            message: given
                .map(|w| w.message.clone())
                .filter(|message| !message.is_empty()),
        }),
        ..Default::default()
    }
}

fn describe(input: &Input<'_>, container: &Container, run: &Run, status: &mut ContainerStatus) {
    let name = &container.name;
    status.restart_count = i32::try_from(run.restart_count).unwrap_or(i32::MAX);
    if !run.id.is_empty() {
        status.container_id = Some(format!("{}://{}", input.runtime, run.id));
    }
    if let Some(image) = run.status.image.as_ref() {
        let shown = if image.user_specified_image.is_empty() {
            &image.image
        } else {
            &image.user_specified_image
        };
        // A runtime that answers with a bare id would hide the name the user knows.
        if !shown.is_empty() && !shown.starts_with("sha256:") {
            status.image.clone_from(shown);
        }
    }
    status.image_id = if run.status.image_ref.is_empty() {
        run.status.image_id.clone()
    } else {
        run.status.image_ref.clone()
    };
    if let Some(previous) = input.observed.previous(name) {
        status.last_state = Some(terminated(input, previous));
    }
    status.allocated_resources = container
        .resources
        .as_ref()
        .and_then(|r| r.requests.clone());
    status.resources = input
        .progress
        .applied
        .get(&run.id)
        .or(container.resources.as_ref())
        .cloned()
        .or_else(|| Some(Default::default()));
    status.user = run
        .status
        .user
        .as_ref()
        .and_then(|u| u.linux.as_ref())
        .map(|u| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: u.uid,
                gid: u.gid,
                supplemental_groups: (!u.supplemental_groups.is_empty())
                    .then(|| u.supplemental_groups.clone()),
            }),
        });
    status.state = Some(match run.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(whole_seconds(run.started()))),
            }),
            ..Default::default()
        },
        State::Exited if input.waiting.contains_key(name) => {
            status.last_state = Some(terminated(input, run));
            waiting(input, name, "")
        }
        State::Exited | State::Unknown => terminated(input, run),
        State::Created => waiting(input, name, "ContainerCreating"),
    });
}

fn terminated(input: &Input<'_>, run: &Run) -> ContainerState {
    let exit_code = run.status.exit_code;
    let reason = match run.status.reason.as_str() {
        "" if exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    let time = |nanos: i64| (nanos > 0).then(|| Time(whole_seconds(timestamp(nanos))));
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code,
            reason: Some(reason.to_owned()),
            message: run
                .message
                .clone()
                .or_else(|| Some(run.status.message.clone()))
                .filter(|message| !message.is_empty()),
            started_at: time(run.status.started_at),
            finished_at: time(run.status.finished_at),
            container_id: (!run.id.is_empty()).then(|| format!("{}://{}", input.runtime, run.id)),
            signal: None,
        }),
        ..Default::default()
    }
}

fn ready(
    input: &Input<'_>,
    container: &Container,
    kind: Kind,
    run: Option<&Run>,
    status: &mut ContainerStatus,
) {
    let Some(run) = run else { return };
    if kind == Kind::Init {
        status.ready = run.succeeded();
        status.started = Some(run.state == State::Running);
        return;
    }
    if run.state != State::Running {
        return;
    }
    let probes = input
        .progress
        .probes
        .get(&run.id)
        .copied()
        .unwrap_or_default();
    let started = input.progress.started.contains(&run.id)
        && (container.startup_probe.is_none() || probes.startup == Some(true));
    status.started = Some(started);
    if kind == Kind::Ephemeral {
        status.ready = false;
        return;
    }
    status.ready =
        started && (container.readiness_probe.is_none() || probes.readiness == Some(true));
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let list: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only.filter(|read_only| *read_only),
            recursive_read_only: mount.read_only.unwrap_or(false).then(|| {
                match mount.recursive_read_only.as_deref() {
                    Some("Enabled" | "IfPossible") => "Enabled",
                    _ => "Disabled",
                }
                .to_owned()
            }),
            volume_status: None,
        })
        .collect();
    (!list.is_empty()).then_some(list)
}
