//! `kubectl drain`: cordons the node, then evicts what may leave it, and waits until it is gone.
//!
//! [`plan`] decides, from the pods alone, which leave, which stay, and what forbids it all.

use std::time::Duration;

use api::object::Object;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    change::Dry,
    delete::until_gone,
    duration,
    nodes::{chosen, cordon_one},
    report,
};
use crate::{
    error::{Error, Result, usage},
    flags::Drain,
    object::{Found, Target},
    session::{Session, escape},
};

/// How long a refused eviction is let rest before it is asked for again (upstream's).
const AGAIN: Duration = Duration::from_secs(5);

/// Runs it.
pub async fn run(session: &Session, flags: &Drain) -> Result<u8> {
    let (found, mut errors) = chosen(session, &flags.nodes).await?;
    for node in &found {
        cordon_one(session, node, &flags.nodes.dry_run, true).await?;
    }
    let mut pending = Vec::new();
    for node in &found {
        match one(session, flags, node).await {
            Ok(()) => println!(
                "node/{} drained{}",
                node.name(),
                Dry::parse(&flags.nodes.dry_run)?.words()
            ),
            Err(error) => {
                let text = error.to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).to_string();
                eprintln!(
                    "error: unable to drain node \"{}\" due to error: {text}, continuing command...",
                    node.name()
                );
                pending.push((node.name().to_string(), text));
            }
        }
    }
    if !pending.is_empty() {
        eprintln!("There are pending nodes to be drained:");
        for (name, _) in &pending {
            eprintln!(" {name}");
        }
        for (_, text) in pending {
            // Said once more at the end, as kubectl does, without a word before it.
            eprintln!("{}", text.trim_start_matches('[').trim_end_matches(']'));
        }
        errors.push(Error::Silent(1));
        return Ok(1);
    }
    Ok(report(&errors))
}

/// What becomes of a node's pods.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Leave.
    leave: Vec<(String, String)>,
    /// Said beforehand.
    warnings: Vec<String>,
    /// Forbids it.
    errors: Vec<String>,
}

fn named(pod: &Value) -> String {
    format!(
        "{}/{}",
        pod.text("metadata.namespace"),
        pod.text("metadata.name")
    )
}

fn plan(pods: &[Value], flags: &Drain) -> Plan {
    let mut plan = Plan::default();
    let [mut daemons, mut local, mut alone]: [Vec<String>; 3] = Default::default();
    for pod in pods {
        let annotations = pod.at("metadata.annotations");
        if annotations.get("kubernetes.io/config.mirror").is_some() {
            continue;
        }
        let over = matches!(pod.text("status.phase"), "Succeeded" | "Failed");
        let owner = pod
            .list("metadata.ownerReferences")
            .iter()
            .find(|o| o.flag("controller"));
        if owner.is_some_and(|o| o.text("kind") == "DaemonSet") && !over {
            daemons.push(named(pod));
            continue;
        }
        let keeps = pod.list("spec.volumes").iter().any(|v| v.has("emptyDir"));
        if keeps && !over {
            local.push(named(pod));
        }
        if owner.is_none() && !over {
            alone.push(named(pod));
        }
        plan.leave.push((
            pod.text("metadata.namespace").into(),
            pod.text("metadata.name").into(),
        ));
    }
    let mut judge = |names: Vec<String>, allowed: bool, refusal: &str, warning: &str| {
        if names.is_empty() {
            return;
        }
        let names = names.join(", ");
        match (allowed, warning) {
            (false, _) => plan.errors.push(format!("{refusal}: {names}")),
            (true, "") => {}
            (true, warning) => plan.warnings.push(format!("{warning}: {names}")),
        }
    };
    judge(
        daemons,
        flags.ignore_daemonsets,
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
        "ignoring DaemonSet-managed Pods",
    );
    judge(
        local,
        flags.delete_emptydir_data,
        "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
        "",
    );
    judge(
        alone,
        flags.force,
        "cannot delete Pods that declare no controller (use --force to override)",
        "deleting Pods that declare no controller",
    );
    plan
}

async fn one(session: &Session, flags: &Drain, node: &Found) -> Result<()> {
    let fields = escape(&format!("spec.nodeName={}", node.name()));
    let labels = match &flags.pod_selector {
        Some(labels) => format!("&labelSelector={}", escape(labels)),
        None => String::new(),
    };
    let list = session
        .get(&format!("/api/v1/pods?fieldSelector={fields}{labels}"))
        .await?;
    let plan = plan(list.list("items"), flags);
    if !plan.errors.is_empty() {
        let all = plan.errors.join(", ");
        return Err(usage(if plan.errors.len() > 1 {
            format!("[{all}]")
        } else {
            all
        }));
    }
    if !plan.warnings.is_empty() {
        eprintln!("Warning: {}", plan.warnings.join("; "));
    }
    let dry = Dry::parse(&flags.nodes.dry_run)?;
    let limit = duration(&flags.timeout)?;
    let end = (!limit.is_zero()).then(|| Instant::now() + limit);
    let pods = session.mapping().await?.of_kind("v1", "Pod")?;
    let mut leaving = Vec::new();
    for (namespace, name) in plan.leave {
        let verb = if flags.disable_eviction {
            "deleting"
        } else {
            "evicting"
        };
        if dry != Dry::No {
            println!("{verb} pod {namespace}/{name}{}", dry.words());
            continue;
        }
        eprintln!("{verb} pod {namespace}/{name}");
        leaving.push(Target {
            resource: pods.clone(),
            name: Some(name),
            namespace,
        });
    }
    let gone = leaving
        .iter()
        .map(|target| away(session, flags, target, end));
    futures::future::try_join_all(gone).await?;
    Ok(())
}

/// Evicts one pod, again and again while its budget forbids it, and waits until it is gone.
async fn away(
    session: &Session,
    flags: &Drain,
    target: &Target,
    end: Option<Instant>,
) -> Result<()> {
    let name = target.name.as_deref().unwrap_or_default();
    let path = target.resource.object(&target.namespace, name);
    let mut options = json!({});
    if flags.grace_period >= 0 {
        options["gracePeriodSeconds"] = flags.grace_period.into();
    }
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": target.namespace}, "deleteOptions": options});
    let uid = match session.get(&path).await {
        Ok(pod) => pod.text("metadata.uid").to_string(),
        Err(Error::Server(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    };
    let work = async {
        loop {
            let sent = if flags.disable_eviction {
                let body = Some(("application/json", &options));
                session
                    .json(Method::DELETE, &path, "application/json", body)
                    .await
            } else {
                let body = Some(("application/json", &eviction));
                let place = format!("{path}/eviction");
                session
                    .json(Method::POST, &place, "application/json", body)
                    .await
            };
            match sent {
                Ok(_) => break,
                Err(Error::Server(status)) if status.code == 404 => break,
                Err(Error::Server(status)) if status.code == 429 => {
                    eprintln!(
                        "error when evicting pods/{name:?} -n {:?} (will retry after 5s): {}",
                        target.namespace, status.message
                    );
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
        until_gone(session, target, &uid).await
    };
    match end {
        None => work.await?,
        Some(end) => tokio::time::timeout_at(end, work).await.map_err(|_| {
            usage(format!(
                "error when waiting for pod {name:?} in namespace {:?} to terminate: global timeout reached: {}",
                target.namespace, flags.timeout
            ))
        })??,
    }
    let verb = if flags.disable_eviction {
        "deleted"
    } else {
        "evicted"
    };
    println!("pod/{name} {verb}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::plan;
    use crate::flags::{Command, Drain, Kubectl};

    fn flags(words: &[&str]) -> Drain {
        let all = ["kubectl", "drain", "n1"].iter().chain(words);
        match Kubectl::parse_from(all).command {
            Command::Drain(flags) => flags,
            other => panic!("{other:?}"),
        }
    }

    fn pod(name: &str, owner: Option<&str>, more: Value) -> Value {
        let mut pod =
            json!({"metadata": {"namespace": "x", "name": name}, "status": {"phase": "Running"}});
        if let Some(kind) = owner {
            pod["metadata"]["ownerReferences"] = json!([{"kind": kind, "controller": true}]);
        }
        for (key, value) in more.as_object().unwrap() {
            pod[key.as_str()] = value.clone();
        }
        pod
    }

    #[test]
    fn what_leaves_and_what_forbids_it() {
        let pods = [
            pod("web", Some("ReplicaSet"), json!({})),
            pod("agent", Some("DaemonSet"), json!({})),
            pod("lone", None, json!({})),
            pod(
                "data",
                Some("StatefulSet"),
                json!({"spec": {"volumes": [{"emptyDir": {}}]}}),
            ),
            pod("done", None, json!({"status": {"phase": "Succeeded"}})),
        ];
        let bare = plan(&pods, &flags(&[]));
        assert_eq!(
            bare.errors,
            [
                "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): x/agent",
                "cannot delete Pods with local storage (use --delete-emptydir-data to override): x/data",
                "cannot delete Pods that declare no controller (use --force to override): x/lone",
            ]
        );
        let all = flags(&["--ignore-daemonsets", "--delete-emptydir-data", "--force"]);
        let all = plan(&pods, &all);
        assert_eq!(all.errors, [""; 0]);
        let names: Vec<&str> = all.leave.iter().map(|(_, n)| n.as_str()).collect();
        assert_eq!(names, ["web", "lone", "data", "done"]);
        assert_eq!(
            all.warnings,
            [
                "ignoring DaemonSet-managed Pods: x/agent",
                "deleting Pods that declare no controller: x/lone"
            ]
        );
    }
}
