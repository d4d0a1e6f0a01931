//! Pending, Running, Succeeded or Failed: from the container statuses alone.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodStatus};

use crate::pods::{
    observed::{Observed, State},
    view::{Kind, PodView, restartable},
};

/// How a container that has ended, ended.
fn ended(status: &ContainerStatus) -> Option<i32> {
    let exit = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state
            .and_then(|s| s.terminated.as_ref())
            .map(|t| t.exit_code)
    };
    let state = status.state.as_ref();
    if state.is_some_and(|s| s.terminated.is_some()) {
        return exit(state);
    }
    if state.is_some_and(|s| s.running.is_some()) {
        return None;
    }
    exit(status.last_state.as_ref())
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// The phase of a pod whose containers stand as `status` says.
pub fn of(pod: &PodView, status: &PodStatus, observed: &Observed, terminal: bool) -> &'static str {
    let find = |name: &str| {
        status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
            .find(|s| s.name == name)
    };
    let again = |c: &Container, code: i32| restartable(c, pod.spec(), code);
    let mut initializing = false;
    let mut failed_init = false;
    let mut sidecars_pending = false;
    let (mut running, mut waiting, mut unknown) = (0, 0, 0);
    let (mut stopped, mut succeeded, mut for_good) = (0, 0, 0);
    for (container, kind) in pod.all() {
        let status = find(&container.name);
        match (kind, status) {
            (Kind::Ephemeral, _) => {}
            (Kind::Init, None) => initializing = true,
            (Kind::Init, Some(s)) => match ended(s) {
                Some(0) => {}
                Some(code) => {
                    initializing = true;
                    failed_init |= !again(container, code);
                }
                None => initializing = true,
            },
            (Kind::Sidecar, Some(s)) => {
                if is_running(s) {
                    sidecars_pending |= s.started != Some(true);
                    running += 1;
                } else if ended(s).is_none() {
                    sidecars_pending = true;
                    waiting += 1;
                }
            }
            (Kind::Sidecar | Kind::Main, None) => unknown += 1,
            (Kind::Main, Some(s)) => {
                if is_running(s) {
                    running += 1;
                } else if let Some(code) = ended(s) {
                    stopped += 1;
                    succeeded += i32::from(code == 0);
                    for_good += i32::from(!again(container, code));
                } else {
                    waiting += 1;
                }
            }
        }
    }
    let has_initialized = pod.containers().iter().any(|c| {
        observed
            .current(&c.name)
            .is_some_and(|run| run.state >= State::Running)
    });
    if failed_init {
        return "Failed";
    }
    if terminal {
        let all = stopped == pod.containers().len() as i32 && stopped == succeeded;
        return if all && stopped > 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if (initializing || sidecars_pending) && !has_initialized {
        return "Pending";
    }
    if waiting > 0 {
        return if stopped > 0 { "Running" } else { "Pending" };
    }
    if unknown > 0 {
        return "Pending";
    }
    if stopped == pod.containers().len() as i32 && stopped > 0 {
        if stopped != for_good {
            return "Running";
        }
        return if stopped == succeeded {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if running > 0 { "Running" } else { "Pending" }
}
