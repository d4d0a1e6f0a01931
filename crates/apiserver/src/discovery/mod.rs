//! Paths that are no resource: what is served (legacy and aggregated), OpenAPI, version, health,
//! metrics, and the keys of ServiceAccount tokens.

mod health;
mod openapi;
mod served;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use api::serving::Serving;
use api::status::Status;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use served::Served;

use crate::aggregation::documents as merged;
use crate::endpoint::Endpoints;
use crate::http::body::Body;
use crate::request::accept::{Accept, Encoding, Shape};
use crate::request::info::RequestInfo;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Documents made when first asked for, and again when what is served has changed.
pub struct Documents {
    builtin: Arc<Serving>,
    aggregated_api: OnceLock<Bytes>,
    made: Mutex<Option<Arc<Made>>>,
    pub(super) openapi: openapi::OpenApi,
}

/// What was made of what was served at one time.
pub(super) struct Made {
    served: Served,
    aggregated: OnceLock<Bytes>,
}

impl Documents {
    /// None made yet.
    pub fn new(builtin: Arc<Serving>) -> Documents {
        Documents {
            builtin,
            aggregated_api: OnceLock::new(),
            made: Mutex::default(),
            openapi: openapi::OpenApi::default(),
        }
    }

    /// Of what is served now.
    fn made(&self, endpoints: &Endpoints) -> Arc<Made> {
        let mut made = self.made.lock();
        match &*made {
            Some(made) if made.served.changes == endpoints.changes() => made.clone(),
            _ => {
                let new = Arc::new(Made {
                    served: Served::new(self.builtin.clone(), endpoints),
                    aggregated: OnceLock::new(),
                });
                *made = Some(new.clone());
                new
            }
        }
    }
}

/// What `kubectl version` shows.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.0",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, arch()),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path that is no resource.
pub async fn answer(
    server: &Arc<ApiServer>,
    parts: &Parts,
    info: &RequestInfo,
    query: &Query,
    accept: Option<Accept>,
) -> Result<Response<Body>, Status> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed());
    }
    let path = info.path.trim_end_matches('/');
    let documents = &server.documents;
    let made = documents.made(&server.endpoints);
    let served = &made.served;
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        [""] | [] => Ok(document(accept, &paths(served))),
        ["api"] | ["apis"] if accept.is_some_and(|a| a.shape == Shape::Discovery) => {
            let (cell, core) = if segments[0] == "api" {
                (&documents.aggregated_api, true)
            } else {
                (&made.aggregated, false)
            };
            let bytes = cell.get_or_init(|| {
                serde_json::to_vec(&served.aggregated(core))
                    .unwrap_or_default()
                    .into()
            });
            let mut bytes = bytes.clone();
            let remotes = merged::remotes(server);
            if !core && !remotes.is_empty() {
                let own = serde_json::from_slice(&bytes).map_err(Status::internal)?;
                let priorities = merged::group_priorities(server);
                let all = merged::aggregated(own, &remotes, &priorities);
                bytes = all.to_string().into();
            }
            Ok(tagged(parts, AGGREGATED, bytes))
        }
        ["api"] => {
            let config = &server.config;
            let address = SocketAddr::new(config.advertise_address, config.advertise_port);
            Ok(document(
                accept,
                &api::discovery::core_versions(&address.to_string()),
            ))
        }
        ["apis"] => {
            let named = served.groups().iter().filter(|g| !g.name.is_empty());
            let mut groups = api::discovery::groups(named);
            let remotes = merged::remotes(server);
            if !remotes.is_empty() {
                groups = merged::legacy(groups, &remotes, &merged::group_priorities(server));
            }
            Ok(document(accept, &groups))
        }
        ["apis", group] => {
            let found = served
                .groups()
                .iter()
                .find(|g| *g.name == *group && !group.is_empty());
            let own = found.map(api::discovery::group);
            let all = merged::group(own, group, &merged::remotes(server));
            Ok(document(accept, &all.ok_or_else(Status::no_resource)?))
        }
        ["api", version] => resources(served, accept, "", version),
        ["apis", group, version] => resources(served, accept, group, version),
        ["version"] => Ok(document(accept, &version())),
        ["healthz" | "livez" | "readyz", ref rest @ ..] => {
            Ok(health::answer(server, segments[0], rest, query))
        }
        ["metrics"] => {
            server.flow.observe();
            Ok(plain(
                "text/plain; version=0.0.4; charset=utf-8",
                server.metrics.text(),
            ))
        }
        ["openapi", ref rest @ ..] => openapi::answer(server, served, parts, rest, query).await,
        [".well-known", "openid-configuration"] => {
            let tokens = &server.authenticator.tokens;
            let value = json!({
                "issuer": tokens.issuer(),
                "jwks_uri": format!("https://{}:{}/openid/v1/jwks", server.config.advertise_address, server.config.advertise_port),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            Ok(document(None, &value))
        }
        ["openid", "v1", "jwks"] => {
            let text = server.authenticator.tokens.key_set().to_string();
            Ok(plain("application/jwk-set+json", text))
        }
        _ => Err(Status::no_resource()),
    }
}

/// `/`
fn paths(served: &Served) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for group in served.groups() {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for version in &group.versions {
            paths.push(format!(
                "/{}",
                api::openapi::version_path(&group.name, version)
            ));
        }
    }
    paths.sort();
    json!({"paths": paths})
}

fn resources(
    served: &Served,
    accept: Option<Accept>,
    group: &str,
    version: &str,
) -> Result<Response<Body>, Status> {
    let resources = served.resources_of(group, version);
    if resources.is_empty() {
        return Err(Status::no_resource());
    }
    Ok(document(
        accept,
        &api::discovery::resources(group, version, resources),
    ))
}

/// A document in the encoding asked for; JSON where that does not fit.
fn document(accept: Option<Accept>, value: &Value) -> Response<Body> {
    let encoding = accept.map_or(Encoding::Json, |a| a.encoding);
    if encoding == Encoding::Protobuf
        && let Some(bytes) = protobuf(value)
    {
        return plain(Encoding::Protobuf.content_type(), bytes);
    }
    let mut text = value.to_string();
    text.push('\n');
    plain("application/json", text)
}

fn protobuf(value: &Value) -> Option<Vec<u8>> {
    let catalog = api::catalog::builtin();
    let kind = value.get("kind")?.as_str()?;
    let ty = catalog
        .type_of("", "v1", kind)
        .or_else(|| catalog.table.id(&format!("meta.v1.{kind}")))?;
    let raw = schema::proto::encode(&catalog.table, ty, value).ok()?;
    Some(schema::proto::envelope::wrap("v1", kind, &raw))
}

fn plain(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer with an entity tag; 304 for a client that has it.
fn tagged(parts: &Parts, content_type: &'static str, bytes: Bytes) -> Response<Body> {
    let digest = ring::digest::digest(&ring::digest::SHA512_256, &bytes);
    let tag: String = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{tag}\"");
    let known = parts
        .headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|k| k.trim() == tag)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        plain(content_type, bytes)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
