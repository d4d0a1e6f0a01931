//! What workloads are configured with: ConfigMaps, Secrets, ServiceAccounts.

use api::object::Object;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    Events, Layout,
    page::{Page, Row, shown},
};

/// How ConfigMaps are described.
pub const CONFIG_MAP: Layout = Layout::new(
    "v1",
    "ConfigMap",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Words("\nData\n====\n"),
        Row::Part(|map, page| {
            for (key, value) in map.pairs("data") {
                page.line(0, format!("{key}:\n----"));
                page.line(0, shown(value) + "\n");
            }
        }),
        Row::Words("\nBinaryData\n====\n"),
        Row::Part(|map, page| {
            for (key, value) in map.pairs("binaryData") {
                page.line(0, format!("{key}: {} bytes", decoded(value).len()));
            }
        }),
        Row::Words("\n"),
    ],
);

/// How Secrets are described: sizes only, but for the token of a ServiceAccount, which is what the
/// reader came for.
pub const SECRET: Layout = Layout {
    events: Events::None,
    ..Layout::new(
        "v1",
        "Secret",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Words("\n"),
            Row::Field("Type", "type"),
            Row::Words("\nData\n====\n"),
            Row::Part(|secret, page| {
                let account = secret.text("type") == "kubernetes.io/service-account-token";
                for (key, value) in secret.pairs("data") {
                    let bytes = decoded(value);
                    let text = if account && key == "token" {
                        String::from_utf8_lossy(&bytes).into_owned()
                    } else {
                        format!("{} bytes", bytes.len())
                    };
                    page.field(0, key, text);
                }
            }),
        ],
    )
};

fn decoded(value: &Value) -> Vec<u8> {
    // The server holds what it could decode; anything else has no size.
    BASE64_STANDARD
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default()
}

/// How ServiceAccounts are described.
pub const SERVICE_ACCOUNT: Layout = Layout::new(
    "v1",
    "ServiceAccount",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Part(pull_secrets),
    ],
);

fn pull_secrets(account: &Value, page: &mut Page) {
    let secrets = account.list("imagePullSecrets");
    let mut title = "Image pull secrets:".to_string();
    if secrets.is_empty() {
        page.line(0, format!("{title}\t<none>"));
    }
    for secret in secrets {
        page.line(0, format!("{title}\t{}", secret.text("name")));
        title = " ".repeat(title.len());
    }
}
