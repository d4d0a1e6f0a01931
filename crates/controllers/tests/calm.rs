//! No controller loops hot on an object it cannot satisfy: it tries again less and less often, and
//! says what is wrong in one event.
//!
//! Everything that cannot be satisfied is there at once, and all controllers run. The test goes on
//! until those that must not give up have tried often enough; by then a loop would have tried
//! without end. What is refused is refused by quota, by a policy (403) and by a webhook that nobody
//! answers (500).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Tries of one thing, of which each waits twice as long as the one before: 5 ms, 10 ms, …
const TRIES: usize = 8;
/// How long so many take at least. Some of the first may follow each other at once, since what a try
/// wrote is a change too.
const AT_LEAST: Duration = Duration::from_millis(300);
/// Writes of one account in all that time: tries, statuses, events. A loop makes thousands.
const MOST: usize = 400;
/// Pods or Jobs of one that makes them again and again: those of the first look, and of a second one
/// at most, since the next comes ten seconds or a minute later.
const RUNAWAY: usize = 6;

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

/// What is made for others, and only that, is refused in these namespaces.
const REFUSING: [&str; 2] = ["denied", "unanswered"];

/// Everything that makes objects, where every object made for another is refused.
async fn refused_by_admission(cluster: &Cluster) {
    for name in REFUSING {
        let namespace = json!({"metadata": {"name": name, "labels": {"refuse": name}}});
        cluster.create::<Namespace>("", namespace).await;
        cluster
            .wait::<k8s_openapi::api::core::v1::ServiceAccount>(name, |all| !all.is_empty())
            .await;
    }
    let made = "has(object.metadata.ownerReferences) && size(object.metadata.ownerReferences) > 0";
    let everything = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}]);
    let within = |name: &str| json!({"matchLabels": {"refuse": name}});
    let policy = json!({"metadata": {"name": "denied"}, "spec": {
        "matchConstraints": {"resourceRules": everything},
        "validations": [{"expression": format!("!({made})"), "message": "not here", "reason": "Forbidden"}]}});
    cluster
        .create::<ValidatingAdmissionPolicy>("", policy)
        .await;
    let binding = json!({"metadata": {"name": "denied"}, "spec": {"policyName": "denied",
        "validationActions": ["Deny"], "matchResources": {"namespaceSelector": within("denied")}}});
    cluster
        .create::<ValidatingAdmissionPolicyBinding>("", binding)
        .await;
    let webhook = json!({"metadata": {"name": "unanswered"}, "webhooks": [{
        "name": "unanswered.example.com", "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": everything, "namespaceSelector": within("unanswered"),
        "matchConditions": [{"name": "made", "expression": made}]}]});
    cluster
        .create::<ValidatingWebhookConfiguration>("", webhook)
        .await;
    for (namespace, code) in REFUSING.into_iter().zip([403, 500]) {
        until_refused(cluster, namespace, code).await;
        makers(cluster, namespace).await;
    }
}

/// Tries until admission refuses.
async fn until_refused(cluster: &Cluster, namespace: &str, code: u16) {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]);
    let made = json!({"metadata": {"name": "made", "ownerReferences": owner}});
    let made: ConfigMap = serde_json::from_value(made).unwrap();
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut last = None;
    for _ in 0..1_000 {
        match cluster
            .api::<ConfigMap>(namespace)
            .create(&trial, &made)
            .await
        {
            Err(kube::Error::Api(status)) if status.code == code => return,
            other => last = Some(other),
        }
        tokio::task::yield_now().await;
    }
    panic!("{last:?}");
}

async fn makers(cluster: &Cluster, namespace: &str) {
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let spec = |app: &str| json!({"selector": selector(app), "template": template(app)});
    let deployment = named("deployment", spec("deployment"));
    cluster.create::<Deployment>(namespace, deployment).await;
    let controller = json!({"selector": {"app": "controller"}, "template": template("controller")});
    cluster
        .create::<ReplicationController>(namespace, named("controller", controller))
        .await;
    cluster
        .create::<StatefulSet>(namespace, named("set", spec("set")))
        .await;
    cluster
        .create::<DaemonSet>(namespace, named("daemons", spec("daemons")))
        .await;
    let mut pod = template("job");
    pod["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"template": pod});
    cluster
        .create::<Job>(namespace, named("job", job.clone()))
        .await;
    let cron = json!({"schedule": "@every 1s", "jobTemplate": {"spec": job}});
    cluster
        .create::<CronJob>(namespace, named("cron", cron))
        .await;
    let service = json!({"selector": {"app": "pod"}, "ports": [{"port": 80}]});
    cluster
        .create::<Service>(namespace, named("service", service))
        .await;
    let pod = json!({"metadata": {"name": "pod", "labels": {"app": "pod"}}, "spec": {
        "containers": [{"name": "c", "image": "unbound"}],
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}]}});
    cluster.create::<Pod>(namespace, pod).await;
}

/// Jobs whose pods end badly as soon as they are there, and a CronJob that makes such at every turn.
async fn runaways(cluster: &Cluster) {
    cluster
        .create::<Namespace>("", json!({"metadata": {"name": "runaway"}}))
        .await;
    cluster
        .wait::<k8s_openapi::api::core::v1::ServiceAccount>("runaway", |all| !all.is_empty())
        .await;
    let failing =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "fail"}]}});
    let job = json!({"metadata": {"name": "job"}, "spec": {"backoffLimit": 1_000_000, "parallelism": 3, "completions": 3, "template": failing}});
    cluster.create::<Job>("runaway", job).await;
    let cron = json!({"metadata": {"name": "cron"}, "spec": {"schedule": "@every 1s",
        "jobTemplate": {"spec": {"backoffLimit": 0, "template": failing}}}});
    cluster.create::<CronJob>("runaway", cron).await;
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
    refused_by_admission(&cluster).await;
    runaways(&cluster).await;
    // Those who may not give up, by what they try.
    let makers = [
        ("replicaset-controller", "default", "api/v1", "pods"),
        ("replication-controller", "*", "api/v1", "pods"),
        ("statefulset-controller", "default", "api/v1", "pods"),
        ("daemon-set-controller", "default", "api/v1", "pods"),
        ("job-controller", "*", "api/v1", "pods"),
        ("deployment-controller", "", "apis/apps/v1", "replicasets"),
        (
            "statefulset-controller",
            "",
            "apis/apps/v1",
            "controllerrevisions",
        ),
        (
            "daemon-set-controller",
            "",
            "apis/apps/v1",
            "controllerrevisions",
        ),
        ("cronjob-controller", "", "apis/batch/v1", "jobs"),
        (
            "ephemeral-volume-controller",
            "",
            "api/v1",
            "persistentvolumeclaims",
        ),
        (
            "endpointslice-controller",
            "",
            "apis/discovery.k8s.io/v1",
            "endpointslices",
        ),
    ];
    let mut persistent: Vec<(&str, String)> = Vec::new();
    for (account, place, root, plural) in makers {
        let places = match place {
            "*" => vec!["default", REFUSING[0], REFUSING[1]],
            "" => REFUSING.to_vec(),
            one => vec![one],
        };
        for place in places {
            persistent.push((account, format!("POST /{root}/namespaces/{place}/{plural}")));
        }
    }
    let tries = |writes: &[crate::mortal::Write], account: &str, what: &str| {
        let own = writes.iter();
        let own = own.filter(|w| w.account == account && w.what == what);
        own.map(|w| w.at).collect::<Vec<_>>()
    };
    let runaways = [
        ("job-controller", "POST /api/v1/namespaces/runaway/pods"),
        (
            "cronjob-controller",
            "POST /apis/batch/v1/namespaces/runaway/jobs",
        ),
    ];
    let tally = cluster.tally.clone();
    let enough = tally.wait(|writes| {
        let persist = persistent
            .iter()
            .all(|(account, what)| tries(writes, account, what).len() >= TRIES);
        // A schedule comes no sooner than its time.
        let has_begun = |(account, what): &(&str, &str)| !tries(writes, account, what).is_empty();
        persist && runaways.iter().all(has_begun)
    });
    let patience = Duration::from_secs(60);
    let waited = tokio::time::timeout(patience, enough).await;
    let writes = tally.writes();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for write in &writes {
        *counts.entry((&write.account, &write.what)).or_default() += 1;
    }
    assert!(waited.is_ok(), "somebody gave up: {counts:#?}");
    for (account, what) in &persistent {
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
    for (account, what) in runaways {
        let made = tries(&writes, account, what).len();
        assert!((1..=RUNAWAY).contains(&made), "{what}: {made} times");
    }
    is_said(
        &cluster,
        "default",
        &["controller", "set", "daemons", "job"],
    )
    .await;
    let refused = [
        "deployment",
        "controller",
        "set",
        "daemons",
        "job",
        "cron",
        "service",
        "pod",
    ];
    for namespace in REFUSING {
        is_said(&cluster, namespace, &refused).await;
    }
    cluster.stop().await;
}

/// What is wrong with each is said once, and counted.
async fn is_said(cluster: &Cluster, namespace: &str, about: &[&str]) {
    let complains = |event: &Event| event.type_.as_deref() == Some("Warning");
    let events = cluster
        .wait::<Event>(namespace, |events| {
            about.iter().all(|name| {
                events.iter().any(|event| {
                    complains(event) && event.involved_object.name.as_deref() == Some(*name)
                })
            })
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
}
