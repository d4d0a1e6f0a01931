//! Namespaces, the garbage collector, and pods nobody looks after.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]},
        }},
    })
}

async fn deployed(cluster: &Cluster) {
    cluster.create::<Deployment>("default", deployment()).await;
    cluster
        .wait::<Deployment>("default", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.available_replicas == Some(2))
        })
        .await;
}

#[tokio::test]
async fn a_namespace_is_born_with_its_defaults_and_dies_with_its_content() {
    let cluster = Cluster::start().await;
    cluster
        .create::<Namespace>("", json!({"metadata": {"name": "team"}}))
        .await;
    cluster
        .wait::<ServiceAccount>("team", |all| all.len() == 1)
        .await;
    let config = cluster
        .wait::<ConfigMap>("team", |all| all.len() == 1)
        .await;
    assert!(config[0].data.as_ref().unwrap()["ca.crt"].contains("BEGIN CERTIFICATE"));
    cluster
        .api::<ServiceAccount>("team")
        .delete("default", &Default::default())
        .await
        .unwrap();
    let first = config[0].metadata.uid.clone();
    cluster
        .api::<ConfigMap>("team")
        .delete("kube-root-ca.crt", &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<ConfigMap>("team", |all| all.len() == 1 && all[0].metadata.uid != first)
        .await;
    cluster.create::<Deployment>("team", deployment()).await;
    cluster.wait::<Pod>("team", |all| all.len() == 2).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces
        .delete("team", &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<Namespace>("", |all| {
            !all.iter()
                .any(|one| one.metadata.name.as_deref() == Some("team"))
        })
        .await;
    cluster.wait::<Pod>("team", <[Pod]>::is_empty).await;
    cluster
        .wait::<Deployment>("team", <[Deployment]>::is_empty)
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn background_deletion_takes_the_dependents_afterwards() {
    let cluster = Cluster::start().await;
    deployed(&cluster).await;
    cluster
        .api::<Deployment>("default")
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    cluster
        .wait::<ReplicaSet>("default", <[ReplicaSet]>::is_empty)
        .await;
    cluster.wait::<Pod>("default", <[Pod]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test]
async fn foreground_deletion_takes_the_dependents_first() {
    let cluster = Cluster::start().await;
    deployed(&cluster).await;
    cluster
        .api::<Deployment>("default")
        .delete("web", &DeleteParams::foreground())
        .await
        .unwrap();
    cluster
        .wait::<Deployment>("default", <[Deployment]>::is_empty)
        .await;
    let pods = cluster
        .api::<Pod>("default")
        .list(&Default::default())
        .await
        .unwrap();
    assert!(pods.items.is_empty(), "the owner went last");
    let sets = cluster
        .api::<ReplicaSet>("default")
        .list(&Default::default())
        .await
        .unwrap();
    assert!(sets.items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn orphaning_leaves_the_dependents_without_owner() {
    let cluster = Cluster::start().await;
    deployed(&cluster).await;
    cluster
        .api::<Deployment>("default")
        .delete("web", &DeleteParams::orphan())
        .await
        .unwrap();
    cluster
        .wait::<Deployment>("default", <[Deployment]>::is_empty)
        .await;
    let sets = cluster
        .wait::<ReplicaSet>("default", |all| all.len() == 1)
        .await;
    assert!(
        sets[0]
            .metadata
            .owner_references
            .as_ref()
            .is_none_or(Vec::is_empty)
    );
    cluster.wait::<Pod>("default", |all| all.len() == 2).await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_object_whose_owner_never_was_is_collected() {
    let cluster = Cluster::start().await;
    let config = json!({"metadata": {"name": "left", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "0d9bbd8b-1b5c-4f0e-9a0e-000000000000"},
    ]}});
    cluster.create::<ConfigMap>("default", config).await;
    cluster
        .wait::<ConfigMap>("default", |all| {
            !all.iter()
                .any(|one| one.metadata.name.as_deref() == Some("left"))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_deleted_before_it_had_a_node_goes() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "late"}, "spec": {"containers": [{"name": "c", "image": "unbound"}]}});
    cluster.create::<Pod>("default", pod).await;
    cluster
        .api::<Pod>("default")
        .delete("late", &Default::default())
        .await
        .unwrap();
    cluster.wait::<Pod>("default", <[Pod]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_takes_along_kinds_of_lesser_versions_and_waits_for_servers_that_are_away() {
    let cluster = Cluster::start().await;
    for (plural, kind, version) in [
        ("widgets", "Widget", "v1"),
        ("gadgets", "Gadget", "v1alpha1"),
    ] {
        let definition = json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        cluster
            .create::<CustomResourceDefinition>("", definition)
            .await;
    }
    cluster
        .wait::<CustomResourceDefinition>("", |all| {
            let established = all.iter().filter(|one| {
                let conditions = one.status.clone().and_then(|status| status.conditions);
                conditions
                    .unwrap_or_default()
                    .iter()
                    .any(|condition| condition.type_ == "Established" && condition.status == "True")
            });
            established.count() == 2
        })
        .await;
    cluster
        .create::<Namespace>("", json!({"metadata": {"name": "team"}}))
        .await;
    let kind = GroupVersionKind::gvk("example.com", "v1alpha1", "Gadget");
    let kind = ApiResource::from_gvk_with_plural(&kind, "gadgets");
    let gadgets: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "team", &kind);
    let gadget = DynamicObject::new("g", &kind);
    gadgets
        .create(&PostParams::default(), &gadget)
        .await
        .unwrap();
    let away = json!({"metadata": {"name": "v1.away.example"}, "spec": {
        "group": "away.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "away"}}});
    cluster.create::<APIService>("", away).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    let team = |all: &[Namespace]| {
        let mut all = all.iter();
        all.find(|one| one.metadata.name.as_deref() == Some("team"))
            .cloned()
    };
    cluster
        .wait::<Namespace>("", |all| {
            let status = team(all).and_then(|team| team.status).unwrap_or_default();
            let mut conditions = status.conditions.iter().flatten();
            conditions.any(|condition| {
                condition.reason.as_deref() == Some("DiscoveryFailed")
                    && condition.message.as_deref().is_some_and(|message| {
                        message.contains("stale GroupVersion discovery: away.example/v1")
                    })
            })
        })
        .await;
    let services: Api<APIService> = Api::all(cluster.client.clone());
    services
        .delete("v1.away.example", &DeleteParams::default())
        .await
        .unwrap();
    cluster
        .wait::<Namespace>("", |all| team(all).is_none())
        .await;
    let left = gadgets.list(&Default::default()).await.unwrap();
    assert!(left.items.is_empty(), "{:?}", left.items);
    cluster.stop().await;
}

#[tokio::test]
async fn a_secret_asks_for_a_lasting_token_and_goes_with_its_account() {
    let cluster = Cluster::start().await;
    let account = json!({"metadata": {"name": "robot"}, "secrets": [{"name": "second"}]});
    cluster.create::<ServiceAccount>("default", account).await;
    for name in ["first", "second"] {
        let secret = json!({
            "metadata": {"name": name,
                "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token",
        });
        cluster.create::<Secret>("default", secret).await;
    }
    let filled = cluster
        .wait::<Secret>("default", |all| {
            all.len() == 2
                && all.iter().all(|one| {
                    let data = one.data.clone().unwrap_or_default();
                    ["ca.crt", "namespace", "token"]
                        .iter()
                        .all(|key| data.contains_key(*key))
                })
        })
        .await;
    let token = &filled[0].data.as_ref().unwrap()["token"].0;
    let review = json!({"spec": {"token": String::from_utf8_lossy(token)}});
    let reviews: Api<TokenReview> = Api::all(cluster.client.clone());
    let review = reviews
        .create(
            &PostParams::default(),
            &serde_json::from_value(review).unwrap(),
        )
        .await
        .unwrap();
    let user = review.status.unwrap().user.unwrap_or_default().username;
    assert_eq!(user.as_deref(), Some("system:serviceaccount:default:robot"));
    let secrets = cluster.api::<Secret>("default");
    secrets.delete("second", &Default::default()).await.unwrap();
    cluster
        .wait::<ServiceAccount>("default", |all| {
            all.iter()
                .all(|account| account.secrets.clone().unwrap_or_default().is_empty())
        })
        .await;
    let accounts = cluster.api::<ServiceAccount>("default");
    accounts.delete("robot", &Default::default()).await.unwrap();
    cluster.wait::<Secret>("default", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_gone_api_servers_go() {
    let cluster = Cluster::start().await;
    let lease = |name: &str, renewed: &str| {
        json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"}},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": renewed}})
    };
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    cluster
        .create::<Lease>("kube-system", lease("alive", &now.to_string()))
        .await;
    cluster
        .create::<Lease>("kube-system", lease("gone", "2026-01-01T00:00:00.000000Z"))
        .await;
    let left = |all: &[Lease], name: &str| {
        all.iter()
            .any(|lease| lease.metadata.name.as_deref() == Some(name))
    };
    cluster
        .wait::<Lease>("kube-system", |all| {
            left(all, "alive") && !left(all, "gone")
        })
        .await;
}
