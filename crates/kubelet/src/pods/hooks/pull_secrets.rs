//! Credentials for a registry, from the pod's imagePullSecrets.

use std::collections::BTreeMap;

use base64::Engine as _;
use cri::v1;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde::Deserialize;

use crate::{agent::Agent, pods::view::PodView};

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

/// The registry of an image's name, as credentials name it.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// The host of a credential's key: without scheme and path.
fn host(key: &str) -> &str {
    let key = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    match key.split('/').next().unwrap_or(key) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Whether a credential's key covers an image; a deeper path covers less.
fn covers(key: &str, image: &str) -> bool {
    if host(key) != registry(image) {
        return false;
    }
    let path = key
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split_once('/')
        .map_or("", |(_, path)| path.trim_end_matches('/'));
    if path.is_empty() || path == "v1" || path == "v2" {
        return true;
    }
    image
        .split_once('/')
        .is_some_and(|(_, rest)| rest.starts_with(path))
}

fn parse(secret: &Secret) -> BTreeMap<String, Entry> {
    let data = secret.data.as_ref();
    let get = |key: &str| data.and_then(|d| d.get(key)).map(|b| b.0.as_slice());
    if let Some(bytes) = get(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfig>(bytes)
            .unwrap_or_default()
            .auths;
    }
    get(".dockercfg")
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

fn credentials(key: &str, entry: Entry) -> v1::AuthConfig {
    let (mut username, mut password) = (entry.username, entry.password);
    if username.is_empty()
        && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim())
        && let Some((user, secret)) = String::from_utf8_lossy(&bytes).split_once(':')
    {
        username = user.to_owned();
        password = secret.trim_end_matches('\0').to_owned();
    }
    v1::AuthConfig {
        username,
        password,
        auth: String::new(),
        server_address: host(key).to_owned(),
        identity_token: entry.identitytoken,
        registry_token: entry.registrytoken,
    }
}

/// Every credential of the pod that covers the image, the closest first.
pub async fn find(agent: &Agent, pod: &PodView, image: &str) -> Vec<v1::AuthConfig> {
    let api: Api<Secret> = Api::namespaced(agent.context.client.clone(), pod.namespace());
    let mut found: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for reference in pod.spec().image_pull_secrets.iter().flatten() {
        // A secret that is not there is no obstacle: the image may need none.
        let Ok(Some(secret)) = api.get_opt(&reference.name).await else {
            continue;
        };
        for (key, entry) in parse(&secret) {
            if covers(&key, image) {
                found.push((key.len(), credentials(&key, entry)));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cover_images() {
        let cases = [
            ("registry.example:5000", "registry.example:5000/a/b:1", true),
            (
                "https://registry.example:5000/v2/",
                "registry.example:5000/a",
                true,
            ),
            ("registry.example:5000/a", "registry.example:5000/a/b", true),
            (
                "registry.example:5000/c",
                "registry.example:5000/a/b",
                false,
            ),
            ("https://index.docker.io/v1/", "nginx", true),
            ("other.example", "registry.example/a", false),
        ];
        for (key, image, want) in cases {
            assert_eq!(covers(key, image), want, "{key} {image}");
        }
    }

    #[test]
    fn secrets_of_both_shapes() {
        let auth = base64::engine::general_purpose::STANDARD.encode("me:pa:ss");
        let config = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "data": {".dockerconfigjson": base64::engine::general_purpose::STANDARD.encode(config)}
        }))
        .expect("a secret");
        let mut entries = parse(&secret);
        let entry = entries.remove("r.example").expect("the entry");
        let got = credentials("r.example", entry);
        assert_eq!(
            (got.username.as_str(), got.password.as_str()),
            ("me", "pa:ss")
        );
    }
}
