//! Security contexts of pod and container as the runtime takes them.

use cri::v1;
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, SELinuxOptions, SeccompProfile};

use super::view::PodView;

/// Paths hidden from unprivileged containers.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const MASKED_MORE: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];
/// Paths they may read only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Which namespaces the pod's containers share with whom.
pub fn namespaces(pod: &PodView) -> v1::NamespaceOption {
    let spec = pod.spec();
    let node = v1::NamespaceMode::Node as i32;
    let of = |host: Option<bool>, otherwise: v1::NamespaceMode| {
        if host == Some(true) {
            node
        } else {
            otherwise as i32
        }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: of(spec.host_network, v1::NamespaceMode::Pod),
        pid: of(spec.host_pid, pid),
        ipc: of(spec.host_ipc, v1::NamespaceMode::Pod),
        target_id: String::new(),
        userns_options: None,
    }
}

/// The sandbox's security context.
pub fn sandbox(pod: &PodView) -> v1::LinuxSandboxSecurityContext {
    let context = pod.spec().security_context.clone().unwrap_or_default();
    let privileged = pod
        .all()
        .any(|(c, _)| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: context.run_as_user.map(int),
        run_as_group: context
            .run_as_group
            .filter(|_| context.run_as_user.is_some())
            .map(int),
        readonly_rootfs: false,
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        privileged,
        seccomp: Some(match &context.seccomp_profile {
            Some(profile) => seccomp(profile),
            // Nothing of the workload runs in the sandbox itself.
            None => profile(v1::security_profile::ProfileType::RuntimeDefault, ""),
        }),
        apparmor: None,
        ..Default::default()
    }
}

/// The container's security context; `target` is the container whose processes it joins.
pub fn container(
    pod: &PodView,
    container: &Container,
    target: Option<String>,
) -> v1::LinuxContainerSecurityContext {
    let of_pod = pod.spec().security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let mut namespace_options = namespaces(pod);
    if let Some(target) = target {
        namespace_options.pid = v1::NamespaceMode::Target as i32;
        namespace_options.target_id = target;
    }
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |lists: &[&[&str]]| -> Vec<String> {
        if unmasked {
            return Vec::new();
        }
        lists.concat().into_iter().map(str::to_owned).collect()
    };
    let user = own.run_as_user.or(of_pod.run_as_user);
    let seccomp_profile = own
        .seccomp_profile
        .as_ref()
        .or(of_pod.seccomp_profile.as_ref());
    let apparmor = own
        .app_armor_profile
        .as_ref()
        .or(of_pod.app_armor_profile.as_ref());
    v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|c| v1::Capability {
            add_capabilities: c.add.unwrap_or_default(),
            drop_capabilities: c.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: own
            .se_linux_options
            .as_ref()
            .or(of_pod.se_linux_options.as_ref())
            .map(selinux),
        run_as_user: user.map(int),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&[&MASKED, &MASKED_MORE]),
        readonly_paths: paths(&[&READ_ONLY]),
        seccomp: Some(match seccomp_profile {
            Some(profile) => seccomp(profile),
            None => profile(v1::security_profile::ProfileType::Unconfined, ""),
        }),
        apparmor: apparmor.map(apparmor_profile),
        ..Default::default()
    }
}

/// Whether the container must not run as root, by its own word or the pod's.
pub fn must_not_be_root(pod: &PodView, container: &Container) -> bool {
    let of_pod = pod
        .spec()
        .security_context
        .as_ref()
        .and_then(|s| s.run_as_non_root);
    container
        .security_context
        .as_ref()
        .and_then(|s| s.run_as_non_root)
        .or(of_pod)
        == Some(true)
}

fn groups(pod: &PodView) -> Vec<i64> {
    let Some(context) = &pod.spec().security_context else {
        return Vec::new();
    };
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.iter().flatten());
    groups.dedup();
    groups
}

fn groups_policy(pod: &PodView) -> i32 {
    let strict = pod
        .spec()
        .security_context
        .as_ref()
        .and_then(|s| s.supplemental_groups_policy.as_deref())
        == Some("Strict");
    if strict {
        v1::SupplementalGroupsPolicy::Strict as i32
    } else {
        v1::SupplementalGroupsPolicy::Merge as i32
    }
}

fn int(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

fn profile(kind: v1::security_profile::ProfileType, local: &str) -> v1::SecurityProfile {
    v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: local.to_owned(),
    }
}

fn by_name(name: &str, local: Option<&str>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    match name {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, ""),
        "Localhost" => profile(ProfileType::Localhost, local.unwrap_or_default()),
        _ => profile(ProfileType::Unconfined, ""),
    }
}

fn seccomp(of: &SeccompProfile) -> v1::SecurityProfile {
    by_name(&of.type_, of.localhost_profile.as_deref())
}

fn apparmor_profile(of: &AppArmorProfile) -> v1::SecurityProfile {
    by_name(&of.type_, of.localhost_profile.as_deref())
}
