//! The files every container of a pod sees: `resolv.conf`, `hostname`, `hosts`.

use std::{fs, io, path::Path};

use cri::v1;

/// Writes them into the sandbox's directory.
pub fn write(directory: &Path, config: &v1::PodSandboxConfig, own_network: bool) -> io::Result<()> {
    let resolv = match &config.dns_config {
        Some(dns)
            if !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty()) =>
        {
            resolv_conf(dns)
        }
        _ => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    put(directory, "resolv.conf", &resolv)?;
    let (hostname, hosts) = if own_network {
        (
            format!("{}\n", config.hostname),
            "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned(),
        )
    } else {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        (read("/proc/sys/kernel/hostname"), read("/etc/hosts"))
    };
    put(directory, "hostname", &hostname)?;
    put(directory, "hosts", &hosts)
}

fn put(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::write(&path, text)?;
    // Containers read them as any user.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}

fn resolv_conf(dns: &v1::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_its_lines_in_order() {
        let dns = v1::DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec![
                "default.svc.cluster.local".into(),
                "svc.cluster.local".into(),
            ],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
    }
}
