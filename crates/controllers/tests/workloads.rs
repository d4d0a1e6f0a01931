//! Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs and CronJobs.

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, ReplicationController};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
    })
}

fn is_rolled_out(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(replicas)
        && status.replicas == Some(replicas)
        && status.available_replicas == Some(replicas)
        && status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "Progressing"
                && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
        })
}

#[tokio::test]
async fn a_deployment_rolls_out_rolls_over_and_rolls_back() {
    let cluster = Cluster::start().await;
    cluster
        .create::<Deployment>("default", deployment(3, "a"))
        .await;
    let rolled = |replicas| {
        move |all: &[Deployment]| all.first().is_some_and(|one| is_rolled_out(one, replicas))
    };
    let done = cluster.wait("default", rolled(3)).await;
    assert_eq!(
        done[0].metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"],
        "1"
    );
    assert_eq!(
        done[0].metadata.generation,
        Some(1),
        "the controller does not change the spec"
    );

    let api = cluster.api::<Deployment>("default");
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    api.patch(
        "web",
        &PatchParams::default(),
        &Patch::Strategic(image("b")),
    )
    .await
    .unwrap();
    cluster
        .wait::<Deployment>("default", |all| {
            let spec = all[0]
                .spec
                .as_ref()
                .and_then(|spec| spec.template.spec.as_ref());
            let image = spec.and_then(|spec| spec.containers[0].image.as_deref());
            image == Some("b") && is_rolled_out(&all[0], 3)
        })
        .await;
    let sets = cluster
        .wait::<ReplicaSet>("default", |all| all.len() == 2)
        .await;
    let mut sizes: Vec<_> = sets
        .iter()
        .map(|set| set.spec.as_ref().unwrap().replicas.unwrap())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 3]);

    // `kubectl rollout undo` puts the old template back.
    api.patch(
        "web",
        &PatchParams::default(),
        &Patch::Strategic(image("a")),
    )
    .await
    .unwrap();
    cluster
        .wait::<Deployment>("default", |all| {
            let revision = all[0]
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get("deployment.kubernetes.io/revision"));
            is_rolled_out(&all[0], 3) && revision.is_some_and(|revision| revision == "3")
        })
        .await;

    let scale = json!({"spec": {"replicas": 5}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .unwrap();
    cluster.wait("default", rolled(5)).await;
    cluster
        .wait::<Event>("default", |all| {
            all.iter()
                .any(|event| event.reason.as_deref() == Some("ScalingReplicaSet"))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_deleted_pod_is_replaced_and_a_stray_one_adopted() {
    let cluster = Cluster::start().await;
    let set = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("a")},
    });
    let stray = json!({"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    cluster.create::<Pod>("default", stray).await;
    cluster.create::<ReplicaSet>("default", set).await;
    let ready = |all: &[ReplicaSet]| {
        all[0]
            .status
            .as_ref()
            .is_some_and(|status| status.ready_replicas == Some(2))
    };
    cluster.wait("default", ready).await;
    let pods = cluster.wait::<Pod>("default", |all| all.len() == 2).await;
    let adopted = pods
        .iter()
        .find(|pod| pod.metadata.name.as_deref() == Some("stray"))
        .unwrap();
    assert_eq!(
        adopted.metadata.owner_references.as_ref().unwrap()[0].controller,
        Some(true)
    );

    let gone = pods[0].metadata.uid.clone();
    let api = cluster.api::<Pod>("default");
    api.delete(pods[0].metadata.name.as_ref().unwrap(), &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<Pod>("default", |all| {
            all.len() == 2
                && all.iter().all(|pod| {
                    pod.metadata.uid != gone && pod.metadata.deletion_timestamp.is_none()
                })
        })
        .await;

    // A pod that no longer matches is let go, and replaced.
    let relabel = json!({"metadata": {"labels": {"app": "debug"}}});
    let name = cluster.wait::<Pod>("default", |_| true).await[0]
        .metadata
        .name
        .clone()
        .unwrap();
    api.patch(&name, &PatchParams::default(), &Patch::Merge(relabel))
        .await
        .unwrap();
    let pods = cluster
        .wait::<Pod>("default", |all| {
            all.len() == 3
                && all.iter().any(|pod| {
                    pod.metadata
                        .owner_references
                        .as_ref()
                        .is_none_or(Vec::is_empty)
                })
        })
        .await;
    assert_eq!(pods.len(), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn a_replication_controller_keeps_its_pods() {
    let cluster = Cluster::start().await;
    let controller = json!({
        "metadata": {"name": "old"},
        "spec": {"replicas": 2, "selector": {"app": "web"}, "template": template("a")},
    });
    cluster
        .create::<ReplicationController>("default", controller)
        .await;
    cluster
        .wait::<ReplicationController>("default", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.available_replicas == Some(2))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_daemon_set_follows_the_nodes() {
    let cluster = Cluster::start().await;
    let set = json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template("a")},
    });
    cluster.create::<DaemonSet>("default", set).await;
    cluster
        .wait::<DaemonSet>("default", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.number_available == Some(1))
        })
        .await;
    let pods = cluster.wait::<Pod>("default", |all| all.len() == 1).await;
    let tolerations = pods[0].spec.as_ref().unwrap().tolerations.clone().unwrap();
    assert!(tolerations.iter().any(|toleration| toleration.key.as_deref() == Some("node.kubernetes.io/unschedulable")));
    let api = cluster.api::<DaemonSet>("default");
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    api.patch("agent", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    cluster
        .wait::<DaemonSet>("default", |all| {
            let status = all[0].status.clone().unwrap_or_default();
            status.observed_generation == Some(2)
                && status.updated_number_scheduled == Some(1)
                && status.number_available == Some(1)
        })
        .await;
    cluster
        .wait::<ControllerRevision>("default", |all| all.len() == 2)
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_job_completes_and_another_fails() {
    let cluster = Cluster::start().await;
    let job = |name: &str, image: &str, completions: i32| {
        json!({
            "metadata": {"name": name},
            "spec": {"completions": completions, "parallelism": 2, "backoffLimit": 0, "template": {"spec": {
                "containers": [{"name": "c", "image": image}], "restartPolicy": "Never",
            }}},
        })
    };
    cluster
        .create::<Job>("default", job("good", "succeed", 5))
        .await;
    cluster
        .create::<Job>("default", job("bad", "fail", 1))
        .await;
    let finished = |all: &[Job], name: &str, type_: &str| {
        all.iter().any(|job| {
            let conditions = job
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_deref())
                .unwrap_or_default();
            job.metadata.name.as_deref() == Some(name)
                && conditions
                    .iter()
                    .any(|condition| condition.type_ == type_ && condition.status == "True")
        })
    };
    let jobs = cluster
        .wait::<Job>("default", |all| {
            finished(all, "good", "Complete") && finished(all, "bad", "Failed")
        })
        .await;
    for job in jobs {
        let status = job.status.unwrap();
        let counts = (
            status.succeeded.unwrap_or_default(),
            status.failed.unwrap_or_default(),
        );
        let expected = if job.metadata.name.as_deref() == Some("good") {
            (5, 0)
        } else {
            (0, 1)
        };
        assert_eq!(counts, expected);
    }
    let pods = cluster
        .wait::<Pod>("default", |all| {
            all.len() == 6
                && all
                    .iter()
                    .all(|pod| pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
        })
        .await;
    assert_eq!(pods.len(), 6);
    cluster.stop().await;
}

#[tokio::test]
async fn a_stateful_set_comes_up_in_order_and_rolls_over() {
    let cluster = Cluster::start().await;
    let set = json!({
        "metadata": {"name": "db"},
        "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": template("a"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}]},
    });
    cluster.create::<StatefulSet>("default", set).await;
    let ready = |image: &'static str| {
        move |pods: &[Pod]| {
            let names: Vec<_> = pods
                .iter()
                .filter_map(|pod| pod.metadata.name.as_deref())
                .collect();
            names == ["db-0", "db-1"]
                && pods.iter().all(|pod| {
                    let status = pod.status.clone().unwrap_or_default();
                    pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
                        && status.conditions.iter().flatten().any(|condition| {
                            condition.type_ == "Ready" && condition.status == "True"
                        })
                })
        }
    };
    cluster.wait("default", ready("a")).await;
    let claims = cluster
        .wait::<PersistentVolumeClaim>("default", |all| all.len() == 2)
        .await;
    assert_eq!(claims[1].metadata.name.as_deref(), Some("data-db-1"));
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    let api = cluster.api::<StatefulSet>("default");
    api.patch("db", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    cluster.wait("default", ready("b")).await;
    cluster
        .wait::<StatefulSet>("default", |all| {
            let status = all[0].status.clone().unwrap_or_default();
            status.current_revision.is_some()
                && status.current_revision == status.update_revision
                && status.updated_replicas == Some(2)
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_stateful_set_takes_only_pods_with_its_names() {
    let cluster = Cluster::start().await;
    let pod = |name: &str| json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    for name in ["stray", "db-0"] {
        cluster.create::<Pod>("default", pod(name)).await;
    }
    let set = json!({"metadata": {"name": "db"}, "spec": {"replicas": 2, "serviceName": "db",
        "selector": {"matchLabels": {"app": "web"}}, "template": template("a")}});
    cluster.create::<StatefulSet>("default", set).await;
    cluster
        .wait::<StatefulSet>("default", |all| {
            let status = all[0].status.clone().unwrap_or_default();
            status.ready_replicas == Some(2)
        })
        .await;
    let owned: Vec<_> = cluster
        .wait::<Pod>("default", |all| all.len() == 3)
        .await
        .into_iter()
        .filter(|pod| pod.metadata.owner_references.is_some())
        .filter_map(|pod| pod.metadata.name)
        .collect();
    assert_eq!(owned, ["db-0", "db-1"]);
    let revisions = cluster
        .wait::<ControllerRevision>("default", |all| !all.is_empty())
        .await;
    let labels = revisions[0].metadata.labels.as_ref().unwrap();
    assert!(labels.contains_key("controller.kubernetes.io/hash"));
    cluster.stop().await;
}

#[tokio::test]
async fn a_cron_job_makes_a_job_when_it_is_time() {
    let cluster = Cluster::start().await;
    let cron = json!({
        "metadata": {"name": "tick"},
        "spec": {"schedule": "@every 1s", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1, "jobTemplate": {"spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "succeed"}], "restartPolicy": "Never"}},
        }}},
    });
    cluster.create::<CronJob>("default", cron).await;
    let jobs = cluster
        .wait::<Job>("default", |all| {
            all.iter().any(|job| {
                job.status
                    .as_ref()
                    .is_some_and(|status| status.succeeded == Some(1))
            })
        })
        .await;
    assert_eq!(
        jobs[0].metadata.owner_references.as_ref().unwrap()[0].kind,
        "CronJob"
    );
    cluster
        .wait::<CronJob>("default", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.last_successful_time.is_some())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_stateful_set_that_is_going_says_what_is_left() {
    let cluster = Cluster::start().await;
    let set = json!({"metadata": {"name": "db", "finalizers": ["example.com/hold"]}, "spec": {
        "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}},
        "template": template("a")}});
    cluster.create::<StatefulSet>("default", set).await;
    let left = |count: i32| {
        move |all: &[StatefulSet]| {
            let status = all.first().and_then(|set| set.status.clone());
            status.is_some_and(|status| {
                (status.replicas, status.ready_replicas) == (count, Some(count))
            })
        }
    };
    cluster.wait("default", left(2)).await;
    let sets = cluster.api::<StatefulSet>("default");
    sets.delete("db", &Default::default()).await.unwrap();
    cluster
        .wait("default", |all: &[StatefulSet]| {
            all[0].metadata.deletion_timestamp.is_some()
        })
        .await;
    let pods = cluster.api::<Pod>("default");
    pods.delete("db-1", &Default::default()).await.unwrap();
    cluster.wait("default", left(1)).await;
    cluster.stop().await;
}
