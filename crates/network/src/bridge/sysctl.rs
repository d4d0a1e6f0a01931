//! The kernel settings pods need.

use std::fs;

const UNREACHABLE: &str = "pods may reach nothing outside the node";
// A redirect also uses up the budget of ICMP messages per host, and then a refused connection is
// not told so.
const REDIRECTED: &str =
    "the node sends redirects to pods, and refused connections may time out instead";

/// Turns forwarding on and prepares the bridge. What cannot be set is said once and does not stop the
/// node: the setting may be right already, or an administrator's.
pub(super) fn prepare(bridge: &str) {
    let of_bridge = |name: &str| format!("net/ipv4/conf/{bridge}/{name}");
    let localhost = "host ports and node ports do not answer on 127.0.0.1";
    let wanted = [
        ("net/ipv4/ip_forward".to_owned(), "1", UNREACHABLE),
        (of_bridge("forwarding"), "1", UNREACHABLE),
        (of_bridge("route_localnet"), "1", localhost),
        // An interface sends redirects when its own setting or that of `all` says so; the other
        // interfaces have their own, so that turning `all` off changes nothing for them.
        (
            "net/ipv4/conf/all/send_redirects".to_owned(),
            "0",
            REDIRECTED,
        ),
        (of_bridge("send_redirects"), "0", REDIRECTED),
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
