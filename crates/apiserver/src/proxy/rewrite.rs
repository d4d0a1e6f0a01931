//! What a proxied answer needs so that a browser stays within the proxy: redirects and the links of
//! pages are made to lead through it again. As upstream's proxy transport.

use std::io::{Read, Write};

use api::status::Status;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::StreamExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyDataStream;

use super::html::Rewrite;
use super::target::Target;
use crate::http::body::{Body, BoxError, RequestBody};
use crate::registry::call::Call;

/// The most of a page that is looked into; a longer one is passed on as it is.
const MAX_PAGE: usize = 8 << 20;

/// Headers of a backend that must not speak for this server.
const CORS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// `…/proxy` becomes `…/proxy/`, or relative links would lead out of the proxy.
pub(super) fn to_root(uri: &Uri) -> Result<Response<Body>, Status> {
    let mut location = format!("{}/", uri.path());
    if let Some(query) = uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::try_from(location).map_err(Status::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// How links of this answer are to be rewritten.
pub(super) fn links(call: &Call, target: &Target, request: &Request<RequestBody>) -> Rewrite {
    let path = &call.info.path;
    let rest = format!("/{}", call.info.rest.as_deref().unwrap_or(""));
    let asked = request
        .headers()
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned)
        .or_else(|| request.uri().authority().map(ToString::to_string));
    Rewrite {
        prepend: path.strip_suffix(&rest).unwrap_or(path).to_owned(),
        backend: target.address.to_string(),
        asked: asked.unwrap_or_default(),
    }
}

/// Tells the backend where it is seen from.
pub(super) fn tell(links: &Rewrite, request: &mut Request<RequestBody>) {
    let seen = format!("{}{}", links.prepend, request.uri().path());
    if let Ok(seen) = HeaderValue::try_from(seen) {
        request
            .headers_mut()
            .insert(HeaderName::from_static("x-forwarded-uri"), seen);
    }
}

/// The answer with its redirect and links rewritten.
pub(super) async fn answer(
    links: &Rewrite,
    mut response: Response<Body>,
) -> Result<Response<Body>, Status> {
    let headers = response.headers_mut();
    for name in CORS {
        headers.remove(name);
    }
    if let Some(location) = headers.get(header::LOCATION) {
        let location = location
            .to_str()
            .map_err(|e| Status::internal(format!("error trying to parse Location header: {e}")))?;
        let location = HeaderValue::try_from(links.link(location)).map_err(Status::internal)?;
        headers.insert(header::LOCATION, location);
        return Ok(response);
    }
    let text = |name: HeaderName| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or("").to_owned()
    };
    let kind = text(header::CONTENT_TYPE);
    let coding = text(header::CONTENT_ENCODING);
    let known = matches!(coding.as_str(), "" | "gzip" | "deflate");
    if kind.split(';').next().unwrap_or("").trim() != "text/html" || !known {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let mut stream = BodyDataStream::new(body);
    let mut page = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|e| {
            Status::service_unavailable(format!("error trying to reach service: {e}"))
        })?;
        page.extend_from_slice(&piece);
        if page.len() > MAX_PAGE {
            return Ok(Response::from_parts(parts, whole(page, stream)));
        }
    }
    let rewritten = match recode(links, &coding, &page) {
        Some(rewritten) => rewritten.into(),
        None => page.freeze(),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::full(rewritten)))
}

fn whole(head: BytesMut, rest: BodyDataStream<Body>) -> Body {
    let head = futures::stream::iter([Ok::<Bytes, BoxError>(head.freeze())]);
    Body::stream(head.chain(rest))
}

/// The page under its coding; none where it is not what the coding says, or too long.
fn recode(links: &Rewrite, coding: &str, page: &[u8]) -> Option<Vec<u8>> {
    let unpack = |reader: &mut dyn Read| {
        let mut plain = Vec::new();
        reader
            .take(MAX_PAGE as u64 + 1)
            .read_to_end(&mut plain)
            .ok()?;
        (plain.len() <= MAX_PAGE).then_some(plain)
    };
    match coding {
        "gzip" => {
            let plain = unpack(&mut GzDecoder::new(page))?;
            let mut out = GzEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&links.page(&plain)).ok()?;
            out.finish().ok()
        }
        "deflate" => {
            let plain = unpack(&mut DeflateDecoder::new(page))?;
            let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&links.page(&plain)).ok()?;
            out.finish().ok()
        }
        _ => Some(links.page(page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Rewrite {
        Rewrite {
            prepend: "/p".to_owned(),
            backend: "10.0.0.1:80".to_owned(),
            asked: String::new(),
        }
    }

    #[test]
    fn the_bare_proxy_path_leads_to_the_root() {
        let response = to_root(&"/api/v1/x/proxy?a=b".parse().unwrap()).unwrap();
        assert_eq!(response.status(), 301);
        assert_eq!(response.headers()["location"], "/api/v1/x/proxy/?a=b");
    }

    #[tokio::test]
    async fn redirects_and_pages_stay_within() {
        let response = Response::builder()
            .status(302)
            .header("location", "/next")
            .header("access-control-allow-origin", "*")
            .body(Body::empty())
            .unwrap();
        let response = answer(&links(), response).await.unwrap();
        assert_eq!(response.headers()["location"], "/p/next");
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
        for (coding, kind, expected) in [
            ("", "text/html; charset=utf-8", "<a href='/p/x'>"),
            ("gzip", "text/html", "<a href='/p/x'>"),
            ("", "text/plain", "<a href='/x'>"),
            ("br", "text/html", "<a href='/x'>"),
        ] {
            let page = b"<a href='/x'>".to_vec();
            let body = if coding == "gzip" {
                let mut out = GzEncoder::new(Vec::new(), Compression::fast());
                out.write_all(&page).unwrap();
                out.finish().unwrap()
            } else {
                page
            };
            let mut response = Response::builder().header("content-type", kind);
            if !coding.is_empty() {
                response = response.header("content-encoding", coding);
            }
            let response = response.body(Body::full(body)).unwrap();
            let response = answer(&links(), response).await.unwrap();
            let mut stream = BodyDataStream::new(response.into_body());
            let mut found = Vec::new();
            while let Some(piece) = stream.next().await {
                found.extend_from_slice(&piece.unwrap());
            }
            let plain = if coding == "gzip" {
                let mut plain = String::new();
                GzDecoder::new(&found[..])
                    .read_to_string(&mut plain)
                    .unwrap();
                plain
            } else {
                String::from_utf8(found).unwrap()
            };
            assert_eq!(plain, expected, "{coding} {kind}");
        }
    }
}
