//! The pod network by plugins: Debian's against the kernel, and a recording one for the protocol.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use network::cni::{Cni, Config};
use runtime::network::{Attachment, Bandwidth, PodNetwork, PortMapping};
use serde_json::Value;

use crate::namespace::{Namespace, ask, on_node};

const DEBIAN: &str = "/usr/lib/cni";

struct Fixture {
    dir: tempfile::TempDir,
    cni: Arc<Cni>,
}

impl Fixture {
    fn new(conflist: &str, bin: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["conf", "bin", "ipam"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let text = conflist.replace("DIR", &dir.path().display().to_string());
        std::fs::write(dir.path().join("conf/10-test.conflist"), text).unwrap();
        let cni = Cni::open(Config {
            conf_dir: dir.path().join("conf"),
            bin_dirs: vec![bin.unwrap_or_else(|| dir.path().join("bin"))],
            state_dir: dir.path().join("state"),
            interface: "eth0".into(),
        })
        .unwrap();
        Self { dir, cni }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn plugin(&self, name: &str, script: &str) {
        let path = self.path().join("bin").join(name);
        std::fs::write(
            &path,
            script.replace("DIR", &self.path().display().to_string()),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn attachment(name: &str, netns: &Path, host_port: u16) -> Attachment {
    Attachment {
        sandbox_id: format!("sandbox-{name}"),
        netns: netns.to_owned(),
        namespace: "default".into(),
        name: name.into(),
        uid: "u".into(),
        port_mappings: vec![PortMapping {
            protocol: "TCP".into(),
            container_port: 80,
            host_port,
            host_ip: None,
        }],
        bandwidth: Bandwidth {
            ingress: 1_000_000,
            egress: 0,
        },
    }
}

#[test]
fn debians_plugins_join_pods() {
    if !Path::new(DEBIAN).join("bridge").exists() {
        println!("skipped: needs Debian's containernetworking-plugins");
        return;
    }
    on_node(|| async {
        let conflist = r#"{"cniVersion": "1.0.0", "name": "test", "plugins": [
            {"type": "bridge", "bridge": "cnitest0", "isGateway": true, "hairpinMode": true,
             "capabilities": {"ipRanges": true},
             "ipam": {"type": "host-local", "dataDir": "DIR/ipam", "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}]}"#;
        let fixture = Fixture::new(conflist, Some(DEBIAN.into()));
        let cni = &fixture.cni;
        cni.ready().await.unwrap();
        cni.set_pod_cidrs(&["10.55.0.0/24".to_owned()])
            .await
            .unwrap();
        let (a, b) = (Namespace::new(), Namespace::new());
        let (to_a, to_b) = (attachment("a", &a.path, 0), attachment("b", &b.path, 0));
        let a_ip = cni.add(&to_a).await.unwrap().addresses[0];
        let b_ip = cni.add(&to_b).await.unwrap().addresses[0];
        assert_eq!(
            a_ip,
            "10.55.0.2".parse::<std::net::IpAddr>().unwrap(),
            "from the node's range"
        );
        b.serve(80, "b");
        assert_eq!(a.ask((b_ip, 80).into()).unwrap(), ("b".into(), a_ip));
        assert_eq!(ask((b_ip, 80).into()).unwrap().0, "b", "from the node");
        assert!(
            a.run(|| std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
            "loopback is up"
        );

        cni.check(&to_a).await.unwrap();
        assert_eq!(cni.add(&to_a).await.unwrap().addresses, [a_ip], "again");
        // The configuration goes; what was joined is taken down as it was joined.
        std::fs::remove_file(fixture.path().join("conf/10-test.conflist")).unwrap();
        assert!(
            cni.ready()
                .await
                .unwrap_err()
                .contains("no CNI network configuration")
        );
        cni.del(&to_a).await.unwrap();
        cni.del(&to_a).await.unwrap();
        assert!(cni.check(&to_a).await.is_err());
        b.unpin();
        drop(b);
        cni.del(&to_b).await.unwrap();
        let leases = std::fs::read_dir(fixture.path().join("ipam/test")).unwrap();
        let left: Vec<_> = leases
            .map(|e| e.unwrap().file_name())
            .filter(|n| n.to_string_lossy().starts_with("10."))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

/// Appends command, environment and input to a log, then answers.
const RECORDER: &str = r#"#!/bin/sh
printf '{"plugin":"%s","command":"%s","netns":"%s","args":"%s","input":' "${0##*/}" "$CNI_COMMAND" "$CNI_NETNS" "$CNI_ARGS" >> DIR/log
cat >> DIR/log
echo '}' >> DIR/log
[ "$CNI_COMMAND" = ADD ] && [ "${0##*/}" = second ] && [ -e DIR/fail ] && { echo '{"code": 7, "msg": "no luck", "details": "at all"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}], "by": "'"${0##*/}"'"}'
exit 0
"#;

fn log(fixture: &Fixture) -> Vec<Value> {
    let path = fixture.path().join("log");
    let text = std::fs::read_to_string(&path).unwrap();
    let _ = std::fs::remove_file(path);
    serde_json::Deserializer::from_str(&text)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

fn order(log: &[Value]) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    log.iter()
        .map(|e| format!("{} {}", text(&e["command"]), text(&e["plugin"])))
        .collect()
}

#[test]
fn plugins_are_chained_as_the_specification_says() {
    on_node(|| async {
        let conflist = r#"{"cniVersion": "1.0.0", "name": "test", "plugins": [
            {"type": "first", "capabilities": {"portMappings": true}, "own": 1},
            {"type": "second", "capabilities": {"bandwidth": true}}]}"#;
        let fixture = Fixture::new(conflist, None);
        assert!(
            fixture
                .cni
                .ready()
                .await
                .unwrap_err()
                .contains("plugin first is not in")
        );
        for name in ["first", "second"] {
            fixture.plugin(name, RECORDER);
        }
        fixture.cni.ready().await.unwrap();
        let pod = Namespace::new();
        let attachment = attachment("a", &pod.path, 8080);

        let attached = fixture.cni.add(&attachment).await.unwrap();
        assert_eq!(
            attached.addresses,
            ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]
        );
        let added = log(&fixture);
        assert_eq!(order(&added), ["ADD first", "ADD second"]);
        let (first, second) = (&added[0]["input"], &added[1]["input"]);
        assert_eq!(first["own"], 1);
        assert_eq!(first["runtimeConfig"]["portMappings"][0]["hostPort"], 8080);
        assert!(
            first.get("prevResult").is_none() && first["runtimeConfig"].get("bandwidth").is_none()
        );
        assert_eq!(second["prevResult"]["by"], "first");
        assert_eq!(
            second["runtimeConfig"]["bandwidth"]["ingressRate"],
            1_000_000
        );
        assert!(
            added[0]["args"]
                .as_str()
                .unwrap()
                .contains("K8S_POD_NAME=a;")
        );

        fixture.cni.check(&attachment).await.unwrap();
        assert_eq!(order(&log(&fixture)), ["CHECK first", "CHECK second"]);
        pod.unpin();
        std::fs::remove_file(&pod.path).unwrap();
        fixture.cni.del(&attachment).await.unwrap();
        let deleted = log(&fixture);
        assert_eq!(order(&deleted), ["DEL second", "DEL first"]);
        assert_eq!(
            (
                &deleted[0]["input"]["prevResult"]["by"],
                &deleted[0]["netns"]
            ),
            (&"second".into(), &"".into())
        );
    });
}

#[test]
fn a_failed_add_is_undone_and_told() {
    on_node(|| async {
        let conflist = r#"{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "first"}, {"type": "second"}]}"#;
        let fixture = Fixture::new(conflist, None);
        for name in ["first", "second"] {
            fixture.plugin(name, RECORDER);
        }
        std::fs::write(fixture.path().join("fail"), "").unwrap();
        let pod = Namespace::new();
        let attachment = attachment("a", &pod.path, 0);
        let error = fixture.cni.add(&attachment).await.unwrap_err().to_string();
        assert!(
            error.contains("plugin second failed: no luck; at all (code 7)"),
            "{error}"
        );
        assert_eq!(
            order(&log(&fixture)),
            ["ADD first", "ADD second", "DEL second", "DEL first"]
        );
        std::fs::remove_file(fixture.path().join("fail")).unwrap();
        fixture.cni.add(&attachment).await.unwrap();
    });
}
