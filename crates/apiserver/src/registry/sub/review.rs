//! Questions that are asked by creating an object that does not rest: may somebody do this, who am
//! I, whose token is that.

use std::collections::BTreeMap;

use api::object::Object;
use api::status::{About, Status};
use bytes::Bytes;
use http::{Response, StatusCode};
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::authentication::UserInfo;
use crate::authentication::service_account::Live;
use crate::authorization::{Attributes, Decision};
use crate::http::body::Body;
use crate::registry::call::Call;
use crate::registry::{decode, respond};

/// Answers a review.
pub async fn create(call: &Call, body: &Bytes) -> Result<Response<Body>, Status> {
    let endpoint = &call.endpoint;
    let resource = &endpoint.resource;
    let options = call.write_options()?;
    let mut review = decode::body(
        call,
        &resource.gvk,
        endpoint.resource.table(),
        resource.ty,
        body,
        options.field_validation,
    )?;
    super::admit(call, "", options.dry_run, &mut review).await?;
    let status = match &*resource.plural {
        "selfsubjectreviews" => json!({"userInfo": &*call.user}),
        "tokenreviews" => token_review(call, &review)?,
        "selfsubjectaccessreviews" => access(call, &review, &call.user, "")?,
        "subjectaccessreviews" => access(call, &review, &subject(&review)?, "")?,
        "localsubjectaccessreviews" => access(call, &review, &subject(&review)?, call.namespace())?,
        "selfsubjectrulesreviews" => rules(call, &review)?,
        _ => return Err(Status::method_not_allowed()),
    };
    review.set("status", status);
    if &*resource.plural == "selfsubjectreviews" {
        review.set("metadata.creationTimestamp", api::clock::rfc3339(call.now));
    }
    respond::value(call, StatusCode::CREATED, &review)
}

fn invalid(call: &Call, errors: Vec<FieldError>) -> Status {
    let gvk = &call.endpoint.resource.gvk;
    Status::invalid(About::new(&gvk.group, &gvk.kind), "", errors)
}

fn subject(review: &Value) -> Result<UserInfo, Status> {
    let spec = review.at("spec");
    let user = UserInfo {
        name: spec.text("user").to_owned(),
        uid: spec.text("uid").to_owned(),
        groups: spec.texts("groups").map(str::to_owned).collect(),
        extra: spec
            .pairs("extra")
            .map(|(key, values)| {
                let values = values.as_array().into_iter().flatten();
                (
                    key.to_owned(),
                    values
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                )
            })
            .collect::<BTreeMap<_, _>>(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let error = FieldError::invalid(
            "spec.user",
            "",
            "at least one of user or group must be specified",
        );
        let kind = About::new("authorization.k8s.io", review.text("kind"));
        return Err(Status::invalid(kind, "", vec![error]));
    }
    Ok(user)
}

fn access(call: &Call, review: &Value, user: &UserInfo, local: &str) -> Result<Value, Status> {
    let (resource, path) = (
        review.at("spec.resourceAttributes"),
        review.at("spec.nonResourceAttributes"),
    );
    let attributes = match (resource.is_null(), path.is_null()) {
        (false, true) => {
            if !local.is_empty() && resource.text("namespace") != local {
                return Err(invalid(
                    call,
                    vec![FieldError::invalid(
                        "spec.resourceAttributes.namespace",
                        resource.text("namespace"),
                        format!("must match metadata.namespace {local:?}"),
                    )],
                ));
            }
            Attributes {
                verb: resource.text("verb"),
                is_resource: true,
                group: resource.text("group"),
                version: resource.text("version"),
                namespace: resource.text("namespace"),
                resource: resource.text("resource"),
                subresource: resource.text("subresource"),
                name: resource.text("name"),
                ..Attributes::of(user)
            }
        }
        (true, false) => Attributes {
            verb: path.text("verb"),
            path: path.text("path"),
            ..Attributes::of(user)
        },
        (true, true) => {
            return Err(invalid(
                call,
                vec![FieldError::invalid(
                    "spec.resourceAttributes",
                    Value::Null,
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                )],
            ));
        }
        (false, false) => {
            return Err(invalid(
                call,
                vec![FieldError::invalid(
                    "spec.nonResourceAttributes",
                    path.clone(),
                    "cannot be specified in combination with resourceAttributes",
                )],
            ));
        }
    };
    let (allowed, reason) = match call.server.authorizer.decide(&attributes) {
        Decision::Allow(reason) => (true, reason),
        Decision::NoOpinion(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

fn rules(call: &Call, review: &Value) -> Result<Value, Status> {
    let namespace = review.text("spec.namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (resources, paths) = call
        .server
        .authorizer
        .rbac()
        .rules_for(&call.user, namespace);
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}

fn token_review(call: &Call, review: &Value) -> Result<Value, Status> {
    let token = review.text("spec.token");
    if token.is_empty() {
        return Err(invalid(call, vec![FieldError::required("spec.token", "")]));
    }
    let audiences: Vec<String> = review.texts("spec.audiences").map(str::to_owned).collect();
    let live = Live {
        objects: &call.server.objects,
        now: call.now,
    };
    Ok(
        match call.server.authenticator.token(token, &audiences, &live) {
            Ok((user, audiences)) => {
                json!({"authenticated": true, "user": &*user, "audiences": audiences})
            }
            Err(error) => json!({"user": {}, "error": error.to_string()}),
        },
    )
}

/// The list of components, all parts of this process or reached by it.
pub fn component_statuses(call: &Call) -> Result<Response<Body>, Status> {
    let status = |name: &str| {
        json!({
            "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        })
    };
    // A store that did not answer would have kept this request from getting here.
    if call.info.verb == "get" {
        if call.info.name != "etcd-0" {
            return Err(Status::not_found(&*call.endpoint.resource, &call.info.name));
        }
        return respond::value(call, StatusCode::OK, &status("etcd-0"));
    }
    let objects = vec![status("etcd-0")];
    let value = if call.accept.shape == crate::request::accept::Shape::Table {
        respond::table(call, objects, json!({}), true)
    } else {
        json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": objects})
    };
    respond::encode(call, StatusCode::OK, &value)
}
