//! Controllers killed between any two of their writes: whoever comes next finishes the work, and
//! nothing is left over. Each test walks all such points: for the nth round the processes end at
//! the nth write, until a round needs fewer.

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Running};
use crate::mortal::Life;

/// No round needs that many writes: beyond it something is written in a loop.
const MOST: i64 = 120;

/// Controllers that may be killed, and their successors.
struct Stage<'a> {
    cluster: &'a Cluster,
    only: &'static [&'static str],
    namespace: String,
    life: Life,
    running: Option<Running>,
}

impl Stage<'_> {
    /// Waits until the objects are as wanted, starting new controllers if the first were killed.
    async fn wait<K>(&mut self, wanted: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: client::informer::Object + kube::Resource<DynamicType = ()>,
    {
        let namespace = self.namespace.clone();
        self.wait_in(&namespace, wanted).await
    }

    /// The same of another namespace, or of those that are in none.
    async fn wait_in<K>(&mut self, namespace: &str, wanted: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: client::informer::Object + kube::Resource<DynamicType = ()>,
    {
        if !self.life.over.is_cancelled() {
            tokio::select! {
                all = self.cluster.wait(namespace, &wanted) => return all,
                () = self.life.over.cancelled() => {}
            }
        }
        self.revive().await;
        self.cluster.wait(namespace, wanted).await
    }

    async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api = self.cluster.api::<K>(&self.namespace);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn revive(&mut self) {
        if self.life.over.is_cancelled()
            && let Some(killed) = self.running.take_if(|running| running.is_mortal())
        {
            killed.stop().await;
            self.running = Some(self.cluster.run(None, self.only));
        }
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
    {
        self.cluster.create(&self.namespace, object).await
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.cluster
            .api::<K>(&self.namespace)
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }
}

/// Walks all points. `play` does the work of one round.
async fn walk(
    accounts: &'static [&'static str],
    only: &'static [&'static str],
    play: impl AsyncFn(&mut Stage<'_>),
) {
    let cluster = Cluster::without_controllers().await;
    for writes in 0..MOST {
        let namespace = format!("round-{writes}");
        cluster
            .create::<Namespace>("", json!({"metadata": {"name": namespace}}))
            .await;
        let account = json!({"metadata": {"name": "default"}});
        cluster.create::<ServiceAccount>(&namespace, account).await;
        let life = Life::of(accounts, writes);
        let mut stage = Stage {
            cluster: &cluster,
            only,
            namespace,
            running: Some(cluster.run(Some(life.clone()), only)),
            life,
        };
        play(&mut stage).await;
        let killed = stage.life.over.is_cancelled();
        if let Some(running) = stage.running.take() {
            running.stop().await;
        }
        if !killed {
            assert!(writes > 1, "nothing was written at all");
            return;
        }
    }
    panic!("{MOST} writes were not enough");
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn images(pods: &[Pod]) -> Vec<String> {
    let image = |pod: &Pod| {
        pod.spec.as_ref().unwrap().containers[0]
            .image
            .clone()
            .unwrap()
    };
    pods.iter().map(image).collect()
}

fn name(meta: &kube::core::ObjectMeta) -> &str {
    meta.name.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_survives_every_kill() {
    let accounts = &["deployment-controller", "replicaset-controller"];
    let only = &["deployment-controller", "replicaset-controller"];
    walk(accounts, only, async |stage: &mut Stage<'_>| {
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("a")});
        stage
            .create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec}))
            .await;
        let rolled = |all: &[Deployment]| {
            let status = all[0].status.clone().unwrap_or_default();
            status.observed_generation == all[0].metadata.generation
                && status.updated_replicas == Some(2)
                && status.replicas == Some(2)
                && status.available_replicas == Some(2)
        };
        stage.wait(rolled).await;
        let change = json!({"spec": {"template": template("b")}});
        stage.patch::<Deployment>("web", change).await;
        stage.wait(rolled).await;
        let pods = stage.wait(|pods: &[Pod]| pods.len() == 2).await;
        assert_eq!(images(&pods), ["b", "b"]);
        let sets = stage
            .wait(|sets: &[ReplicaSet]| {
                sets.iter().all(|set| {
                    let status = set.status.clone().unwrap_or_default();
                    Some(status.replicas) == set.spec.as_ref().unwrap().replicas
                })
            })
            .await;
        let mut replicas: Vec<_> = sets
            .iter()
            .map(|set| set.spec.as_ref().unwrap().replicas.unwrap())
            .collect();
        replicas.sort();
        assert_eq!(replicas, [0, 2], "one set for each template");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_survives_every_kill() {
    let accounts = &["statefulset-controller"];
    walk(accounts, &["statefulset-controller"], async |stage: &mut Stage<'_>| {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        let spec = json!({"replicas": 2, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": template("a"), "volumeClaimTemplates": [claim]});
        stage
            .create::<StatefulSet>(json!({"metadata": {"name": "web"}, "spec": spec}))
            .await;
        let settled = |all: &[StatefulSet]| {
            let status = all[0].status.clone().unwrap_or_default();
            status.observed_generation == all[0].metadata.generation
                && status.ready_replicas == Some(2)
                && status.updated_replicas == Some(2)
                && status.current_revision == status.update_revision
        };
        stage.wait(settled).await;
        let change = json!({"spec": {"template": template("b")}});
        stage.patch::<StatefulSet>("web", change).await;
        stage.wait(settled).await;
        let pods = stage.wait(|pods: &[Pod]| pods.len() == 2).await;
        assert_eq!(images(&pods), ["b", "b"]);
        let names: Vec<_> = pods.iter().map(|pod| name(&pod.metadata)).collect();
        assert_eq!(names, ["web-0", "web-1"]);
        let claims = stage.wait(|claims: &[PersistentVolumeClaim]| claims.len() >= 2).await;
        assert_eq!(claims.len(), 2);
        let revisions = stage.wait(|all: &[ControllerRevision]| all.len() >= 2).await;
        assert_eq!(revisions.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_survives_every_kill() {
    let accounts = &["daemon-set-controller"];
    walk(
        accounts,
        &["daemonset-controller", "node-lifecycle-controller"],
        async |stage: &mut Stage<'_>| {
            let spec =
                json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("a")});
            stage
                .create::<DaemonSet>(json!({"metadata": {"name": "web"}, "spec": spec}))
                .await;
            let settled = |all: &[DaemonSet]| {
                let status = all[0].status.clone().unwrap_or_default();
                status.observed_generation == all[0].metadata.generation
                    && status.updated_number_scheduled == Some(1)
                    && status.number_available == Some(1)
            };
            stage.wait(settled).await;
            let change = json!({"spec": {"template": template("b")}});
            stage.patch::<DaemonSet>("web", change).await;
            stage.wait(settled).await;
            let pods = stage.wait(|pods: &[Pod]| pods.len() == 1).await;
            assert_eq!(images(&pods), ["b"]);
            let revisions = stage
                .wait(|all: &[ControllerRevision]| all.len() >= 2)
                .await;
            assert_eq!(revisions.len(), 2);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_every_kill() {
    let accounts = &["job-controller"];
    walk(
        accounts,
        &["job-controller"],
        async |stage: &mut Stage<'_>| {
            let job = |name: &str, image: &str, completions: i32| {
                let mut template = template(image);
                template["spec"]["restartPolicy"] = json!("Never");
                json!({"metadata": {"name": name}, "spec": {"completions": completions,
                "parallelism": 2, "backoffLimit": 0, "template": template}})
            };
            stage.create::<Job>(job("good", "succeed", 3)).await;
            stage.create::<Job>(job("bad", "fail", 1)).await;
            let ended = |all: &[Job]| {
                all.len() == 2
                    && all.iter().all(|job| {
                        let status = job.status.clone().unwrap_or_default();
                        status.conditions.iter().flatten().any(|condition| {
                            ["Complete", "Failed"].contains(&condition.type_.as_str())
                        })
                    })
            };
            let jobs = stage.wait(ended).await;
            let count = |job: &Job| {
                let status = job.status.clone().unwrap();
                let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
                assert!(uncounted.succeeded.is_none() && uncounted.failed.is_none());
                (
                    status.succeeded.unwrap_or_default(),
                    status.failed.unwrap_or_default(),
                )
            };
            assert_eq!(
                (count(&jobs[0]), count(&jobs[1])),
                ((0, 1), (3, 0)),
                "bad and good"
            );
            let free = |pods: &[Pod]| pods.iter().all(|pod| pod.metadata.finalizers.is_none());
            let pods = stage.wait(free).await;
            assert_eq!(pods.len(), 4, "none too many: {:?}", images(&pods));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_collection_survives_every_kill() {
    let accounts = &["generic-garbage-collector"];
    walk(accounts, &["garbage-collector-controller"], async |stage: &mut Stage<'_>| {
        for owner in ["foreground", "orphan", "background"] {
            let object = json!({"metadata": {"name": owner}});
            let owned: ConfigMap = stage.create(object).await;
            for n in 0..2 {
                let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner,
                    "uid": owned.metadata.uid, "blockOwnerDeletion": true});
                let object = json!({"metadata": {"name": format!("{owner}-{n}"), "ownerReferences": [reference]}});
                stage.create::<ConfigMap>(object).await;
            }
        }
        let api = stage.cluster.api::<ConfigMap>(&stage.namespace);
        for (owner, policy) in [
            ("foreground", PropagationPolicy::Foreground),
            ("orphan", PropagationPolicy::Orphan),
            ("background", PropagationPolicy::Background),
        ] {
            let params = DeleteParams {
                propagation_policy: Some(policy),
                ..DeleteParams::default()
            };
            api.delete(owner, &params).await.unwrap();
        }
        let left = stage.wait(|all: &[ConfigMap]| all.len() <= 2).await;
        let names: Vec<_> = left.iter().map(|one| name(&one.metadata)).collect();
        assert_eq!(names, ["orphan-0", "orphan-1"]);
        assert!(left.iter().all(|one| one.metadata.owner_references.is_none()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_job_survives_every_kill() {
    let accounts = &["cronjob-controller"];
    let only = &["cronjob-controller", "garbage-collector-controller"];
    walk(accounts, only, async |stage: &mut Stage<'_>| {
        let mut template = template("a");
        template["spec"]["restartPolicy"] = json!("Never");
        let spec = json!({"schedule": "@every 1s", "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"template": template}}});
        stage
            .create::<CronJob>(json!({"metadata": {"name": "tick"}, "spec": spec}))
            .await;
        let noted = |all: &[CronJob]| {
            let status = all[0].status.clone().unwrap_or_default();
            status.last_schedule_time.is_some() && status.active.is_some_and(|all| all.len() == 1)
        };
        stage.wait(noted).await;
        let jobs = stage.wait(|jobs: &[Job]| !jobs.is_empty()).await;
        assert_eq!(jobs.len(), 1, "the one that runs forbids others");
        stage.delete::<Job>(name(&jobs[0].metadata)).await;
        let missed = |all: &[CronJob]| {
            let status = all[0].status.clone().unwrap_or_default();
            let active = status.active.unwrap_or_default();
            active.iter().all(|one| one.uid != jobs[0].metadata.uid)
        };
        stage.wait(missed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_slices_survive_every_kill() {
    let accounts = &["endpointslice-controller"];
    let only = &["endpointslice-controller"];
    walk(accounts, only, async |stage: &mut Stage<'_>| {
        let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        stage
            .create::<Service>(json!({"metadata": {"name": "web"}, "spec": spec}))
            .await;
        for name in ["a", "b"] {
            let mut pod = template("a");
            pod["metadata"]["name"] = json!(name);
            stage.create::<Pod>(pod).await;
        }
        let ready = |count: usize| {
            move |all: &[EndpointSlice]| {
                let all = all
                    .iter()
                    .flat_map(|slice| slice.endpoints.iter().flatten());
                let conditions = all.filter_map(|one| one.conditions.as_ref());
                conditions.filter(|one| one.ready == Some(true)).count() == count
            }
        };
        stage.wait(ready(2)).await;
        stage.delete::<Pod>("a").await;
        let slices = stage.wait(ready(1)).await;
        assert_eq!(slices.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adoption_survives_every_kill() {
    let accounts = &["replicaset-controller"];
    walk(accounts, &["replicaset-controller"], async |stage: &mut Stage<'_>| {
        let mut stray = template("a");
        stray["metadata"]["name"] = json!("stray");
        stage.create::<Pod>(stray).await;
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("a")});
        stage
            .create::<ReplicaSet>(json!({"metadata": {"name": "web"}, "spec": spec}))
            .await;
        let owned = |count: usize| {
            move |pods: &[Pod]| {
                let owned = |pod: &&Pod| pod.metadata.owner_references.is_some();
                pods.iter().filter(owned).count() == count
            }
        };
        let pods = stage.wait(owned(2)).await;
        assert_eq!(pods.len(), 2);
        stage
            .patch::<Pod>("stray", json!({"metadata": {"labels": {"app": "debug"}}}))
            .await;
        let released = |pods: &[Pod]| pods.len() == 3 && owned(2)(pods);
        let pods = stage.wait(released).await;
        let stray = pods.iter().find(|pod| name(&pod.metadata) == "stray").unwrap();
        assert!(stray.metadata.owner_references.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binding_volumes_survives_every_kill() {
    let accounts = &["persistent-volume-binder"];
    let only = &[
        "persistentvolume-binder-controller",
        "persistentvolumeclaim-protection-controller",
    ];
    walk(accounts, only, async |stage: &mut Stage<'_>| {
        // Volumes are in no namespace: each round has a class of its own.
        let class = stage.namespace.clone();
        let volume = json!({"metadata": {"name": class}, "spec": {"storageClassName": class,
            "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"}}});
        stage.cluster.create::<PersistentVolume>("", volume).await;
        let claim = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": class,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        stage.create::<PersistentVolumeClaim>(claim).await;
        let bound = |all: &[PersistentVolumeClaim]| {
            let phase = all[0]
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            phase == Some("Bound")
        };
        let claims = stage.wait(bound).await;
        let volume_is = |wanted: &'static str| {
            let class = class.clone();
            move |all: &[PersistentVolume]| {
                let mut own = all.iter().filter(|one| name(&one.metadata) == class);
                own.any(|one| one.status.as_ref().unwrap().phase.as_deref() == Some(wanted))
            }
        };
        let volumes = stage.wait_in("", volume_is("Bound")).await;
        let own = volumes
            .iter()
            .find(|one| name(&one.metadata) == class)
            .unwrap();
        let reference = own.spec.as_ref().unwrap().claim_ref.clone().unwrap();
        assert_eq!(reference.uid, claims[0].metadata.uid);
        stage.delete::<PersistentVolumeClaim>("data").await;
        stage.wait_in("", volume_is("Released")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_claims_survive_every_kill() {
    let accounts = &["resource-claim-controller"];
    // Whose pod is gone is garbage.
    let only = &["resourceclaim-controller", "garbage-collector-controller"];
    walk(accounts, only, async |stage: &mut Stage<'_>| {
        let template = json!({"metadata": {"name": "gpus"}, "spec": {"spec": {"devices": {}}}});
        stage.create::<ResourceClaimTemplate>(template).await;
        let claim = |name: &str| json!({"name": name, "resourceClaimTemplateName": "gpus"});
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "unbound"}],
            "resourceClaims": [claim("a"), claim("b")]}});
        stage.create::<Pod>(pod).await;
        let noted = |pods: &[Pod]| {
            let status = pods[0].status.clone().unwrap_or_default();
            status
                .resource_claim_statuses
                .is_some_and(|all| all.len() == 2)
        };
        stage.wait(noted).await;
        let claims = stage.wait(|all: &[ResourceClaim]| all.len() >= 2).await;
        assert_eq!(claims.len(), 2, "one for each place");
        stage.delete::<Pod>("p").await;
        stage.wait(<[ResourceClaim]>::is_empty).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_namespace_survives_every_kill() {
    let accounts = &["namespace-controller"];
    walk(
        accounts,
        &["namespace-controller"],
        async |stage: &mut Stage<'_>| {
            for name in ["a", "b"] {
                let object = json!({"metadata": {"name": name}});
                stage.create::<ConfigMap>(object).await;
            }
            let mut pod = template("a");
            pod["metadata"]["name"] = json!("p");
            stage.create::<Pod>(pod).await;
            let own = stage.namespace.clone();
            let namespaces: Api<Namespace> = Api::all(stage.cluster.client.clone());
            namespaces
                .delete(&own, &DeleteParams::default())
                .await
                .unwrap();
            let gone = |all: &[Namespace]| all.iter().all(|one| name(&one.metadata) != own);
            stage.wait_in("", gone).await;
            let left = stage.cluster.wait(&own, |_: &[ConfigMap]| true).await;
            assert!(left.is_empty());
        },
    )
    .await;
}
