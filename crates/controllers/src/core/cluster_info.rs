//! Signs the ConfigMap `cluster-info`, so that who wants to join can tell from a bootstrap token alone
//! that it is the right cluster: one signature per token, a detached JWS (RFC 7515, HS256).

use std::collections::BTreeMap;
use std::sync::Arc;

use client::controller::Requeue;
use client::{Change, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use ring::hmac;
use serde_json::json;

use super::token_cleaner::{TYPE, expiry};
use crate::error::Error;
use crate::kit::{Kit, until};
use crate::write;

const NAME: &str = "cluster-info";
const NAMESPACE: &str = "kube-public";
const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";
const SECRET_PREFIX: &str = "bootstrap-token-";

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * at)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// The signature of a content by a token, without the content.
fn sign(content: &str, id: &str, secret: &str) -> String {
    let header = base64url(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#).as_bytes());
    let input = format!("{header}.{}", base64url(content.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, input.as_bytes());
    format!("{header}..{}", base64url(tag.as_ref()))
}

/// Id and secret of a token that may sign now.
fn token(secret: &Secret, now: Timestamp) -> Option<(String, String)> {
    let data = secret.data.as_ref()?;
    let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
    let (id, key) = (text("token-id")?, text("token-secret")?);
    let plain = |text: &str, length: usize| {
        let fits = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
        text.len() == length && text.chars().all(fits)
    };
    let named = secret
        .metadata
        .name
        .as_deref()?
        .strip_prefix(SECRET_PREFIX)?;
    let signs = text("usage-bootstrap-signing").as_deref() == Some("true");
    let over = expiry(secret).is_some_and(|at| at <= now);
    (signs && !over && named == id && plain(&id, 6) && plain(&key, 16)).then_some((id, key))
}

/// The patch that brings the signatures up to date.
fn patch(config: &ConfigMap, tokens: &BTreeMap<String, String>) -> Option<serde_json::Value> {
    let data = config.data.as_ref()?;
    let content = data.get(CONTENT)?;
    let mut wanted = data.clone();
    wanted.retain(|name, _| !name.starts_with(SIGNATURE));
    for (id, secret) in tokens {
        wanted.insert(format!("{SIGNATURE}{id}"), sign(content, id, secret));
    }
    let change = write::difference(&write::json_of(data), &write::json_of(&wanted))?;
    Some(json!({ "data": change }))
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let secrets = kit
        .informers
        .get::<Secret>(Scope::fields(&format!("type={TYPE}")));
    let configs = kit
        .informers
        .get::<ConfigMap>(Scope::fields(&format!("metadata.name={NAME}")));
    let queue = kit.queue::<Key>();
    if !(kit.synced(&secrets).await && kit.synced(&configs).await) {
        return;
    }
    let config = || Key::new(NAMESPACE, NAME);
    kit.follow(&secrets, &queue, move |_: Change<Secret>| [config()]);
    kit.follow(&configs, &queue, move |change: Change<ConfigMap>| {
        (Key::of(&**change.object()) == config()).then(config)
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, secrets, configs) = (inner.clone(), secrets.clone(), configs.clone());
        async move {
            let Some(config) = configs.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let now = kit.now();
            let all: Vec<Arc<Secret>> = secrets.store().list_in("kube-system");
            let tokens = all.iter().filter_map(|secret| token(secret, now)).collect();
            if let Some(patch) = patch(&config, &tokens) {
                let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), NAMESPACE);
                write::merge(&api, &*config, patch).await?;
            }
            // A token whose time is over does not sign any more.
            let next = all
                .iter()
                .filter_map(|secret| expiry(secret))
                .filter(|at| *at > now);
            Ok::<_, Error>(match next.min() {
                Some(at) => Requeue::After(until(at, now)),
                None => Requeue::OnChange,
            })
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn base64url_of_all_lengths() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("\u{3ff}?", "z78_"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }

    /// The value was computed apart, with Python's hmac, over the same input.
    #[test]
    fn a_detached_signature() {
        let content = "apiVersion: v1\nkind: Config\n";
        let signature = sign(content, "abcdef", "0123456789abcdef");
        let expected =
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..vH_kT4yiol-nrAWgjfCYqvum5wsKETXe0S7OOp1VgnE";
        assert_eq!(signature, expected);
    }

    #[test]
    fn signatures_follow_the_tokens() {
        let config = |data: &[(&str, &str)]| ConfigMap {
            data: Some(
                data.iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            ..ConfigMap::default()
        };
        let tokens: BTreeMap<_, _> = [("abcdef".to_owned(), "0123456789abcdef".to_owned())].into();
        let unsigned = config(&[(CONTENT, "x"), ("jws-kubeconfig-gone00", "y")]);
        let change = patch(&unsigned, &tokens).unwrap();
        assert!(change["data"]["jws-kubeconfig-gone00"].is_null());
        let signature = change["data"]["jws-kubeconfig-abcdef"].as_str().unwrap();
        let signed = config(&[(CONTENT, "x"), ("jws-kubeconfig-abcdef", signature)]);
        assert_eq!(patch(&signed, &tokens), None);
        assert_eq!(patch(&config(&[("other", "x")]), &tokens), None);
    }

    #[test]
    fn which_tokens_sign() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let secret = |name: &str, usage: &str, expiration: Option<&str>| {
            let mut data: BTreeMap<String, ByteString> = [
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-signing", usage),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), ByteString(value.into())))
            .collect();
            if let Some(at) = expiration {
                data.insert("expiration".to_owned(), ByteString(at.into()));
            }
            let mut secret = Secret {
                type_: Some(TYPE.to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            secret.metadata.name = Some(name.to_owned());
            secret
        };
        let cases = [
            ("bootstrap-token-abcdef", "true", None, true),
            (
                "bootstrap-token-abcdef",
                "true",
                Some("2026-01-02T00:00:00Z"),
                true,
            ),
            (
                "bootstrap-token-abcdef",
                "true",
                Some("2025-01-02T00:00:00Z"),
                false,
            ),
            ("bootstrap-token-abcdef", "true", Some("some day"), false),
            ("bootstrap-token-abcdef", "false", None, false),
            ("bootstrap-token-other0", "true", None, false),
        ];
        for (name, usage, expiration, signs) in cases {
            let found = token(&secret(name, usage, expiration), now).is_some();
            assert_eq!(found, signs, "{name} {usage} {expiration:?}");
        }
    }
}
