//! The checks of the levels `baseline` and `restricted`, in their newest version.

use std::collections::BTreeSet;

use api::meta;
use api::object::Object;
use serde_json::Value;

/// How much a pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anything.
    Privileged,
    /// Nothing that is known to lead out of the container.
    Baseline,
    /// What hardening recommends.
    Restricted,
}

impl Level {
    /// As labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// `reason (detail)` of everything the pod (or template) does beyond the level, in upstream's order
/// and words.
pub fn violations(level: Level, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if level == Level::Privileged {
        return found;
    }
    let restricted = level == Level::Restricted;
    let mut add = |reason: &str, detail: Option<String>| {
        if let Some(detail) = detail {
            found.push(if detail.is_empty() {
                reason.to_owned()
            } else {
                format!("{reason} ({detail})")
            });
        }
    };
    if restricted {
        add(
            "allowPrivilegeEscalation != false",
            privilege_escalation(pod),
        );
    }
    let (reason, detail) = app_armor(pod);
    add(reason, detail);
    if !restricted {
        add("non-default capabilities", capabilities_baseline(pod));
    } else {
        add("unrestricted capabilities", capabilities_restricted(pod));
    }
    add("host namespaces", host_namespaces(pod));
    if !restricted {
        add("hostPath volumes", host_path(pod));
    }
    add("hostPort", host_ports(pod));
    add("probe or lifecycle host", probe_hosts(pod));
    add(
        "privileged",
        containers_with(
            pod,
            |c| c.flag("securityContext.privileged"),
            "must not set securityContext.privileged=true",
        ),
    );
    add("procMount", proc_mount(pod));
    if restricted {
        add("restricted volume types", volume_types(pod));
        add("runAsNonRoot != true", run_as_non_root(pod));
        add("runAsUser=0", run_as_user(pod));
    }
    add("seLinuxOptions", selinux(pod));
    add("seccompProfile", seccomp(pod, restricted));
    add("forbidden sysctls", sysctls(pod));
    add("hostProcess", host_process(pod));
    found
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    [
        "spec.initContainers",
        "spec.containers",
        "spec.ephemeralContainers",
    ]
    .into_iter()
    .flat_map(|path| pod.list(path))
}

fn quoted<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> String {
    list.into_iter()
        .map(|text| format!("{:?}", text.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

fn names(pod: &Value, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(pod)
        .filter(|c| bad(c))
        .map(|c| c.text("name"))
        .collect()
}

/// `container "a"`, `containers "a", "b"`
fn which(names: &[&str]) -> String {
    format!(
        "{} {}",
        plural("container", "containers", names.len()),
        quoted(names)
    )
}

fn containers_with(pod: &Value, bad: impl Fn(&Value) -> bool, must: &str) -> Option<String> {
    let names = names(pod, bad);
    (!names.is_empty()).then(|| format!("{} {must}", which(&names)))
}

/// The pod itself and its containers that are bad, joined.
fn setters(pod_is_bad: bool, containers: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if pod_is_bad {
        all.push("pod".to_owned());
    }
    if !containers.is_empty() {
        all.push(which(containers));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

fn is_windows(pod: &Value) -> bool {
    pod.text("spec.os.name") == "windows"
}

/// A pod with its own user namespace may be root in it.
fn has_user_namespace(pod: &Value) -> bool {
    pod.at("spec.hostUsers").as_bool() == Some(false)
}

fn privilege_escalation(pod: &Value) -> Option<String> {
    if is_windows(pod) {
        return None;
    }
    let bad = |c: &Value| c.at("securityContext.allowPrivilegeEscalation").as_bool() != Some(false);
    containers_with(
        pod,
        bad,
        "must set securityContext.allowPrivilegeEscalation=false",
    )
}

fn app_armor(pod: &Value) -> (&'static str, Option<String>) {
    let kind = |v: &Value| v.text("securityContext.appArmorProfile.type").to_owned();
    let bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let mut values: BTreeSet<String> = BTreeSet::new();
    let on_pod = kind(pod.at("spec"));
    if bad(&on_pod) {
        values.insert(on_pod.clone());
    }
    let containers = names(pod, |c| bad(&kind(c)));
    values.extend(self::containers(pod).map(kind).filter(|k| bad(k)));
    let mut all: Vec<String> = setters(bad(&on_pod), &containers).into_iter().collect();
    let mut values: Vec<String> = values.into_iter().collect();
    let annotations: Vec<String> = meta::annotations(pod)
        .filter(|(key, value)| {
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !value.is_empty()
                && *value != "runtime/default"
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotations.is_empty() {
        all.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let detail = (!all.is_empty()).then(|| {
        format!(
            "{} must not set AppArmor profile type to {}",
            all.join(" and "),
            quoted(&values)
        )
    });
    (reason, detail)
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn added(container: &Value, allowed: &[&str]) -> Vec<String> {
    container
        .texts("securityContext.capabilities.add")
        .filter(|c| !allowed.contains(c))
        .map(str::to_owned)
        .collect()
}

fn capabilities(pod: &Value, allowed: &[&str]) -> Option<String> {
    let names = names(pod, |c| !added(c, allowed).is_empty());
    let all: BTreeSet<String> = containers(pod).flat_map(|c| added(c, allowed)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            which(&names),
            quoted(&all)
        )
    })
}

fn capabilities_baseline(pod: &Value) -> Option<String> {
    capabilities(pod, &DEFAULT_CAPABILITIES)
}

fn capabilities_restricted(pod: &Value) -> Option<String> {
    if is_windows(pod) {
        return None;
    }
    let bad = |c: &Value| {
        !c.texts("securityContext.capabilities.drop")
            .any(|d| d == "ALL")
    };
    let details: Vec<String> = [
        containers_with(
            pod,
            bad,
            "must set securityContext.capabilities.drop=[\"ALL\"]",
        ),
        capabilities(pod, &["NET_BIND_SERVICE"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!details.is_empty()).then(|| details.join("; "))
}

fn host_namespaces(pod: &Value) -> Option<String> {
    let list: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.flag(&format!("spec.{field}")))
        .map(|field| format!("{field}=true"))
        .collect();
    (!list.is_empty()).then(|| list.join(", "))
}

fn host_path(pod: &Value) -> Option<String> {
    let list: Vec<&str> = pod
        .list("spec.volumes")
        .iter()
        .filter(|v| v.has("hostPath"))
        .map(|v| v.text("name"))
        .collect();
    (!list.is_empty()).then(|| {
        format!(
            "{} {}",
            plural("volume", "volumes", list.len()),
            quoted(&list)
        )
    })
}

fn host_ports(pod: &Value) -> Option<String> {
    let ports = |c: &Value| -> Vec<String> {
        c.list("ports")
            .iter()
            .filter_map(|p| p.int("hostPort"))
            .filter(|p| *p != 0)
            .map(|p| p.to_string())
            .collect()
    };
    let names = names(pod, |c| !ports(c).is_empty());
    let all: BTreeSet<String> = containers(pod).flat_map(ports).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} {} {} {}",
            which(&names),
            plural("uses", "use", names.len()),
            plural("hostPort", "hostPorts", all.len()),
            all.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

fn probe_hosts(pod: &Value) -> Option<String> {
    let hosts = |c: &Value| -> Vec<String> {
        [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle.postStart",
            "lifecycle.preStop",
        ]
        .into_iter()
        .flat_map(|handler| {
            [
                format!("{handler}.httpGet.host"),
                format!("{handler}.tcpSocket.host"),
            ]
        })
        .map(|path| c.text(&path).to_owned())
        .filter(|host| !matches!(host.as_str(), "" | "127.0.0.1" | "::1"))
        .collect()
    };
    let mut names = names(pod, |c| !hosts(c).is_empty());
    names.sort_unstable();
    let all: BTreeSet<String> = containers(pod).flat_map(hosts).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} {} {} {}",
            which(&names),
            plural("uses", "use", names.len()),
            plural(
                "probe or lifecycle host",
                "probe or lifecycle hosts",
                all.len()
            ),
            quoted(&all)
        )
    })
}

fn proc_mount(pod: &Value) -> Option<String> {
    if has_user_namespace(pod) {
        return None;
    }
    let kind = |c: &Value| c.text("securityContext.procMount").to_owned();
    let bad = |kind: &str| !matches!(kind, "" | "Default");
    let names = names(pod, |c| bad(&kind(c)));
    let all: BTreeSet<String> = containers(pod).map(kind).filter(|k| bad(k)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not set securityContext.procMount to {}",
            which(&names),
            quoted(&all)
        )
    })
}

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volume_types(pod: &Value) -> Option<String> {
    let kind = |v: &Value| -> Option<String> {
        let fields = v.as_object()?;
        fields
            .keys()
            .find(|k| *k != "name")
            .filter(|k| !VOLUMES.contains(&k.as_str()))
            .cloned()
    };
    let volumes = pod.list("spec.volumes");
    let bad: Vec<&str> = volumes
        .iter()
        .filter(|v| kind(v).is_some())
        .map(|v| v.text("name"))
        .collect();
    let kinds: BTreeSet<String> = volumes.iter().filter_map(kind).collect();
    (!bad.is_empty()).then(|| {
        format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", bad.len()),
            quoted(&bad),
            plural("uses", "use", bad.len()),
            plural(
                "restricted volume type",
                "restricted volume types",
                kinds.len()
            ),
            quoted(&kinds)
        )
    })
}

fn run_as_non_root(pod: &Value) -> Option<String> {
    if has_user_namespace(pod) {
        return None;
    }
    let own = |v: &Value| v.at("securityContext.runAsNonRoot").as_bool();
    let on_pod = own(pod.at("spec"));
    let explicit = names(pod, |c| own(c) == Some(false));
    if let Some(who) = setters(on_pod == Some(false), &explicit) {
        return Some(format!(
            "{who} must not set securityContext.runAsNonRoot=false"
        ));
    }
    let implicit = names(pod, |c| own(c).is_none() && on_pod != Some(true));
    (!implicit.is_empty()).then(|| {
        format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            which(&implicit)
        )
    })
}

fn run_as_user(pod: &Value) -> Option<String> {
    if has_user_namespace(pod) {
        return None;
    }
    let root = |v: &Value| v.int("securityContext.runAsUser") == Some(0);
    let who = setters(root(pod.at("spec")), &names(pod, root))?;
    Some(format!("{who} must not set runAsUser=0"))
}

fn selinux(pod: &Value) -> Option<String> {
    let types = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    let option = |v: &Value, name: &str| {
        v.text(&format!("securityContext.seLinuxOptions.{name}"))
            .to_owned()
    };
    let bad = |v: &Value| {
        !types.contains(&option(v, "type").as_str())
            || !option(v, "user").is_empty()
            || !option(v, "role").is_empty()
    };
    let spec = pod.at("spec");
    let who = setters(bad(spec), &names(pod, bad))?;
    let all = || std::iter::once(spec).chain(containers(pod));
    let kinds: BTreeSet<String> = all()
        .map(|v| option(v, "type"))
        .filter(|t| !types.contains(&t.as_str()))
        .collect();
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(format!(
            "{} {}",
            plural("type", "types", kinds.len()),
            quoted(&kinds)
        ));
    }
    for name in ["user", "role"] {
        if all().any(|v| !option(v, name).is_empty()) {
            data.push(format!("{name} may not be set"));
        }
    }
    Some(format!(
        "{who} set forbidden securityContext.seLinuxOptions: {}",
        data.join("; ")
    ))
}

fn seccomp(pod: &Value, required: bool) -> Option<String> {
    if required && is_windows(pod) {
        return None;
    }
    let own = |v: &Value| -> Option<String> {
        v.has("securityContext.seccompProfile")
            .then(|| v.text("securityContext.seccompProfile.type").to_owned())
    };
    let fine = |kind: &str| matches!(kind, "Localhost" | "RuntimeDefault");
    let bad = |v: &Value| own(v).is_some_and(|kind| !fine(&kind));
    let spec = pod.at("spec");
    let explicit = names(pod, bad);
    if let Some(who) = setters(bad(spec), &explicit) {
        let values: BTreeSet<String> = std::iter::once(spec)
            .chain(containers(pod))
            .filter_map(own)
            .filter(|kind| !fine(kind))
            .collect();
        return Some(format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted(&values)
        ));
    }
    if !required || own(spec).is_some() {
        return None;
    }
    let implicit = names(pod, |c| own(c).is_none());
    (!implicit.is_empty()).then(|| {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            which(&implicit)
        )
    })
}

const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Value) -> Option<String> {
    let list: Vec<&str> = pod
        .list("spec.securityContext.sysctls")
        .iter()
        .map(|s| s.text("name"))
        .filter(|name| !SYSCTLS.contains(name))
        .collect();
    (!list.is_empty()).then(|| list.join(", "))
}

fn host_process(pod: &Value) -> Option<String> {
    let bad = |v: &Value| v.flag("securityContext.windowsOptions.hostProcess");
    let who = setters(bad(pod.at("spec")), &names(pod, bad))?;
    Some(format!(
        "{who} must not set securityContext.windowsOptions.hostProcess=true"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_level_names_what_goes_beyond_it() {
        let plain = json!({"spec": {"containers": [{"name": "c"}]}});
        let privileged = json!({"spec": {
            "hostNetwork": true,
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "containers": [
                {"name": "c", "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}},
                {"name": "d", "securityContext": {"privileged": true}},
            ],
        }});
        let good = json!({"spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        }});
        let cases = [
            (Level::Privileged, &privileged, ""),
            (Level::Baseline, &plain, ""),
            (
                Level::Baseline,
                &privileged,
                "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add), host namespaces (hostNetwork=true), hostPath volumes (volume \"v\"), privileged (containers \"c\", \"d\" must not set securityContext.privileged=true)",
            ),
            (
                Level::Restricted,
                &plain,
                "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ),
            (Level::Restricted, &good, ""),
        ];
        for (level, pod, expected) in cases {
            assert_eq!(violations(level, pod).join(", "), expected, "{level:?}");
        }
    }
}
