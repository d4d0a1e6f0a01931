//! Plans of containers: what the CRI asks becomes what the shim does.

use super::*;

fn image() -> Image {
    Image {
        layers: vec!["a".into(), "b".into()],
        config: ImageConfig {
            user: "app:staff".into(),
            env: vec!["A=image".into(), "B=image".into()],
            entrypoint: vec!["/entry".into()],
            cmd: vec!["cmd".into()],
            working_dir: "/work".into(),
            ..ImageConfig::default()
        },
        ..Image::default()
    }
}

fn planned(config: &v1::ContainerConfig) -> Result<ContainerSpec, PlanError> {
    let sandbox = v1::PodSandboxConfig {
        hostname: "web".into(),
        log_directory: "/logs".into(),
        ..v1::PodSandboxConfig::default()
    };
    plan(&Request {
        id: "id",
        config,
        sandbox: &sandbox,
        image: &image(),
        volumes: &BTreeMap::new(),
        places: &Places {
            directory: "/state".into(),
            storage: "/storage".into(),
            layers: "/layers".into(),
            sandbox: "/sandbox".into(),
            shm: "/sandbox/shm".into(),
            cgroup: "/pods/id".into(),
        },
        kernel: (6, 1),
        unified: false,
    })
}

fn with(security: v1::LinuxContainerSecurityContext) -> v1::ContainerConfig {
    v1::ContainerConfig {
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(security),
            ..v1::LinuxContainerConfig::default()
        }),
        ..v1::ContainerConfig::default()
    }
}

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn commands_override_images_as_kubernetes_says() {
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["/entry", "cmd"]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/run"], &[], &["/run"]),
        (&["/run"], &["x"], &["/run", "x"]),
    ];
    for (command, args, expected) in cases {
        let config = v1::ContainerConfig {
            command: list(command),
            args: list(args),
            ..v1::ContainerConfig::default()
        };
        assert_eq!(planned(&config).unwrap().process.args, expected);
    }
}

#[test]
fn the_environment_is_the_images_then_the_pods() {
    let config = v1::ContainerConfig {
        envs: vec![v1::KeyValue {
            key: "B".into(),
            value: b"pod".to_vec(),
        }],
        tty: true,
        ..v1::ContainerConfig::default()
    };
    let env = planned(&config).unwrap().process.env;
    assert_eq!(
        env,
        [
            DEFAULT_PATH,
            "HOSTNAME=web",
            "TERM=xterm",
            "A=image",
            "B=pod"
        ]
    );
}

#[test]
fn users_come_from_the_pod_or_the_image() {
    let user = |security| planned(&with(security)).unwrap().process.user;
    assert_eq!(
        user(v1::LinuxContainerSecurityContext::default()).name,
        "app:staff"
    );
    let by_number = v1::LinuxContainerSecurityContext {
        run_as_user: Some(v1::Int64Value { value: 0 }),
        run_as_group: Some(v1::Int64Value { value: 5 }),
        supplemental_groups: vec![9],
        ..Default::default()
    };
    let by_number = user(by_number);
    assert_eq!(
        (
            by_number.name.as_str(),
            by_number.gid,
            by_number.additional_gids
        ),
        ("0", Some(5), vec![9])
    );
    let nonsense = v1::LinuxContainerSecurityContext {
        run_as_user: Some(v1::Int64Value { value: -1 }),
        ..Default::default()
    };
    assert!(matches!(
        planned(&with(nonsense)),
        Err(PlanError::Invalid(_))
    ));
}

#[test]
fn privileged_containers_are_not_confined() {
    use v1::security_profile::ProfileType;
    let seccomp = Some(v1::SecurityProfile {
        profile_type: ProfileType::RuntimeDefault as i32,
        ..Default::default()
    });
    let of = |privileged| {
        planned(&with(v1::LinuxContainerSecurityContext {
            privileged,
            seccomp: seccomp.clone(),
            ..Default::default()
        }))
        .unwrap()
    };
    let (plain, privileged) = (of(false), of(true));
    assert!(plain.process.seccomp.is_some() && privileged.process.seccomp.is_none());
    assert!(
        plain.masked_paths.contains(&"/proc/kcore".to_owned())
            && privileged.masked_paths.is_empty()
    );
    assert_eq!(privileged.process.capabilities.bounding, capabilities::ALL);
    assert!(privileged.all_devices && privileged.cgroup.all_devices && !plain.all_devices);
    let readonly =
        |spec: &ContainerSpec| spec.mounts.iter().any(|m| m.target == "/sys" && m.readonly);
    assert!(readonly(&plain) && !readonly(&privileged));
}

#[test]
fn mounts_come_in_an_order_in_which_they_can_be_made() {
    let mount = |path: &str| v1::Mount {
        container_path: path.into(),
        host_path: "/host".into(),
        ..v1::Mount::default()
    };
    let config = v1::ContainerConfig {
        mounts: vec![
            mount("/a/b/c"),
            mount("/a"),
            mount("/etc/hosts"),
            mount("/dev/shm"),
        ],
        ..v1::ContainerConfig::default()
    };
    let spec = planned(&config).unwrap();
    let targets: Vec<&str> = spec.mounts.iter().map(|m| m.target.as_str()).collect();
    let at = |path| targets.iter().position(|t| *t == path).unwrap();
    assert!(at("/a") < at("/a/b/c"));
    // What the pod mounts itself is not mounted twice.
    assert_eq!(
        targets
            .iter()
            .filter(|t| **t == "/etc/hosts" || **t == "/dev/shm")
            .count(),
        2
    );
    assert_eq!(spec.rootfs.lower, ["b", "a"]);
}

#[test]
fn stop_signals_come_from_the_pod_then_the_image() {
    let mut config = v1::ContainerConfig::default();
    assert_eq!(stop_signal(&config, None), 15);
    assert_eq!(stop_signal(&config, Some("SIGQUIT")), 3);
    config.stop_signal = v1::Signal::Sigrtminplus3 as i32;
    assert_eq!(stop_signal(&config, Some("SIGQUIT")), 37);
}
