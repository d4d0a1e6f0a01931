//! No controller loops hot on an object it cannot satisfy: it tries again less and less often, and
//! says what is wrong in one event.
//!
//! Everything that cannot be satisfied is there at once, and all controllers run. The test goes on
//! until those that must not give up have tried often enough; by then a loop would have tried
//! without end.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Tries of one thing, of which each waits twice as long as the one before: 5 ms, 10 ms, …
const TRIES: usize = 8;
/// How long so many take at least. Some of the first may follow each other at once, since what a try
/// wrote is a change too.
const AT_LEAST: Duration = Duration::from_millis(300);
/// Writes of one account in all that time: tries, statuses, events. A loop makes thousands.
const MOST: usize = 150;

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "a"}]}})
}

fn selector(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

/// What nobody may have a pod of: the quota allows none.
async fn refused_by_quota(cluster: &Cluster) {
    let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0", "count/jobs.batch": "1"}}});
    cluster.create::<ResourceQuota>("default", none).await;
    cluster
        .wait::<ResourceQuota>("default", |all| {
            all[0].status.as_ref().is_some_and(|s| s.used.is_some())
        })
        .await;
    let spec =
        |app: &str| json!({"replicas": 2, "selector": selector(app), "template": template(app)});
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let deployment = named("deployment", spec("deployment"));
    cluster.create::<Deployment>("default", deployment).await;
    let controller = json!({"replicas": 2, "selector": {"app": "controller"}, "template": template("controller")});
    let controller = named("controller", controller);
    cluster
        .create::<ReplicationController>("default", controller)
        .await;
    let mut set = spec("set");
    set["serviceName"] = json!("set");
    cluster
        .create::<StatefulSet>("default", named("set", set))
        .await;
    let mut daemons = spec("daemons");
    daemons.as_object_mut().unwrap().remove("replicas");
    cluster
        .create::<DaemonSet>("default", named("daemons", daemons))
        .await;
    let mut pod = template("job");
    pod["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"template": pod});
    cluster
        .create::<Job>("default", named("job", job.clone()))
        .await;
    // The one Job the quota allows is there.
    let cron = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job}});
    cluster
        .create::<CronJob>("default", named("cron", cron))
        .await;
}

/// What refers to something that is not there, or belongs to somebody else.
async fn without_what_they_need(cluster: &Cluster) {
    let pod = json!({"metadata": {"name": "pod", "labels": {"app": "none"}}, "spec": {
        "containers": [{"name": "c", "image": "unbound"}],
        "resourceClaims": [{"name": "own", "resourceClaimTemplateName": "nowhere"}],
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}]}});
    let claim = |name: &str, class: &str| {
        json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let other = "elsewhere";
    cluster
        .create::<Namespace>("", json!({"metadata": {"name": other}}))
        .await;
    cluster
        .wait::<k8s_openapi::api::core::v1::ServiceAccount>(other, |all| !all.is_empty())
        .await;
    // The ephemeral volume's name is taken.
    cluster
        .create::<PersistentVolumeClaim>(other, claim("pod-v", "missing"))
        .await;
    cluster.create::<Pod>(other, pod).await;
    let scaler = json!({"metadata": {"name": "scaler"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nowhere"}}});
    cluster
        .create::<HorizontalPodAutoscaler>(other, scaler)
        .await;
    let budget = json!({"metadata": {"name": "budget"}, "spec": {"maxUnavailable": 1, "selector": selector("none")}});
    cluster.create::<PodDisruptionBudget>(other, budget).await;
    let service = json!({"metadata": {"name": "balanced"}, "spec": {"type": "LoadBalancer",
        "selector": {"app": "none"}, "ports": [{"port": 6443}]}});
    cluster.create::<Service>(other, service).await;
    let mirrored = json!({"metadata": {"name": "mirrored"}, "subsets": [{"addresses": [{"ip": "10.9.8.7"}], "ports": [{"port": 1}]}]});
    cluster.create::<Endpoints>(other, mirrored).await;
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "example.com/v1", "kind": "Unknown", "name": "x", "uid": "x"}]}});
    cluster.create::<ConfigMap>(other, owned).await;
}

/// A namespace that cannot go, and what its controllers would still make in it.
async fn in_a_namespace_that_goes(cluster: &Cluster) {
    cluster
        .create::<Namespace>("", json!({"metadata": {"name": "going"}}))
        .await;
    cluster
        .wait::<k8s_openapi::api::core::v1::ServiceAccount>("going", |all| !all.is_empty())
        .await;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/never"]}});
    cluster.create::<ConfigMap>("going", held).await;
    let deployment = json!({"metadata": {"name": "web", "finalizers": ["example.com/never"]},
        "spec": {"replicas": 1, "selector": selector("web"), "template": template("web")}});
    cluster.create::<Deployment>("going", deployment).await;
    let namespaces: kube::Api<Namespace> = kube::Api::all(cluster.client.clone());
    namespaces
        .delete("going", &Default::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_satisfied_is_tried_less_and_less_often() {
    let cluster = Cluster::start().await;
    refused_by_quota(&cluster).await;
    without_what_they_need(&cluster).await;
    in_a_namespace_that_goes(&cluster).await;
    // Those who may not give up, by what they try.
    let persistent = [
        (
            "replicaset-controller",
            "POST /api/v1/namespaces/default/pods",
        ),
        (
            "replication-controller",
            "POST /api/v1/namespaces/default/pods",
        ),
        (
            "statefulset-controller",
            "POST /api/v1/namespaces/default/pods",
        ),
        (
            "daemon-set-controller",
            "POST /api/v1/namespaces/default/pods",
        ),
        ("job-controller", "POST /api/v1/namespaces/default/pods"),
    ];
    let tries = |writes: &[crate::mortal::Write], account: &str, what: &str| {
        let own = writes.iter();
        let own = own.filter(|w| w.account == account && w.what == what);
        own.map(|w| w.at).collect::<Vec<_>>()
    };
    let tally = cluster.tally.clone();
    let enough = tally.wait(|writes| {
        persistent
            .iter()
            .all(|(account, what)| tries(writes, account, what).len() >= TRIES)
    });
    let patience = Duration::from_secs(60);
    let waited = tokio::time::timeout(patience, enough).await;
    let writes = tally.writes();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for write in &writes {
        *counts.entry((&write.account, &write.what)).or_default() += 1;
    }
    assert!(waited.is_ok(), "somebody gave up: {counts:#?}");
    for (account, what) in persistent {
        let tries = tries(&writes, account, what);
        // Two pods are asked for where two are wanted: a try is what comes of one look.
        let took = tries[TRIES - 1] - tries[0];
        assert!(
            took >= AT_LEAST,
            "{account} tried {TRIES} times in {took:?}"
        );
    }
    let mut accounts: BTreeMap<&str, usize> = BTreeMap::new();
    for ((account, _), count) in &counts {
        *accounts.entry(account).or_default() += count;
    }
    for (account, count) in &accounts {
        let own: Vec<_> = counts.iter().filter(|((a, _), _)| a == account).collect();
        assert!(*count <= MOST, "{account} wrote {count} times: {own:#?}");
    }
    // What is wrong is said once, and counted.
    let events = cluster
        .wait::<Event>("default", |events| {
            let refused = |name: &str| {
                events.iter().any(|event| {
                    event.reason.as_deref() == Some("FailedCreate")
                        && event.involved_object.name.as_deref() == Some(name)
                })
            };
            ["controller", "set", "daemons", "job"]
                .iter()
                .all(|name| refused(name))
        })
        .await;
    let mut said: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in &events {
        let about = event.involved_object.name.clone().unwrap_or_default();
        let reason = event.reason.clone().unwrap_or_default();
        *said.entry((about, reason)).or_default() += 1;
    }
    for ((about, reason), count) in said {
        assert!(count <= 11, "{reason} of {about} in {count} events");
    }
    cluster.stop().await;
}
