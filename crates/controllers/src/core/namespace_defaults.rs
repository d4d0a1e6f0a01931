//! What every namespace holds: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` with
//! the certificate authority that clients in pods trust.

use std::sync::Arc;

use client::controller::Requeue;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write::{self, Namespaced};

const ROOT_CA: &str = "kube-root-ca.crt";

/// An object that belongs into every namespace.
trait Standard: Namespaced {
    const NAME: &'static str;
    fn differs(&self, wanted: &Self) -> Option<serde_json::Value>;
}

impl Standard for ServiceAccount {
    const NAME: &'static str = "default";
    fn differs(&self, _: &Self) -> Option<serde_json::Value> {
        None
    }
}

impl Standard for ConfigMap {
    const NAME: &'static str = ROOT_CA;
    fn differs(&self, wanted: &Self) -> Option<serde_json::Value> {
        let change = write::difference(&write::json_of(&self.data), &write::json_of(&wanted.data))?;
        Some(json!({ "data": change }))
    }
}

/// Keeps the ServiceAccount `default` in every namespace.
pub(crate) async fn run_service_account(kit: Kit) {
    let account = ServiceAccount {
        metadata: meta(ServiceAccount::NAME),
        ..ServiceAccount::default()
    };
    run(kit, account).await;
}

/// Keeps the root certificate authority in every namespace.
pub(crate) async fn run_root_ca(kit: Kit, root_ca_pem: String) {
    let mut metadata = meta(ROOT_CA);
    let description = "Certificates to check the API server by, for clients inside the cluster.";
    metadata.annotations = Some(
        [(
            "kubernetes.io/description".to_owned(),
            description.to_owned(),
        )]
        .into(),
    );
    let config = ConfigMap {
        metadata,
        data: Some([("ca.crt".to_owned(), root_ca_pem)].into()),
        ..ConfigMap::default()
    };
    run(kit, config).await;
}

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

async fn run<K: Standard>(kit: Kit, wanted: K) {
    let namespaces = kit.informers.get::<Namespace>(Scope::All);
    let objects = kit
        .informers
        .get::<K>(Scope::fields(&format!("metadata.name={}", K::NAME)));
    let queue = kit.queue::<Key>();
    if !(kit.synced(&namespaces).await && kit.synced(&objects).await) {
        return;
    }
    kit.follow_own(&namespaces, &queue);
    kit.follow(&objects, &queue, |change: Change<K>| {
        change
            .object()
            .meta()
            .namespace
            .as_deref()
            .map(|namespace| Key::new("", namespace))
    });
    let wanted = Arc::new(wanted);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, wanted, namespaces, objects) = (
            inner.clone(),
            wanted.clone(),
            namespaces.clone(),
            objects.clone(),
        );
        async move {
            let Some(namespace) = namespaces.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            if namespace.metadata.deletion_timestamp.is_some() {
                return Ok(Requeue::OnChange);
            }
            let api: Api<K> = Api::namespaced(kit.client.clone(), &key.name);
            match objects.store().get(&key.name, K::NAME) {
                None => {
                    let key = || Key::new(&key.name, K::NAME);
                    let created = api.create(&PostParams::default(), &wanted).await;
                    match created.map(drop).on("create", &write::kind::<K>(), key) {
                        Err(error)
                            if error.is_already_exists() || error.is_namespace_terminating() => {}
                        result => result?,
                    }
                }
                Some(object) if object.meta().deletion_timestamp.is_some() => {}
                Some(object) => {
                    if let Some(patch) = object.differs(&wanted) {
                        write::merge(&api, &*object, patch).await?;
                    }
                }
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}
