//! The kubeconfig file of one identity.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Identity;

/// A kubeconfig for the user of `identity` on the server at this URL.
pub fn kubeconfig(server_url: &str, ca_pem: &str, user: &str, identity: &Identity) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&identity.certificate);
    let key = STANDARD.encode(&identity.key);
    // Names are put in as JSON strings, which YAML reads as they are: a name with a colon stays whole.
    let user = serde_json::Value::from(user);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: corten
  cluster:
    server: {server_url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: corten
  context:
    cluster: corten
    user: {user}
current-context: corten
"
    )
}

/// A kubeconfig that [`kubeconfig`] wrote earlier is still good for this server and CA.
pub(super) fn still_serves(
    text: &str,
    server_url: &str,
    ca_pem: &str,
    lasts: impl Fn(&str) -> bool,
) -> bool {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .map(str::trim)
    };
    let certificate = value("client-certificate-data:")
        .and_then(|data| STANDARD.decode(data).ok())
        .and_then(|pem| String::from_utf8(pem).ok());
    value("server:") == Some(server_url)
        && value("certificate-authority-data:") == Some(STANDARD.encode(ca_pem).as_str())
        && certificate.is_some_and(|pem| lasts(&pem))
}
