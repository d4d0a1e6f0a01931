//! The kernel settings pods need.

use std::fs;

/// Turns forwarding on and prepares the bridge. What cannot be set is said once and does not stop the node: the
/// setting may be right already, or an administrator's.
pub(super) fn prepare(bridge: &str) {
    let wanted = [
        (
            "net/ipv4/ip_forward".to_owned(),
            "1",
            "pods reach nothing outside the node",
        ),
        (
            format!("net/ipv4/conf/{bridge}/forwarding"),
            "1",
            "pods reach nothing outside the node",
        ),
        (
            format!("net/ipv4/conf/{bridge}/route_localnet"),
            "1",
            "host ports and node ports do not answer on 127.0.0.1",
        ),
        (
            format!("net/ipv4/conf/{bridge}/send_redirects"),
            "0",
            "the node may send redirects to pods",
        ),
    ];
    for (name, value, consequence) in wanted {
        let path = format!("/proc/sys/{name}");
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
            continue;
        }
        if let Err(error) = fs::write(&path, value) {
            tracing::warn!(sysctl = name, value, %error, "cannot set: {consequence}");
        }
    }
}
