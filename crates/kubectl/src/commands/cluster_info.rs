//! `kubectl cluster-info` and `kubectl api-versions`.

use std::io::IsTerminal;

use api::object::Object;

use crate::{error::Result, session::Session};

/// Prints where the control plane is, and the services of the cluster's own.
pub async fn run(session: &Session) -> Result<u8> {
    let color = std::io::stdout().is_terminal();
    let paint = |code: &str, text: &str| {
        if color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    };
    let line = |name: &str, url: &str| {
        println!("{} is running at {}", paint("32", name), paint("33", url));
    };
    let server = session.server.trim_end_matches('/');
    line("Kubernetes control plane", server);
    let services = session
        .get("/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue")
        .await?;
    for service in services.list("items") {
        let labels = service.at("metadata.labels");
        let title = match labels["kubernetes.io/name"].as_str() {
            Some(title) => title,
            None => service.text("metadata.name"),
        };
        let mut name = service.text("metadata.name").to_string();
        if let Some(port) = service.list("spec.ports").first() {
            let scheme = if port.text("name") == "https" || port.int("port") == Some(443) {
                "https:"
            } else {
                ""
            };
            name = format!("{scheme}{name}:{}", port.text("name"));
        }
        let namespace = service.text("metadata.namespace");
        line(
            title,
            &format!("{server}/api/v1/namespaces/{namespace}/services/{name}/proxy"),
        );
    }
    println!("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.");
    Ok(0)
}

/// Prints every group and version served.
pub async fn versions(session: &Session) -> Result<u8> {
    let mut versions: Vec<String> = session
        .mapping()
        .await?
        .resources
        .iter()
        .map(|r| r.api_version())
        .collect();
    versions.sort();
    versions.dedup();
    for version in versions {
        println!("{version}");
    }
    Ok(0)
}
