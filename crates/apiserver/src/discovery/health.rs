//! `/healthz`, `/livez`, `/readyz`: each check alone, all together, or listed with `?verbose`.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::plain;
use crate::http::body::Body;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Checks by name; those marked count for readiness alone.
const CHECKS: [(&str, bool); 4] = [
    ("ping", false),
    ("etcd", false),
    ("poststarthook/bootstrap", true),
    ("shutdown", true),
];

fn passes(server: &Arc<ApiServer>, check: &str) -> bool {
    match check {
        // Reads come from memory; a store that is closed has no revision to show.
        "etcd" => server.store.revision().0 > 0,
        "poststarthook/bootstrap" => *server.ready.read(),
        "shutdown" => !server.ending.is_cancelled(),
        _ => true,
    }
}

/// Answers a health path.
pub fn answer(server: &Arc<ApiServer>, root: &str, rest: &[&str], query: &Query) -> Response<Body> {
    let wanted = rest.join("/");
    let checks: Vec<&str> = CHECKS
        .iter()
        .filter(|(name, late)| {
            if wanted.is_empty() {
                root == "readyz" || !late
            } else {
                *name == wanted
            }
        })
        .map(|(name, _)| *name)
        .filter(|name| !query.all("exclude").any(|excluded| excluded == *name))
        .collect();
    if checks.is_empty() && !wanted.is_empty() {
        return with(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    }
    let mut lines = String::new();
    let mut sound = true;
    for check in checks {
        let ok = passes(server, check);
        sound &= ok;
        lines.push_str(&if ok {
            format!("[+]{check} ok\n")
        } else {
            format!("[-]{check} failed: reason withheld\n")
        });
    }
    if !sound {
        return with(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{lines}{root} check failed\n"),
        );
    }
    if query.optional_flag("verbose").is_some() {
        return with(StatusCode::OK, format!("{lines}{root} check passed\n"));
    }
    with(StatusCode::OK, "ok".to_owned())
}

fn with(code: StatusCode, text: String) -> Response<Body> {
    let mut response = plain("text/plain; charset=utf-8", text);
    *response.status_mut() = code;
    response
}
