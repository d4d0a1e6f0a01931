//! A second machine joins: it proves itself with a token, gets certificates of its own, runs pods, and
//! its pods and those of the first reach each other.

use std::process::{Child, Command, Stdio};

use corten_tests::{Cluster, cluster, cluster::corten, eventually};

/// A running agent; ended, and what its pods left taken away, when dropped.
struct Agent<'c> {
    cluster: &'c Cluster,
    child: Option<Child>,
}

impl Agent<'_> {
    fn command(cluster: &Cluster, arguments: &[&str]) -> Command {
        let mut command = cluster.world.on_second(corten());
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(cluster.scratch().join("agent"))
            .stdin(Stdio::null());
        command
    }

    fn start<'c>(cluster: &'c Cluster, token: Option<&str>) -> Agent<'c> {
        let mut arguments = vec!["agent", "--server", "https://192.0.2.2:6443"];
        arguments.extend(["--node-name", "node-2"]);
        arguments.extend(token.iter().flat_map(|t| ["--token", t]));
        let child = Agent::command(cluster, &arguments).spawn().unwrap();
        Agent {
            cluster,
            child: Some(child),
        }
    }

    fn end(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = rustix::process::Pid::from_child(&child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        child.wait().unwrap().code()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.end();
        // What is left is seen by whoever looks; a test cannot do more.
        let _ = Agent::command(self.cluster, &["reset", "--yes"]).output();
    }
}

fn node_is_ready(cluster: &Cluster) {
    let ready = "{.status.conditions[?(@.type=='Ready')].status}";
    eventually("the second node is Ready", || {
        let output =
            cluster.try_kubectl(&["get", "node", "node-2", "-o", &format!("jsonpath={ready}")]);
        (output.good() && output.out.trim() == "True")
            .then_some(())
            .ok_or(output.err)
    });
}

#[test]
fn a_second_node_joins_with_a_token_and_pods_reach_each_other() {
    let cluster = cluster!();
    cluster.world.add_second();
    let made = cluster.corten(&["token", "create", "--description", "for the test"]);
    assert!(made.good(), "{}", made.err);
    let token = made.out.trim().to_string();
    let listed = cluster.corten(&["token", "list"]).out;
    assert!(
        listed.contains(&token[..6]) && listed.contains("for the test"),
        "{listed}"
    );
    assert!(
        !listed.contains(&token[7..23]),
        "the secret half is not listed"
    );

    // A server that is not the one the token is for gets no token.
    let mut other = token.clone();
    other.replace_range(token.len() - 4.., "0000");
    let arguments = [
        "agent",
        "--server",
        "https://192.0.2.2:6443",
        "--token",
        &other,
    ];
    let refused = Agent::command(&cluster, &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("is not the cluster the token is for"),
        "{said}"
    );

    let mut agent = Agent::start(&cluster, Some(&token));
    node_is_ready(&cluster);
    for node in ["node-1", "node-2"] {
        cluster.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: on-{node}, labels: {{app: web}}}}
spec:
  nodeName: {node}
  containers: [{{name: web, image: corten.local/tools, args: [echo]}}]
"
        ));
    }
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod",
        "-l",
        "app=web",
        "--timeout=120s",
    ]);
    cluster.kubectl(&["create", "service", "clusterip", "web", "--tcp=80:8080"]);
    let address = |pod: &str| cluster.jsonpath(&["pod", pod], "{.status.podIP}");
    for (from, to) in [("on-node-1", "on-node-2"), ("on-node-2", "on-node-1")] {
        let url = format!("http://{}:8080/", address(to));
        eventually(&format!("{from} reaches {to}"), || {
            let output =
                cluster.try_kubectl(&["exec", from, "--", "/corten", "tools", "get", &url]);
            (output.good() && output.out.contains(&format!("hostname: {to}")))
                .then_some(())
                .ok_or((output.out, output.err))
        });
        // Names are answered and Services lead on, on either node.
        eventually(&format!("{from} reaches the Service"), || {
            let output = cluster.try_kubectl(&[
                "exec",
                from,
                "--",
                "/corten",
                "tools",
                "get",
                "http://web/",
            ]);
            (output.good() && output.out.contains("hostname: on-node"))
                .then_some(())
                .ok_or((output.out, output.err))
        });
    }

    // The token is needed once only.
    assert_eq!(agent.end(), Some(0), "SIGTERM ends it cleanly");
    drop(cluster.corten(&["token", "delete", &token[..6]]));
    let again = Agent::start(&cluster, None);
    node_is_ready(&cluster);
    let restarts = cluster.jsonpath(
        &["pod", "on-node-2"],
        "{.status.containerStatuses[0].restartCount}",
    );
    assert_eq!(restarts, "0", "pods outlive the agent");
    drop(again);
}
