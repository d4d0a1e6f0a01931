//! Publishes the certificate authority of the API server as a ClusterTrustBundle, for pods that want
//! it projected (KEP-3257).

use client::controller::Requeue;
use client::informer::Store;
use client::{Change, Key, Scope};
use k8s_openapi::api::certificates::v1beta1::{ClusterTrustBundle, ClusterTrustBundleSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use ring::digest;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

/// The bundle of this content: its name follows from it, so that an old and a new one can stand side
/// by side while a new one is rolled out.
fn wanted(pem: &str) -> ClusterTrustBundle {
    let sum = digest::digest(&digest::SHA256, pem.as_bytes());
    let hash: String = sum.as_ref()[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ClusterTrustBundle {
        metadata: ObjectMeta {
            name: Some(format!("{}:{hash}", SIGNER.replace('/', ":"))),
            ..ObjectMeta::default()
        },
        spec: ClusterTrustBundleSpec {
            signer_name: Some(SIGNER.to_owned()),
            trust_bundle: pem.to_owned(),
        },
    }
}

/// Runs until the shutdown; not at all where bundles are not served, as they are not unless the cluster
/// is told to.
pub(crate) async fn run(kit: Kit, root_ca_pem: String) {
    let served = kit.serves("certificates.k8s.io/v1beta1", "clustertrustbundles");
    if served.await != Some(true) {
        kit.shutdown.cancelled().await;
        return;
    }
    let scope = Scope::fields(&format!("spec.signerName={SIGNER}"));
    let bundles = kit.informers.get::<ClusterTrustBundle>(scope);
    let queue = kit.queue::<Key>();
    let wanted = wanted(&root_ca_pem);
    let own = Key::of(&wanted);
    queue.add(own.clone());
    if !kit.synced(&bundles).await {
        return;
    }
    kit.follow(&bundles, &queue, move |_: Change<ClusterTrustBundle>| {
        [own.clone()]
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, bundles, wanted) = (inner.clone(), bundles.clone(), wanted.clone());
        async move { reconcile(&kit, bundles.store(), &key, &wanted).await }
    })
    .await;
}

async fn reconcile(
    kit: &Kit,
    bundles: &Store<ClusterTrustBundle>,
    key: &Key,
    wanted: &ClusterTrustBundle,
) -> Result<Requeue, Error> {
    let api: Api<ClusterTrustBundle> = Api::all(kit.client.clone());
    match bundles.get_key(key) {
        None => {
            let created = api.create(&PostParams::default(), wanted).await;
            match created.on("create", "clustertrustbundle", || key.clone()) {
                Err(error) if error.is_already_exists() => {}
                result => drop(result?),
            }
        }
        Some(held) if held.spec.trust_bundle != wanted.spec.trust_bundle => {
            let patch = serde_json::json!({"spec": {"trustBundle": wanted.spec.trust_bundle}});
            write::merge(&api, &*held, patch).await?;
        }
        Some(_) => {}
    }
    // Only now: the new one is there.
    for old in bundles.list() {
        let ours = old.spec.signer_name.as_deref() == Some(SIGNER);
        if ours && Key::of(&*old) != *key {
            write::delete(&api, &*old, None, None).await?;
        }
    }
    Ok(Requeue::OnChange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_the_content() {
        let name = |pem: &str| wanted(pem).metadata.name.unwrap();
        assert!(name("a").starts_with("kubernetes.io:kube-apiserver-serving:"));
        assert_eq!(name("a").rsplit(':').next().unwrap().len(), 24);
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
    }
}
