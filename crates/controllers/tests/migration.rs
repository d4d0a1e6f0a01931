//! Objects that rest in an old version of their kind are written anew.

use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn versions(stored: &str) -> Value {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!([version("v1"), version("v2")])
}

fn stored_in(definitions: &[CustomResourceDefinition], expected: &[&str]) -> bool {
    definitions.iter().any(|definition| {
        let status = definition.status.as_ref();
        status
            .and_then(|status| status.stored_versions.as_deref())
            .unwrap_or_default()
            == expected
    })
}

fn is(all: &[StorageVersionMigration], name: &str, condition: &str, status: &str) -> bool {
    let mut named = all.iter().filter(|one| one.name_any() == name);
    named.any(|one| {
        let conditions = one
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|found| found.type_ == condition && found.status == status)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_to_rest_in_the_present_version() {
    let cluster = Cluster::start().await;
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": versions("v1")}});
    cluster
        .create::<CustomResourceDefinition>("", definition)
        .await;
    cluster
        .wait::<CustomResourceDefinition>("", |all| stored_in(all, &["v1"]))
        .await;
    let widgets = ApiResource {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "example.com/v1".to_owned(),
        kind: "Widget".to_owned(),
        plural: "widgets".to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &widgets);
    let mut before = Vec::new();
    for name in ["a", "b"] {
        let object = DynamicObject::new(name, &widgets).data(json!({"spec": {"size": 1}}));
        let made = loop {
            match api.create(&PostParams::default(), &object).await {
                Ok(made) => break made,
                // The definition is served a moment after it says so.
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("{error}"),
            }
        };
        before.push(made);
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let change = json!({"spec": {"versions": versions("v2")}});
    definitions
        .patch(
            "widgets.example.com",
            &PatchParams::default(),
            &Patch::Merge(&change),
        )
        .await
        .unwrap();
    cluster
        .wait::<CustomResourceDefinition>("", |all| stored_in(all, &["v1", "v2"]))
        .await;
    for (name, group, resource) in [
        ("widgets", "example.com", "widgets"),
        ("nodes", "", "nodes"),
    ] {
        let resource = json!({"group": group, "resource": resource});
        let migration = json!({"metadata": {"name": name}, "spec": {"resource": resource}});
        cluster
            .create::<StorageVersionMigration>("", migration)
            .await;
    }
    cluster
        .wait::<StorageVersionMigration>("", |all| {
            ["widgets", "nodes"]
                .iter()
                .all(|name| is(all, name, "Succeeded", "True") && is(all, name, "Running", "False"))
        })
        .await;
    cluster
        .wait::<CustomResourceDefinition>("", |all| stored_in(all, &["v2"]))
        .await;
    for old in before {
        let new = api.get(&old.name_any()).await.unwrap();
        assert_ne!(
            new.resource_version(),
            old.resource_version(),
            "it was written"
        );
        assert_eq!(new.uid(), old.uid());
        assert_eq!(new.data, old.data);
    }
}
