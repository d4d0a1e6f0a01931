//! Removes bootstrap tokens whose time is over.

use client::Scope;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::expiry::sweep;
use crate::kit::Kit;

pub(super) const TYPE: &str = "bootstrap.kubernetes.io/token";

/// When the token ends; none if it does not, or is not one. What says when and cannot be read has
/// ended already.
pub(super) fn expiry(secret: &Secret) -> Option<Timestamp> {
    if secret.type_.as_deref() != Some(TYPE) {
        return None;
    }
    let text = secret.data.as_ref()?.get("expiration")?;
    if text.0.is_empty() {
        return None;
    }
    let time = std::str::from_utf8(&text.0)
        .ok()
        .and_then(|text| text.parse().ok());
    Some(time.unwrap_or(Timestamp::MIN))
}

/// When the token goes: those of other namespaces are none.
fn end(secret: &Secret) -> Option<Timestamp> {
    let ours = secret.metadata.namespace.as_deref() == Some("kube-system");
    expiry(secret).filter(|_| ours)
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let scope = Scope::fields(&format!("type={TYPE}"));
    let secrets = kit.informers.get::<Secret>(scope);
    sweep(kit, secrets, Api::namespaced, end).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn only_bootstrap_tokens_expire() {
        let secret = |type_: &str, expiration: &str| Secret {
            type_: Some(type_.into()),
            data: Some([("expiration".to_owned(), ByteString(expiration.into()))].into()),
            ..Secret::default()
        };
        let time = "2026-11-20T10:00:00Z";
        assert_eq!(expiry(&secret(TYPE, time)), Some(time.parse().unwrap()));
        assert_eq!(expiry(&secret("Opaque", time)), None);
        assert_eq!(expiry(&secret(TYPE, "")), None);
        assert_eq!(expiry(&secret(TYPE, "soon")), Some(Timestamp::MIN));
    }
}
