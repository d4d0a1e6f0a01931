//! Quotas, disruption budgets, certificates, aggregated roles, protection and tokens.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use crate::cluster::Cluster;

fn pod(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "c", "image": "a", "resources": {"requests": {"cpu": "100m"}}},
    ]}})
}

#[tokio::test]
async fn a_quota_gives_back_what_was_deleted() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3", "requests.cpu": "1", "count/configmaps": "9"}}});
    cluster.create::<ResourceQuota>("default", quota).await;
    let used = |pods: &'static str, cpu: &'static str| {
        move |all: &[ResourceQuota]| {
            let used = all[0]
                .status
                .clone()
                .unwrap_or_default()
                .used
                .unwrap_or_default();
            used.get("pods").is_some_and(|amount| amount.0 == pods)
                && used
                    .get("requests.cpu")
                    .is_some_and(|amount| amount.0 == cpu)
                && used
                    .get("count/configmaps")
                    .is_some_and(|amount| amount.0 == "1")
        }
    };
    cluster.wait("default", used("0", "0")).await;
    cluster.create::<Pod>("default", pod("a")).await;
    cluster.create::<Pod>("default", pod("b")).await;
    cluster.wait("default", used("2", "200m")).await;
    cluster
        .api::<Pod>("default")
        .delete("a", &Default::default())
        .await
        .unwrap();
    cluster.wait("default", used("1", "100m")).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_budget_says_how_many_pods_may_go() {
    let cluster = Cluster::start().await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
    cluster.create::<Deployment>("default", deployment).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    cluster
        .create::<PodDisruptionBudget>("default", budget)
        .await;
    let budgets = cluster
        .wait::<PodDisruptionBudget>("default", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.current_healthy == Some(3))
        })
        .await;
    let status = budgets[0].status.clone().unwrap();
    assert_eq!(
        (
            status.expected_pods,
            status.desired_healthy,
            status.disruptions_allowed
        ),
        (Some(3), Some(2), Some(1))
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_kubelet_gets_its_certificate() {
    let cluster = Cluster::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "system:node:n9");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = json!({"metadata": {"name": "n9"}, "spec": {
        "request": k8s_openapi::ByteString(pem.into_bytes()),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"],
        // Whoever asks, as the server notes it.
        "username": "kubernetes-admin",
        "groups": ["system:masters", "system:authenticated"],
    }});
    cluster
        .create::<CertificateSigningRequest>("", request)
        .await;
    let signed = cluster
        .wait::<CertificateSigningRequest>("", |all| {
            all[0]
                .status
                .as_ref()
                .is_some_and(|status| status.certificate.is_some())
        })
        .await;
    let certificate = signed[0]
        .status
        .as_ref()
        .unwrap()
        .certificate
        .clone()
        .unwrap();
    assert!(
        String::from_utf8(certificate.0)
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    cluster.stop().await;
}

#[tokio::test]
async fn an_aggregated_role_follows_its_parts() {
    let cluster = Cluster::start().await;
    let role = json!({"metadata": {"name": "part", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["things"], "verbs": ["get"]}]});
    cluster.create::<ClusterRole>("", role).await;
    let has = |all: &[ClusterRole], name: &str| {
        let role = all
            .iter()
            .find(|role| role.metadata.name.as_deref() == Some(name))
            .unwrap();
        role.rules.iter().flatten().any(|rule| {
            rule.resources
                .iter()
                .flatten()
                .any(|resource| resource == "things")
        })
    };
    cluster
        .wait::<ClusterRole>("", |all| {
            has(all, "view") && has(all, "edit") && has(all, "admin")
        })
        .await;
    let api: Api<ClusterRole> = Api::all(cluster.client.clone());
    api.delete("part", &Default::default()).await.unwrap();
    cluster
        .wait::<ClusterRole>("", |all| !has(all, "view") && !has(all, "admin"))
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_claim_in_use_stays_until_its_pod_is_gone() {
    let cluster = Cluster::start().await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    cluster
        .create::<PersistentVolumeClaim>("default", claim)
        .await;
    let mut user = pod("user");
    user["spec"]["volumes"] =
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]);
    cluster.create::<Pod>("default", user).await;
    cluster
        .wait::<Pod>("default", |all| {
            all.first().is_some_and(|pod| {
                pod.spec
                    .as_ref()
                    .is_some_and(|spec| spec.node_name.is_some())
            })
        })
        .await;
    let claims = cluster.api::<PersistentVolumeClaim>("default");
    claims.delete("data", &Default::default()).await.unwrap();
    let held = claims.get("data").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    cluster
        .api::<Pod>("default")
        .delete("user", &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<PersistentVolumeClaim>("default", <[PersistentVolumeClaim]>::is_empty)
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_removed() {
    let cluster = Cluster::start().await;
    let token = |name: &str, expiration: &str| {
        json!({"metadata": {"name": name}, "type": "bootstrap.kubernetes.io/token", "stringData": {
            "token-id": &name[16..], "token-secret": "0123456789abcdef", "expiration": expiration,
        }})
    };
    cluster
        .create::<Secret>(
            "kube-system",
            token("bootstrap-token-abcdef", "2020-01-01T00:00:00Z"),
        )
        .await;
    cluster
        .create::<Secret>(
            "kube-system",
            token("bootstrap-token-fedcba", "2999-01-01T00:00:00Z"),
        )
        .await;
    let left = cluster
        .wait::<Secret>("kube-system", |all| {
            all.iter()
                .filter(|secret| secret.type_.as_deref() == Some("bootstrap.kubernetes.io/token"))
                .count()
                == 1
        })
        .await;
    assert!(
        left.iter()
            .any(|secret| secret.metadata.name.as_deref() == Some("bootstrap-token-fedcba"))
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_quota_holds_against_creations_in_quick_succession() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}});
    cluster.create::<ResourceQuota>("default", quota).await;
    cluster
        .wait::<ResourceQuota>("default", |all| {
            let status = all[0].status.clone().unwrap_or_default();
            status.used.is_some_and(|used| used.contains_key("pods"))
        })
        .await;
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "a"}]}});
    let spec = json!({"replicas": 20, "selector": {"app": "web"}, "template": template});
    let many = json!({"metadata": {"name": "web"}, "spec": spec});
    cluster
        .create::<ReplicationController>("default", many)
        .await;
    cluster
        .wait::<ReplicationController>("default", |all| {
            let status = all[0].status.clone().unwrap_or_default();
            let mut conditions = status.conditions.iter().flatten();
            status.ready_replicas == Some(5)
                && conditions.any(|condition| condition.type_ == "ReplicaFailure")
        })
        .await;
    let pods = cluster.wait::<Pod>("default", |all| all.len() >= 5).await;
    assert_eq!(pods.len(), 5);
    cluster.stop().await;
}

#[tokio::test]
async fn a_quota_counts_custom_resources_while_they_are_defined() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/widgets.example.com": "2", "pods": "1"}}});
    cluster.create::<ResourceQuota>("default", quota).await;
    let used = |count: Option<&'static str>| {
        move |all: &[ResourceQuota]| {
            let used = all[0].status.clone().and_then(|status| status.used);
            let used = used.unwrap_or_default();
            let counted = used
                .get("count/widgets.example.com")
                .map(|amount| amount.0.as_str());
            used.contains_key("pods") && counted == count
        }
    };
    cluster.wait("default", used(None)).await;
    // The other kind's version is the one the group prefers, and does not have widgets.
    for (plural, kind, version) in [("gadgets", "Gadget", "v2"), ("widgets", "Widget", "v1")] {
        let definition = json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        cluster
            .create::<CustomResourceDefinition>("", definition)
            .await;
    }
    cluster.wait("default", used(Some("0"))).await;
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    let kind = ApiResource::from_gvk_with_plural(&kind, "widgets");
    let widgets: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &kind);
    for name in ["a", "b"] {
        let widget = DynamicObject::new(name, &kind);
        widgets
            .create(&PostParams::default(), &widget)
            .await
            .unwrap();
    }
    cluster.wait("default", used(Some("2"))).await;
    let third = DynamicObject::new("c", &kind);
    let refused = widgets
        .create(&PostParams::default(), &third)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("exceeded quota: q"),
        "{refused}"
    );
    widgets.delete("a", &Default::default()).await.unwrap();
    cluster.wait("default", used(Some("1"))).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    definitions
        .delete("widgets.example.com", &Default::default())
        .await
        .unwrap();
    cluster.wait("default", used(None)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_quota_counts_devices_by_their_class() {
    let cluster = Cluster::start().await;
    let name = "gpu.deviceclass.resource.k8s.io/devices";
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {name: "3"}}});
    cluster.create::<ResourceQuota>("default", quota).await;
    let used = |count: &'static str| {
        move |all: &[ResourceQuota]| {
            let used = all[0].status.clone().and_then(|status| status.used);
            used.unwrap_or_default()
                .get(name)
                .is_some_and(|a| a.0 == count)
        }
    };
    cluster.wait("default", used("0")).await;
    let claim = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2}}]}}})
    };
    cluster.create::<ResourceClaim>("default", claim("a")).await;
    cluster.wait("default", used("2")).await;
    let claims = cluster.api::<ResourceClaim>("default");
    let second: ResourceClaim = serde_json::from_value(claim("b")).unwrap();
    let refused = claims.create(&PostParams::default(), &second).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("exceeded quota: q"), "{refused}");
    claims.delete("a", &Default::default()).await.unwrap();
    cluster.wait("default", used("0")).await;
    cluster.stop().await;
}
