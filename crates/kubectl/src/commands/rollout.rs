//! `kubectl rollout` for Deployments, DaemonSets and StatefulSets.

use futures::{AsyncBufReadExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};

use super::duration;
use crate::{
    describe::pod_template,
    error::{Error, Result, io, usage},
    flags::{Rollout, Selection},
    object::{Found, objects},
    output::tabs,
    session::{Session, escape},
};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

/// Runs it.
pub async fn run(session: &Session, command: &Rollout) -> Result<u8> {
    match command {
        Rollout::Status {
            selection,
            watch,
            timeout,
        } => {
            for item in found(session, selection).await? {
                status(session, item, *watch, timeout).await?;
            }
        }
        Rollout::History {
            selection,
            revision,
        } => {
            for item in found(session, selection).await? {
                history(session, &item, *revision).await?;
            }
        }
        Rollout::Undo {
            selection,
            to_revision,
        } => {
            for item in found(session, selection).await? {
                undo(session, &item, *to_revision).await?;
            }
        }
        Rollout::Restart { selection } => {
            let now = api::clock::rfc3339(jiff::Timestamp::now());
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
            change(session, selection, &patch, "restarted").await?;
        }
        Rollout::Pause { selection } => {
            change(
                session,
                selection,
                &json!({"spec": {"paused": true}}),
                "paused",
            )
            .await?
        }
        Rollout::Resume { selection } => {
            change(
                session,
                selection,
                &json!({"spec": {"paused": null}}),
                "resumed",
            )
            .await?
        }
    }
    Ok(0)
}

async fn found(session: &Session, selection: &Selection) -> Result<Vec<Found>> {
    let (found, errors) = objects(session, selection).await?;
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

async fn change(session: &Session, selection: &Selection, patch: &Value, verb: &str) -> Result<()> {
    for item in found(session, selection).await? {
        let body = Some(("application/strategic-merge-patch+json", patch));
        session
            .json(Method::PATCH, &item.path(), "application/json", body)
            .await?;
        println!("{} {verb}", item.resource.named(item.name()));
    }
    Ok(())
}

/// What is still to come, or that the rollout is done, or that it has failed.
fn progress(kind: &str, object: &Value) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let spec = &object["spec"];
    let status = &object["status"];
    let number = |v: &Value| v.as_i64().unwrap_or_default();
    let seen = number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    match kind {
        "Deployment" if seen => {
            let late = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded");
            if late {
                return Err(usage(format!(
                    "deployment \"{name}\" exceeded its progress deadline"
                )));
            }
            let (replicas, updated, available) = (
                number(&status["replicas"]),
                number(&status["updatedReplicas"]),
                number(&status["availableReplicas"]),
            );
            Ok(if updated < wanted {
                (
                    format!(
                        "Waiting for deployment \"{name}\" rollout to finish: {updated} out of {wanted} new replicas have been updated..."
                    ),
                    false,
                )
            } else if replicas > updated {
                (
                    format!(
                        "Waiting for deployment \"{name}\" rollout to finish: {} old replicas are pending termination...",
                        replicas - updated
                    ),
                    false,
                )
            } else if available < updated {
                (
                    format!(
                        "Waiting for deployment \"{name}\" rollout to finish: {available} of {updated} updated replicas are available..."
                    ),
                    false,
                )
            } else {
                (
                    format!("deployment \"{name}\" successfully rolled out"),
                    true,
                )
            })
        }
        "Deployment" => Ok((
            "Waiting for deployment spec update to be observed...".into(),
            false,
        )),
        "DaemonSet" if seen => {
            let (desired, updated, available) = (
                number(&status["desiredNumberScheduled"]),
                number(&status["updatedNumberScheduled"]),
                number(&status["numberAvailable"]),
            );
            Ok(if updated < desired {
                (
                    format!(
                        "Waiting for daemon set \"{name}\" rollout to finish: {updated} out of {desired} new pods have been updated..."
                    ),
                    false,
                )
            } else if available < desired {
                (
                    format!(
                        "Waiting for daemon set \"{name}\" rollout to finish: {available} of {desired} updated pods are available..."
                    ),
                    false,
                )
            } else {
                (
                    format!("daemon set \"{name}\" successfully rolled out"),
                    true,
                )
            })
        }
        "DaemonSet" => Ok((
            "Waiting for daemon set spec update to be observed...".into(),
            false,
        )),
        "StatefulSet" if seen => {
            let (ready, updated) = (
                number(&status["readyReplicas"]),
                number(&status["updatedReplicas"]),
            );
            let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
            Ok(if ready < wanted {
                (
                    format!("Waiting for {} pods to be ready...", wanted - ready),
                    false,
                )
            } else if partition > 0 && updated < wanted - partition {
                (
                    format!(
                        "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                        wanted - partition
                    ),
                    false,
                )
            } else if partition > 0 {
                (
                    format!(
                        "partitioned roll out complete: {updated} new pods have been updated..."
                    ),
                    true,
                )
            } else if status["updateRevision"] != status["currentRevision"] {
                (
                    format!(
                        "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                        status["updateRevision"].as_str().unwrap_or_default()
                    ),
                    false,
                )
            } else {
                (
                    format!(
                        "statefulset rolling update complete {} pods at revision {}...",
                        number(&status["currentReplicas"]),
                        status["currentRevision"].as_str().unwrap_or_default()
                    ),
                    true,
                )
            })
        }
        "StatefulSet" => Ok((
            "Waiting for statefulset spec update to be observed...".into(),
            false,
        )),
        other => Err(usage(format!(
            "no status viewer has been implemented for {other}"
        ))),
    }
}

async fn status(session: &Session, item: Found, watch: bool, timeout: &str) -> Result<()> {
    let limit = duration(timeout)?;
    let follow = async {
        let mut last = String::new();
        let mut say = |object: &Value| -> Result<bool> {
            let (text, done) = progress(&item.resource.kind, object)?;
            if text != last {
                println!("{text}");
                last = text;
            }
            Ok(done || !watch)
        };
        loop {
            let object = session.get(&item.path()).await?;
            if say(&object)? {
                return Ok(());
            }
            let version = object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            let path = format!(
                "{}?watch=true&fieldSelector=metadata.name%3D{}&resourceVersion={version}",
                item.resource.path(Some(item.namespace())),
                item.name()
            );
            let mut lines = session.stream(&path, "application/json").await?.lines();
            while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
                let event: Value =
                    serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
                match event["type"].as_str() {
                    Some("ERROR") => break,
                    Some("DELETED") => return Err(usage("object has been deleted")),
                    _ if say(&event["object"])? => return Ok(()),
                    _ => {}
                }
            }
        }
    };
    if limit.is_zero() {
        return follow.await;
    }
    tokio::time::timeout(limit, follow)
        .await
        .map_err(|_| usage("timed out waiting for the condition"))?
}

/// Revision, change cause and template of each of the rollouts, oldest first.
async fn revisions(session: &Session, item: &Found) -> Result<Vec<(i64, String, Value)>> {
    let selector = api::labels::Selector::from_label_selector(&item.object["spec"]["selector"])
        .map_err(|e| usage(e.to_string()))?;
    let plural = if item.resource.kind == "Deployment" {
        "replicasets"
    } else {
        "controllerrevisions"
    };
    let path = format!(
        "/apis/apps/v1/namespaces/{}/{plural}?labelSelector={}",
        item.namespace(),
        escape(&selector.to_string())
    );
    let uid = &item.object["metadata"]["uid"];
    let list = session.get(&path).await?;
    let mut all = Vec::new();
    for one in list["items"].as_array().into_iter().flatten() {
        if !one["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|o| o["uid"] == *uid)
        {
            continue;
        }
        let cause = one["metadata"]["annotations"][CAUSE]
            .as_str()
            .unwrap_or("<none>")
            .to_string();
        if plural == "replicasets" {
            let number = one["metadata"]["annotations"][REVISION]
                .as_str()
                .and_then(|r| r.parse().ok())
                .unwrap_or_default();
            all.push((number, cause, one["spec"]["template"].clone()));
        } else {
            all.push((
                one["revision"].as_i64().unwrap_or_default(),
                cause,
                one["data"]["spec"]["template"].clone(),
            ));
        }
    }
    all.sort_by_key(|(number, ..)| *number);
    Ok(all)
}

async fn history(session: &Session, item: &Found, revision: i64) -> Result<()> {
    if revision > 0 {
        let all = revisions(session, item).await?;
        let Some((_, _, template)) = all.iter().find(|(n, ..)| *n == revision) else {
            return Err(usage("unable to find the specified revision"));
        };
        print!(
            "{} with revision #{revision}\n{}\n",
            item.resource.named(item.name()),
            pod_template(template)
        );
        return Ok(());
    }
    println!("{} ", item.resource.named(item.name()));
    let mut rows = vec![vec!["REVISION".to_string(), "CHANGE-CAUSE".to_string()]];
    rows.extend(
        revisions(session, item)
            .await?
            .into_iter()
            .map(|(number, cause, _)| vec![number.to_string(), cause]),
    );
    let lines: Vec<String> = rows.iter().map(|row| row.join("\t") + "\n").collect();
    println!("{}", tabs::DESCRIPTION.align(&lines.concat()));
    Ok(())
}

async fn undo(session: &Session, item: &Found, to: i64) -> Result<()> {
    let all = revisions(session, item).await?;
    let chosen = if to > 0 {
        all.iter().find(|(n, ..)| *n == to)
    } else {
        all.iter().rev().nth(1)
    };
    let Some((number, _, template)) = chosen else {
        return Err(usage(if to > 0 {
            format!("unable to find specified revision {to} in history")
        } else {
            "no rollout history found".into()
        }));
    };
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    if item.object["spec"]["template"] == template {
        println!(
            "{} skipped rollback (current template already matches revision {number})",
            item.resource.named(item.name())
        );
        return Ok(());
    }
    session
        .json(
            Method::PATCH,
            &item.path(),
            "application/json",
            Some(("application/json-patch+json", &patch)),
        )
        .await?;
    println!("{} rolled back", item.resource.named(item.name()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::progress;

    #[test]
    fn a_deployments_progress_is_told_in_kubectls_words() {
        let with = |generation: i64, replicas: i64, updated: i64, available: i64| {
            json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3},
                   "status": {"observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available}})
        };
        for (object, text, done) in [
            (
                with(1, 3, 3, 3),
                "Waiting for deployment spec update to be observed...",
                false,
            ),
            (
                with(2, 3, 1, 3),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
                false,
            ),
            (
                with(2, 4, 3, 3),
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
                false,
            ),
            (
                with(2, 3, 3, 2),
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
                false,
            ),
            (
                with(2, 3, 3, 3),
                "deployment \"web\" successfully rolled out",
                true,
            ),
        ] {
            assert_eq!(
                progress("Deployment", &object).unwrap(),
                (text.to_string(), done)
            );
        }
    }
}
