//! What a joining node has to know of the cluster: the server publishes it as a ConfigMap that nodes
//! may read, `kube-system/corten-cluster`.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::settings::cluster::ServerSettings;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "corten-cluster";
const KEYS: [&str; 3] = ["cluster-cidr", "service-cidr", "cluster-domain"];

/// Writes down how this cluster is set up.
pub async fn publish(client: kube::Client, settings: &ServerSettings) -> Result<()> {
    let values = [
        &settings.cluster_cidr,
        &settings.service_cidr,
        &settings.cluster_domain,
    ];
    let data: serde_json::Map<String, serde_json::Value> = KEYS
        .iter()
        .zip(values)
        .map(|(key, value)| ((*key).to_string(), value.clone().into()))
        .collect();
    let wanted = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": data,
    });
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let parameters = PatchParams::apply("corten-server").force();
    maps.patch(NAME, &parameters, &Patch::Apply(&wanted))
        .await
        .with_context(|| format!("cannot write ConfigMap {NAMESPACE}/{NAME}"))?;
    Ok(())
}

/// Takes over how the cluster is set up.
pub async fn adopt(client: kube::Client, settings: &mut ServerSettings) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let map = maps.get(NAME).await.with_context(|| {
        format!("cannot read how the cluster is set up (ConfigMap {NAMESPACE}/{NAME})")
    })?;
    let data = map.data.unwrap_or_default();
    let places = [
        &mut settings.cluster_cidr,
        &mut settings.service_cidr,
        &mut settings.cluster_domain,
    ];
    for (key, place) in KEYS.iter().zip(places) {
        let value = data.get(*key);
        *place = value
            .with_context(|| format!("ConfigMap {NAMESPACE}/{NAME} has no {key}"))?
            .clone();
    }
    Ok(())
}
