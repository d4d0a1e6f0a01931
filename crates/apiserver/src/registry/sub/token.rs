//! `serviceaccounts/NAME/token`: TokenRequest.

use api::meta;
use api::object::Object;
use api::resource::Subresource;
use api::status::{About, Status};
use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::authentication::service_account::{Bound, Grant};
use crate::http::body::Body;
use crate::registry::call::Call;
use crate::registry::{decode, respond};
use crate::server::new_uid;

/// A token asked for with this life time is one of the kubelet's for clients that may not reload
/// it: it lives a year and says when it should have been renewed.
const KUBELET_SECONDS: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;
const MIN_SECONDS: i64 = 10 * 60;
const MAX_SECONDS: i64 = 1 << 32;

/// `POST …/serviceaccounts/NAME/token`.
pub async fn request(
    call: &Call,
    subresource: &Subresource,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let catalog = call.server.catalog;
    let gvk = &subresource.body;
    let ty = catalog
        .type_of(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal("the type TokenRequest is missing"))?;
    let (namespace, name) = (call.namespace(), call.info.name.as_str());
    let options = call.write_options()?;
    let mut request = decode::body(
        call,
        gvk,
        &catalog.table,
        ty,
        body,
        options.field_validation,
    )?;
    schema::default::apply(&catalog.table, ty, &mut request);
    let account = call
        .server
        .objects
        .value("", "serviceaccounts", namespace, name)
        .ok_or_else(|| Status::not_found(&*call.endpoint.resource, name))?;
    crate::admission::node_restriction::token(call, &request)?;
    super::admit(call, "token", options.dry_run, &mut request).await?;

    let wanted = request.int("spec.expirationSeconds").unwrap_or(3600);
    let mut errors = Vec::new();
    if wanted < MIN_SECONDS {
        let path = "spec.expirationSeconds";
        errors.push(FieldError::invalid(
            path,
            wanted,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if wanted > MAX_SECONDS {
        let path = "spec.expirationSeconds";
        errors.push(FieldError::invalid(
            path,
            wanted,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(
            About::new("authentication.k8s.io", "TokenRequest"),
            name,
            errors,
        ));
    }
    let tokens = &call.server.authenticator.tokens;
    let mut audiences: Vec<String> = request.texts("spec.audiences").map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences = tokens.audiences().to_vec();
    }
    let (bound, node) = bound(call, &request, name)?;
    let in_cluster =
        audiences == tokens.audiences() && bound.as_ref().is_some_and(|b| b.kind == "Pod");
    let (seconds, warn_after) = if wanted == KUBELET_SECONDS && in_cluster {
        (YEAR, Some(wanted))
    } else {
        (wanted, None)
    };
    let grant = Grant {
        namespace,
        name,
        uid: meta::uid(&account),
        audiences: audiences.clone(),
        seconds,
        warn_after,
        bound,
        node,
        id: new_uid(&call.server.config.random),
    };
    let (token, expires) = tokens.issue(&grant, call.now).map_err(Status::internal)?;
    // The client is told the time it asked for, so that it renews in time.
    let shown = if warn_after.is_some() {
        call.now.as_second() + wanted
    } else {
        expires
    };
    let shown = Timestamp::from_second(shown).map_err(Status::internal)?;
    request.set("metadata.name", name);
    request.set("metadata.namespace", namespace);
    request.set("metadata.creationTimestamp", api::clock::rfc3339(call.now));
    request.set("spec.audiences", audiences);
    request.set(
        "status",
        json!({"token": token, "expirationTimestamp": api::clock::rfc3339(shown)}),
    );
    respond::value(call, StatusCode::CREATED, &request)
}

type NodeOf = Option<(String, String)>;

/// The object the token is to be bound to, as it is now, and the node of a pod.
fn bound(call: &Call, request: &Value, account: &str) -> Result<(Option<Bound>, NodeOf), Status> {
    let reference = request.at("spec.boundObjectRef");
    if reference.is_null() {
        return Ok((None, None));
    }
    let (kind, name) = (reference.text("kind"), reference.text("name"));
    let namespace = call.namespace();
    let (plural, place) = match (kind, reference.text("apiVersion")) {
        ("Pod", "v1") => ("pods", namespace),
        ("Secret", "v1") => ("secrets", namespace),
        ("Node", "v1") => ("nodes", ""),
        (kind, version) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to type {version:?}, Kind={kind:?}"
            )));
        }
    };
    let about = About::new("", plural);
    let objects = &call.server.objects;
    let object = objects
        .value("", plural, place, name)
        .ok_or_else(|| Status::not_found(about, name))?;
    let (sent, held) = (reference.text("uid"), meta::uid(&object));
    if !sent.is_empty() && sent != held {
        return Err(Status::conflict(
            about,
            name,
            format!(
                "the UID in the bound object reference ({sent}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    let mut node = None;
    if kind == "Pod" {
        if object.text("spec.serviceAccountName") != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let node_name = object.text("spec.nodeName");
        if !node_name.is_empty() {
            node = objects
                .value("", "nodes", "", node_name)
                .map(|n| (node_name.to_owned(), meta::uid(&n).to_owned()));
        }
    }
    let bound = Bound {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: held.to_owned(),
    };
    Ok((Some(bound), node))
}
