//! `corten token`: the tokens that new nodes join with.

use std::{fs::File, io::Read};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    config::Kubeconfig,
};
use kubectl::output::table;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

use crate::{
    join,
    settings::agent::{TokenAction, TokenSettings},
};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Who joins with such a token; what it may do is bound to this group.
const GROUP: &str = "system:bootstrappers:corten:default-node-token";

/// Runs it.
pub async fn run(settings: TokenSettings) -> Result<()> {
    let path = settings.data.data_dir.join("admin.kubeconfig");
    let client = client::from_kubeconfig(&path)
        .await
        .context("no cluster is kept there (choose its directory with --data-dir)")?;
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    match settings.action {
        TokenAction::Create { ttl, description } => {
            let file = Kubeconfig::read_from(&path)?;
            let ca = authority(&file)
                .with_context(|| format!("{} names no authority", path.display()))?;
            let der = CertificateDer::from_pem_slice(ca.as_bytes())
                .context("the cluster's certificate authority")?;
            let token = create(&secrets, ttl, description).await?;
            println!("{}", join::pinned(&token, &der));
        }
        TokenAction::List => print!("{}", list(&secrets).await?),
        TokenAction::Delete { ids } => {
            for id in ids {
                let id = id.split('.').next().unwrap_or_default();
                secrets
                    .delete(&format!("bootstrap-token-{id}"), &DeleteParams::default())
                    .await
                    .with_context(|| format!("cannot delete the token {id}"))?;
                println!("token {id} deleted");
            }
        }
    }
    Ok(())
}

/// The certificate authority of a kubeconfig's first cluster, PEM.
pub fn authority(file: &Kubeconfig) -> Option<String> {
    let cluster = file.clusters.first()?.cluster.as_ref()?;
    if let Some(data) = &cluster.certificate_authority_data {
        return String::from_utf8(BASE64_STANDARD.decode(data).ok()?).ok();
    }
    std::fs::read_to_string(cluster.certificate_authority.as_ref()?).ok()
}

async fn create(secrets: &Api<Secret>, hours: u32, description: Option<String>) -> Result<String> {
    let (id, secret) = (letters(6)?, letters(16)?);
    let mut data = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
    });
    if hours > 0 {
        let end = Timestamp::now() + SignedDuration::from_hours(hours.into());
        data["expiration"] = api::clock::rfc3339(end).into();
    }
    if let Some(text) = description {
        data["description"] = text.into();
    }
    let object: Secret = serde_json::from_value(json!({
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": NAMESPACE},
        "type": TYPE,
        "stringData": data,
    }))?;
    secrets
        .create(&PostParams::default(), &object)
        .await
        .context("cannot write the token")?;
    Ok(format!("{id}.{secret}"))
}

/// Random letters and digits.
fn letters(count: usize) -> Result<String> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut source = File::open("/dev/urandom").context("no randomness")?;
    let mut out = String::new();
    let mut byte = [0];
    while out.len() < count {
        source.read_exact(&mut byte).context("no randomness")?;
        // Bytes at the end would make some letters likelier.
        if byte[0] < 252 {
            out.push(char::from(ALPHABET[usize::from(byte[0] % 36)]));
        }
    }
    Ok(out)
}

async fn list(secrets: &Api<Secret>) -> Result<String> {
    let parameters = ListParams::default().fields(&format!("type={TYPE}"));
    let found = secrets.list(&parameters).await?;
    let head = ["TOKEN", "TTL", "EXPIRES", "DESCRIPTION"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    let now = Timestamp::now();
    for secret in found {
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| {
            let bytes = data.get(key).map(|b| b.0.clone()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let expires = text("expiration");
        let left = match expires.parse::<Timestamp>() {
            Ok(end) if end <= now => "<expired>".into(),
            Ok(end) => api::duration::human(end.duration_since(now).as_secs()),
            Err(_) => "<forever>".into(),
        };
        let expires = if expires.is_empty() {
            "<never>".into()
        } else {
            expires
        };
        // The second half is for whoever made it.
        rows.push(vec![text("token-id"), left, expires, text("description")]);
    }
    Ok(table::align(rows))
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn letters_are_plain_and_differ() {
        let one = letters(16).unwrap();
        assert_eq!(one.len(), 16);
        assert!(
            one.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
        assert_ne!(one, letters(16).unwrap());
    }
}
