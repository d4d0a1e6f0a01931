//! What expressions see of one request.

use std::borrow::Cow;
use std::sync::Arc;

use api::object::Object;
use api::status::Status;
use cel::Activation;
use cel::authorizer::{self, Check, User};
use serde_json::{Map, Value};

use crate::admission::Admission;
use crate::admission::attributes::{convert, kind_of};
use crate::admission::webhook::review;
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Decision};
use crate::endpoint::Endpoint;
use crate::server::ApiServer;

static NOTHING: Value = Value::Null;

/// What expressions see of one request: the objects in the version they are written for.
pub struct Seen<'a> {
    object: Option<Cow<'a, Value>>,
    old: Option<Cow<'a, Value>>,
    request: Value,
    authorizer: Asking<'a>,
    check: Check,
}

/// What of a namespace expressions may see, besides `spec` and `status`.
const NAMESPACE_METADATA: [&str; 12] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "finalizers",
];

impl<'a> Seen<'a> {
    /// The objects, which are in the request's version, as `endpoint` has them.
    pub async fn new(
        admission: &Admission<'a>,
        endpoint: &Endpoint,
        object: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Result<Seen<'a>, Status> {
        let own = &admission.call.endpoint;
        let subresource = admission.subresource;
        let mut seen = [None, None];
        for (seen, object) in seen.iter_mut().zip([object, old]) {
            if let Some(object) = object {
                *seen = Some(convert(own, endpoint, subresource, object).await?);
            }
        }
        let [object, old] = seen;
        let resource = &*own.resource;
        let text = |text: &str| -> Arc<str> { text.into() };
        Ok(Seen {
            object,
            old,
            request: review::request(
                admission,
                endpoint,
                kind_of(&endpoint.resource, subresource),
            ),
            authorizer: Asking {
                server: &admission.call.server,
                user: &admission.call.user,
            },
            check: Check {
                group: text(&resource.gvk.group),
                resource: text(&resource.plural),
                subresource: text(subresource),
                namespace: text(admission.namespace()),
                name: text(admission.name),
                ..Check::default()
            },
        })
    }

    /// The object, as expressions see it.
    pub fn object(&self) -> Option<&Value> {
        self.object.as_deref()
    }

    /// The variables that every expression of a webhook or policy has.
    pub fn activation<'s>(
        &'s self,
        params: Option<&'s Value>,
        namespace: Option<&'s Value>,
    ) -> Activation<'s> {
        let or_null = |object: &'s Option<Cow<'a, Value>>| object.as_deref().unwrap_or(&NOTHING);
        let mut activation = Activation::new();
        activation
            .set_json("object", or_null(&self.object))
            .set_json("oldObject", or_null(&self.old))
            .set_json("request", &self.request)
            .set_json("params", params.unwrap_or(&NOTHING))
            .set_json("namespaceObject", namespace.unwrap_or(&NOTHING))
            .set_authorizer(&self.authorizer)
            .set_request_resource(&self.authorizer, self.check.clone());
        activation
    }
}

/// What expressions see of the namespace of a request; none where it has none.
pub fn namespace_object(admission: &Admission<'_>) -> Result<Option<Value>, Status> {
    let name = admission.call.namespace();
    if name.is_empty() || admission.of("", "namespaces") {
        return Ok(None);
    }
    let live = admission
        .objects()
        .value("", "namespaces", "", name)
        .ok_or_else(|| Status::not_found(api::status::About::new("", "namespaces"), name))?;
    let mut metadata = Map::new();
    for field in NAMESPACE_METADATA {
        if let Some(value) = live.at("metadata").get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut shown = Map::new();
    shown.insert("metadata".to_owned(), metadata.into());
    for field in ["spec", "status"] {
        shown.insert(field.to_owned(), live.at(field).clone());
    }
    Ok(Some(shown.into()))
}

/// Authorization checks of expressions, about whoever makes the request.
struct Asking<'a> {
    server: &'a ApiServer,
    user: &'a UserInfo,
}

impl authorizer::Authorizer for Asking<'_> {
    fn authorize(&self, user: &User, check: &Check) -> authorizer::Decision {
        let account;
        let user = match user {
            User::Requester => self.user,
            User::ServiceAccount { namespace, name } => {
                account = UserInfo::service_account(namespace, name);
                &account
            }
        };
        let decision = self.server.authorizer.decide(&Attributes {
            user,
            verb: &check.verb,
            is_resource: check.path.is_none(),
            group: &check.group,
            version: "*",
            namespace: &check.namespace,
            resource: &check.resource,
            subresource: &check.subresource,
            name: &check.name,
            path: check.path.as_deref().unwrap_or(""),
            field_selector: &check.field_selector,
        });
        let (allowed, reason) = match decision {
            Decision::Allow(reason) => (true, reason),
            Decision::NoOpinion(reason) => (false, reason),
        };
        authorizer::Decision {
            allowed,
            reason: reason.into(),
            error: None,
        }
    }
}
