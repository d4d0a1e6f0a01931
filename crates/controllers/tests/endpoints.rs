//! EndpointSlices and Endpoints of a Service.

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn endpoints_follow_the_pods_of_a_service() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }});
    let pod = |name: &str, image: &str| json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    cluster.create::<Service>("default", service).await;
    cluster
        .create::<Service>(
            "default",
            json!({"metadata": {"name": "free"}, "spec": {"ports": [{"port": 1}]}}),
        )
        .await;
    cluster.create::<Pod>("default", pod("good", "a")).await;
    cluster
        .create::<Pod>("default", pod("bad", "unready"))
        .await;
    let slices = cluster
        .wait::<EndpointSlice>("default", |all| {
            all.iter().any(|slice| {
                slice
                    .endpoints
                    .as_ref()
                    .is_some_and(|endpoints| endpoints.len() == 2)
            })
        })
        .await;
    let label = "kubernetes.io/service-name";
    let of = |name: &str| {
        slices
            .iter()
            .filter(|slice| {
                slice
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|all| all.get(label))
                    .is_some_and(|of| of == name)
            })
            .count()
    };
    assert_eq!(
        (of("web"), of("free")),
        (1, 0),
        "a Service without selector is left alone"
    );
    let web = slices
        .iter()
        .find(|slice| slice.metadata.generate_name.as_deref() == Some("web-"))
        .unwrap();
    assert_eq!(web.ports.as_ref().unwrap()[0].port, Some(8080));
    for endpoint in web.endpoints.as_ref().unwrap() {
        let name = endpoint.target_ref.as_ref().unwrap().name.as_deref();
        assert_eq!(
            endpoint.conditions.as_ref().unwrap().ready,
            Some(name == Some("good"))
        );
    }
    cluster
        .wait::<Endpoints>("default", |all| {
            all.iter().any(|one| {
                one.metadata.name.as_deref() == Some("web")
                    && one.subsets.iter().flatten().any(|subset| {
                        subset.addresses.as_ref().is_some_and(|all| all.len() == 1)
                            && subset
                                .not_ready_addresses
                                .as_ref()
                                .is_some_and(|all| all.len() == 1)
                    })
            })
        })
        .await;
    cluster
        .api::<Pod>("default")
        .delete("good", &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<EndpointSlice>("default", |all| {
            all.iter().any(|slice| {
                slice
                    .endpoints
                    .as_ref()
                    .is_some_and(|endpoints| endpoints.len() == 1)
            })
        })
        .await;
    cluster
        .api::<Service>("default")
        .delete("web", &Default::default())
        .await
        .unwrap();
    cluster
        .wait::<EndpointSlice>("default", |all| {
            !all.iter()
                .any(|slice| slice.metadata.generate_name.as_deref() == Some("web-"))
        })
        .await;
    cluster
        .wait::<Endpoints>("default", |all| {
            !all.iter()
                .any(|one| one.metadata.name.as_deref() == Some("web"))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_service_on_its_way_out_still_has_its_endpoints_told() {
    const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "web", "finalizers": ["example.com/hold"]}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let pod = |name: &str| json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    cluster.create::<Service>("default", service).await;
    cluster.create::<Pod>("default", pod("first")).await;
    let sliced = |count: usize| {
        move |all: &[EndpointSlice]| {
            let sizes = all.iter().filter_map(|slice| slice.endpoints.as_ref());
            sizes.map(Vec::len).sum::<usize>() == count
        }
    };
    let listed = |count: usize| {
        move |all: &[Endpoints]| {
            let subsets = all.iter().flat_map(|one| one.subsets.iter().flatten());
            let sizes = subsets.filter_map(|subset| subset.addresses.as_ref());
            sizes.map(Vec::len).sum::<usize>() == count
        }
    };
    cluster.wait("default", sliced(1)).await;
    cluster.wait("default", listed(1)).await;
    let services = cluster.api::<Service>("default");
    services.delete("web", &Default::default()).await.unwrap();
    cluster
        .wait::<Service>("default", |all| {
            let deleted = |one: &Service| one.metadata.deletion_timestamp.is_some();
            all.iter().any(deleted)
        })
        .await;
    cluster.create::<Pod>("default", pod("second")).await;
    let slices = cluster.wait("default", sliced(2)).await;
    let lists = cluster.wait("default", listed(2)).await;
    let slice = slices[0].metadata.annotations.as_ref().unwrap();
    let list = lists[0].metadata.annotations.as_ref().unwrap();
    assert!(slice.contains_key(TRIGGER) && list.contains_key(TRIGGER));
    cluster.stop().await;
}
