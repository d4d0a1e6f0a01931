//! What a request is about, read from its method and path alone: what authorization, audit and
//! flow-control decide by.

use http::Method;

use super::query::Query;

/// Verb, resource and name of a request, as upstream's `RequestInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The path is that of an API object or collection.
    pub is_resource: bool,
    /// The path as it was sent.
    pub path: String,
    /// `get`, `list`, `create`, …; the method in lower case where `is_resource` is false.
    pub verb: &'static str,
    /// `api` or `apis`.
    pub prefix: &'static str,
    /// Empty for core.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// Empty for cluster-scoped requests.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for collections.
    pub name: String,
    /// What follows the subresource (`proxy/…`).
    pub rest: Option<String>,
}

/// The longest path that is looked at.
pub const MAX_PATH: usize = 8 * 1024;

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "other",
    }
}

/// Decodes `%xx` in a path segment; a malformed escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%'
            && let Some(hex) = text.get(i + 1..i + 3)
            && let Ok(byte) = u8::from_str_radix(hex, 16)
        {
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads method, path and query.
pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
    let mut info = RequestInfo {
        path: path.to_owned(),
        verb: method_verb(method),
        ..RequestInfo::default()
    };
    let mut segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let prefix = segments.first().copied().unwrap_or_default();
    let head = match prefix {
        // Shorter paths are discovery.
        "api" if segments.len() >= 3 => {
            info.prefix = "api";
            2
        }
        "apis" if segments.len() >= 4 => {
            info.prefix = "apis";
            info.group = percent_decode(segments[1]);
            3
        }
        _ => return info,
    };
    info.version = percent_decode(segments[head - 1]);
    segments.drain(..head);
    info.is_resource = true;
    info.verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    if segments[0] == "watch" && segments.len() > 1 {
        info.verb = "watch";
        segments.remove(0);
    }
    if segments[0] == "namespaces" && segments.len() > 1 {
        info.namespace = percent_decode(segments[1]);
        // `namespaces/x`, `namespaces/x/status` and `namespaces/x/finalize` are about the
        // namespace itself, everything longer about what is in it.
        if segments.len() > 2 && segments[2] != "status" && segments[2] != "finalize" {
            segments.drain(..2);
        }
    }
    info.resource = percent_decode(segments[0]);
    if let Some(name) = segments.get(1) {
        info.name = percent_decode(name);
    }
    if let Some(subresource) = segments.get(2) {
        info.subresource = percent_decode(subresource);
    }
    if segments.len() > 3 || (segments.len() == 3 && path.ends_with('/')) {
        // What a proxied service sees must be what was sent: the trailing slash counts.
        let mut rest = segments[3..].join("/");
        if path.ends_with('/') && !rest.is_empty() {
            rest.push('/');
        }
        info.rest = Some(rest);
    }
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" };
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection";
    }
    if matches!(info.verb, "list" | "watch" | "deletecollection")
        && info.name.is_empty()
        && let Some(selector) = query.get("fieldSelector")
        && let Some(name) = selector
            .split(',')
            .find_map(|term| term.strip_prefix("metadata.name="))
            .map(|name| name.trim_start_matches('='))
    {
        info.name = name.to_owned();
    }
    // A single object is watched through its collection.
    if info.verb == "get"
        && !info.name.is_empty()
        && info.subresource.is_empty()
        && query.flag("watch")
    {
        info.verb = "watch";
    }
    info
}

#[cfg(test)]
mod tests;
