//! A pod's resolver configuration and hosts file.

use std::{net::IpAddr, path::Path};

use cri::v1;
use k8s_openapi::api::core::v1::PodSpec;

use crate::{config::Config, pods::view::PodView};

/// Most name servers a resolver asks.
const MAX_SERVERS: usize = 3;
/// Most search domains, and their length together.
const MAX_SEARCHES: usize = 32;

/// Parses a resolv.conf.
pub fn parse(text: &str) -> v1::DnsConfig {
    let mut out = v1::DnsConfig::default();
    for line in text.lines() {
        let line = line.trim();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                out.searches = words.map(|w| w.trim_end_matches('.').to_owned()).collect();
            }
            Some("options") => out.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    out
}

/// What the pod's resolver is told. `host` is the node's own configuration.
pub fn config(pod: &PodView, config: &Config, host: &v1::DnsConfig) -> v1::DnsConfig {
    let spec = pod.spec();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let mut out = if policy == "None" {
        v1::DnsConfig::default()
    } else if cluster && !config.cluster_dns.is_empty() {
        let domain = &config.cluster_domain;
        let mut searches = Vec::new();
        if !domain.is_empty() {
            searches = vec![
                format!("{}.svc.{domain}", pod.namespace()),
                format!("svc.{domain}"),
                domain.clone(),
            ];
        }
        searches.extend(host.searches.iter().cloned());
        v1::DnsConfig {
            servers: config.cluster_dns.iter().map(IpAddr::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else {
        host.clone()
    };
    append(&mut out, spec);
    dedupe(&mut out.servers);
    dedupe(&mut out.searches);
    out.servers.truncate(MAX_SERVERS);
    out.searches.truncate(MAX_SEARCHES);
    out
}

fn append(out: &mut v1::DnsConfig, spec: &PodSpec) {
    let Some(extra) = &spec.dns_config else {
        return;
    };
    out.servers
        .extend(extra.nameservers.iter().flatten().cloned());
    out.searches
        .extend(extra.searches.iter().flatten().cloned());
    for option in extra.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else {
            continue;
        };
        out.options
            .retain(|old| old.split(':').next() != Some(name));
        out.options.push(match option.value.as_deref() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.to_owned(),
        });
    }
}

fn dedupe(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The node's own configuration, followed to the upstream servers where a local stub is named
/// (a pod cannot reach the node's loopback).
pub async fn host(path: &Path) -> v1::DnsConfig {
    let read = |path: &Path| {
        let path = path.to_owned();
        async move { tokio::fs::read_to_string(path).await.unwrap_or_default() }
    };
    let mut config = parse(&read(path).await);
    let stub = |s: &String| s.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if config.servers.iter().all(stub) {
        let resolved = parse(&read(Path::new("/run/systemd/resolve/resolv.conf")).await);
        if !resolved.servers.is_empty() {
            config = resolved;
        }
    }
    config
}

/// The hostname inside the pod, and its domain when it has one.
pub fn hostname(pod: &PodView, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec();
    if let Some(over) = spec.hostname_override.as_deref().filter(|h| !h.is_empty()) {
        return (over.to_owned(), None);
    }
    let mut name = match spec.hostname.as_deref() {
        Some(hostname) if !hostname.is_empty() => hostname.to_owned(),
        _ => pod.name().to_owned(),
    };
    // The kernel takes 63 characters; a name may not end in what is left of a separator.
    if name.len() > 63 {
        name.truncate(63);
        while name.ends_with(['-', '.']) {
            name.pop();
        }
    }
    let domain = spec
        .subdomain
        .as_deref()
        .filter(|s| !s.is_empty())
        .map(|sub| format!("{sub}.{}.svc.{cluster_domain}", pod.namespace()));
    (name, domain)
}

/// What `hostname` prints in the pod.
pub fn kernel_hostname(pod: &PodView, cluster_domain: &str) -> String {
    let (name, domain) = hostname(pod, cluster_domain);
    match domain {
        Some(domain) if pod.spec().set_hostname_as_fqdn == Some(true) => format!("{name}.{domain}"),
        _ => name,
    }
}

/// The pod's /etc/hosts. Pods on the node's network get the node's file with a note on top.
pub fn hosts_file(pod: &PodView, ips: &[String], cluster_domain: &str, host_file: &str) -> String {
    let mut out;
    if pod.host_network() {
        out = format!("# Kubernetes-managed hosts file (host network).\n{host_file}");
        if !out.ends_with('\n') {
            out.push('\n');
        }
    } else {
        out = "# Kubernetes-managed hosts file.\n\
               127.0.0.1\tlocalhost\n\
               ::1\tlocalhost ip6-localhost ip6-loopback\n\
               fe00::0\tip6-localnet\n\
               fe00::0\tip6-mcastprefix\n\
               fe00::1\tip6-allnodes\n\
               fe00::2\tip6-allrouters\n"
            .to_owned();
        let (name, domain) = hostname(pod, cluster_domain);
        for ip in ips {
            match &domain {
                Some(domain) => out.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
                None => out.push_str(&format!("{ip}\t{name}\n")),
            }
        }
    }
    let aliases: Vec<_> = pod.spec().host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            out.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn view(spec: serde_json::Value) -> PodView {
        let pod = serde_json::json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u"},
            "spec": spec
        });
        PodView::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn settings() -> (Vec<IpAddr>, v1::DnsConfig) {
        (
            vec!["10.96.0.10".parse().expect("an address")],
            parse("nameserver 192.0.2.1\nsearch lan.\noptions edns0\n"),
        )
    }

    #[tokio::test]
    async fn policies() {
        let (dns, host) = settings();
        let client = crate::testing::no_api();
        let mut cfg = Config::new("n", "/nowhere", "/nowhere/sock", client);
        cfg.cluster_dns = dns;
        let got = |spec| config(&view(spec), &cfg, &host);
        let first = got(serde_json::json!({"containers": []}));
        assert_eq!(first.servers, ["10.96.0.10"]);
        assert_eq!(
            first.searches,
            [
                "shop.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "lan"
            ]
        );
        assert_eq!(first.options, ["ndots:5"]);
        let default = got(serde_json::json!({"containers": [], "dnsPolicy": "Default"}));
        assert_eq!(default, host);
        let on_node = got(serde_json::json!({"containers": [], "hostNetwork": true}));
        assert_eq!(on_node, host);
        let none = got(serde_json::json!({
            "containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.9"], "options": [{"name": "ndots", "value": "2"}]}
        }));
        assert_eq!(none.servers, ["192.0.2.9"]);
        assert_eq!(none.options, ["ndots:2"]);
    }

    #[test]
    fn hosts() {
        let pod = view(serde_json::json!({
            "containers": [], "hostname": "db", "subdomain": "peers",
            "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]
        }));
        let file = hosts_file(&pod, &["10.0.0.5".into()], "cluster.local", "");
        assert!(file.contains("10.0.0.5\tdb.peers.shop.svc.cluster.local\tdb\n"));
        assert!(file.ends_with("\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"));
        assert_eq!(kernel_hostname(&pod, "cluster.local"), "db");
    }
}
