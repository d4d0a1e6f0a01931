//! A request for an aggregated group, passed on in the name of the user it came from.

use std::sync::Arc;

use api::status::Status;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyDataStream, BodyExt};
use hyper_util::rt::TokioIo;

use super::Backend;
use crate::authentication::UserInfo;
use crate::http::body::{Body, BoxError, RequestBody};
use crate::proxy::strip;
use crate::server::ApiServer;

/// In front of the keys of a user's extras.
pub(crate) const EXTRA: &str = "x-remote-extra-";
/// The headers that say who asks; what a client sends of them is taken away.
pub(crate) const NAME: &str = "x-remote-user";
/// See [`NAME`].
pub(crate) const UID: &str = "x-remote-uid";
/// See [`NAME`].
pub(crate) const GROUPS: &str = "x-remote-group";

/// Says in the headers who asks.
pub(crate) fn prove(user: &UserInfo, headers: &mut HeaderMap) {
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with(EXTRA) || [NAME, UID, GROUPS].contains(&name)
        })
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        // What no header can hold cannot be said, and nobody's name may stand for another's.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.append(name, value);
        }
    };
    add(NAME, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUPS, group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("{EXTRA}{}", escaped(key)), value);
        }
    }
}

/// A key of an extra as part of a header's name.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if legal {
            out.push(byte.to_ascii_lowercase() as char);
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// Passes the request on and its answer back.
pub async fn forward(
    server: &Arc<ApiServer>,
    backend: &Backend,
    user: &UserInfo,
    parts: Parts,
    body: RequestBody,
) -> Result<Response<Body>, Status> {
    let unavailable = || Status::service_unavailable("service unavailable");
    if !backend.available {
        return Err(unavailable());
    }
    let tls = backend.tls.as_ref().map_err(Status::internal)?;
    let upgrade = parts.headers.get(header::UPGRADE).cloned();
    let mut request = Request::from_parts(parts, body);
    let upgraded = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let request = outgoing(request, user, upgrade.clone())?;
    let failed = |e: &dyn std::fmt::Display| {
        Status::service_unavailable(format!("error trying to reach service: {e}"))
    };
    let mut response = if upgrade.is_some() {
        let mut sender = server
            .outbound
            .connect(&backend.caller.target, tls)
            .await
            .map_err(|e| failed(&e))?;
        sender.send_request(request).await.map_err(|e| failed(&e))?
    } else {
        let sent = server.outbound.send(&backend.place, tls, request);
        sent.await.map_err(|e| failed(&e))?
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = upgraded.ok_or_else(unavailable)?;
        let behind = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(behind)) = (client.await, behind.await) else {
                return;
            };
            let (mut client, mut behind) = (TokioIo::new(client), TokioIo::new(behind));
            // Either side may hang up; that is how these connections end.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut behind).await;
        });
        return Ok(response.map(|_| Body::empty()));
    }
    // A redirect would let a backend send clients, with what they prove themselves by, elsewhere.
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        return Err(Status::other(
            502,
            "",
            "the backend attempted to redirect this request, which is not permitted",
        ));
    }
    strip(response.headers_mut());
    let (parts, body) = response.into_parts();
    let stream = BodyDataStream::new(body.map_err(|e| Box::new(e) as BoxError));
    Ok(Response::from_parts(parts, Body::stream(stream)))
}

fn outgoing(
    request: Request<RequestBody>,
    user: &UserInfo,
    upgrade: Option<HeaderValue>,
) -> Result<Request<RequestBody>, Status> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = path
        .parse()
        .map_err(|e: http::uri::InvalidUri| Status::bad_request(e.to_string()))?;
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let headers = &mut parts.headers;
    strip(headers);
    // The client's proof is for this server alone, and so is whom it wanted to become.
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    let impersonation: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonation {
        headers.remove(name);
    }
    prove(user, headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    Ok(Request::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_says_for_themselves_who_they_are() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-a", "b"),
            ("x-remote-uid", "1"),
            ("accept", "application/json"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut user = UserInfo::new("jane", &["a", "b"]);
        user.extra
            .insert("example.com/Scopes".to_owned(), vec!["x".to_owned()]);
        prove(&user, &mut headers);
        assert_eq!(headers["x-remote-user"], "jane");
        let groups: Vec<_> = headers.get_all("x-remote-group").iter().collect();
        assert_eq!(groups, ["a", "b"]);
        assert_eq!(headers["x-remote-extra-example.com%2fscopes"], "x");
        assert!(!headers.contains_key("x-remote-uid"));
        assert!(!headers.contains_key("x-remote-extra-a"));
        assert_eq!(headers["accept"], "application/json");
    }
}
