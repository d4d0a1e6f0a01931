//! What webhooks and policies get to know of a request beside the object: its kind, its options, its
//! namespace; and the object in another version, where one wants that.

use std::borrow::Cow;

use api::meta;
use api::object::Object;
use api::resource::{Gvk, Resource};
use api::status::Status;
use schema::table::{Table, TypeId};
use serde_json::{Value, json};

use super::{Admission, Operation};
use crate::endpoint::Endpoint;
use crate::registry::call::{FieldValidation, WriteOptions};

/// Kinds that neither webhooks nor policies are asked about: they decide about webhooks and policies,
/// and a wrong one could otherwise not be mended.
const EXEMPT: [&str; 6] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

impl Operation {
    /// As rules and reviews write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

impl Admission<'_> {
    /// The kind of the object in question: that of the subresource's body, or of the resource.
    pub fn kind(&self) -> &Gvk {
        kind_of(&self.call.endpoint.resource, self.subresource)
    }

    /// May neither webhooks nor policies be asked?
    pub fn is_exempt(&self) -> bool {
        let kind = self.kind();
        &*kind.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*kind.kind)
    }

    /// The namespace of the request; that of a request for a namespace is the namespace itself.
    pub fn namespace(&self) -> &str {
        if self.of("", "namespaces") {
            self.name
        } else {
            self.call.namespace()
        }
    }

    /// The options of the request, as reviews show them.
    pub fn request_options(&self) -> Value {
        if let Some(options) = self.options {
            return options.clone();
        }
        let kind = match (self.operation, self.call.info.verb) {
            (Operation::Create, _) => "CreateOptions",
            (Operation::Update, "patch") => "PatchOptions",
            (Operation::Update, _) => "UpdateOptions",
            _ => return Value::Null,
        };
        let options = self.call.write_options().unwrap_or_default();
        write_options(kind, &options, self.dry_run, &self.call.query)
    }

    /// The labels that a namespace selector is about; an error when the namespace is missing.
    pub(super) fn selects_namespace(
        &self,
        selector: &api::labels::Selector,
        object: Option<&Value>,
    ) -> Result<bool, Status> {
        let namespace = self.namespace();
        let itself = self.of("", "namespaces");
        if (namespace.is_empty() && !itself) || selector.is_everything() {
            return Ok(true);
        }
        let written = matches!(self.operation, Operation::Create | Operation::Update);
        if itself
            && self.subresource.is_empty()
            && written
            && let Some(object) = object
        {
            return Ok(selector.matches_object(object));
        }
        let entry = self
            .objects()
            .entry("", "namespaces", "", namespace)
            .ok_or_else(|| {
                Status::not_found(api::status::About::new("", "namespaces"), namespace)
            })?;
        Ok(selector.matches_with(|key| entry.attributes.label(key)))
    }
}

/// The kind of the body at `subresource` of `resource`.
pub(super) fn kind_of<'a>(resource: &'a Resource, subresource: &str) -> &'a Gvk {
    match resource.subresource(subresource) {
        Some(found) if !subresource.is_empty() => &found.body,
        _ => &resource.gvk,
    }
}

fn write_options(
    kind: &str,
    options: &WriteOptions,
    dry_run: bool,
    query: &crate::request::query::Query,
) -> Value {
    let mut value = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        value["dryRun"] = json!(["All"]);
    }
    if query.get("fieldManager").is_some() {
        value["fieldManager"] = options.field_manager.as_str().into();
    }
    if query.get("fieldValidation").is_some() {
        value["fieldValidation"] = match options.field_validation {
            FieldValidation::Ignore => "Ignore",
            FieldValidation::Warn => "Warn",
            FieldValidation::Strict => "Strict",
        }
        .into();
    }
    if kind == "PatchOptions" && options.force {
        value["force"] = true.into();
    }
    value
}

/// A kind with its types: what is needed to change an object of it.
pub(super) struct Typed<'a> {
    /// Where the types are.
    pub table: &'a Table,
    /// The object's.
    pub ty: TypeId,
    /// The resource, for objects of its own kind.
    pub resource: Option<&'a Resource>,
}

impl<'a> Typed<'a> {
    /// Of the body at `subresource` of an endpoint.
    pub fn of(endpoint: &'a Endpoint, subresource: &str) -> Option<Typed<'a>> {
        let resource = &*endpoint.resource;
        let kind = kind_of(resource, subresource);
        if *kind == resource.gvk {
            return Some(Typed {
                table: resource.table(),
                ty: resource.ty,
                resource: Some(resource),
            });
        }
        let catalog = api::catalog::builtin();
        let ty = catalog.type_of(&kind.group, &kind.version, &kind.kind)?;
        Some(Typed {
            table: &catalog.table,
            ty,
            resource: None,
        })
    }

    /// Brings a changed object into the form of one that was sent: fields the type does not have are
    /// dropped, and defaults are set.
    pub fn complete(&self, object: Value) -> Result<Value, String> {
        let decoded =
            schema::decode::value(self.table, self.ty, object).map_err(|e| e.to_string())?;
        let mut object = decoded.value;
        if !object.is_object() {
            return Err("the patched object is no JSON object".to_owned());
        }
        self.default(&mut object);
        Ok(object)
    }

    /// Sets the defaults.
    pub fn default(&self, object: &mut Value) {
        match self.resource {
            Some(resource) => api::defaulting::apply(resource, object),
            None => schema::default::apply(self.table, self.ty, object),
        }
    }
}

/// The object as another version of its resource has it; objects of a subresource's own kind are the
/// same in all of them.
pub(super) async fn convert<'a>(
    from: &Endpoint,
    to: &Endpoint,
    subresource: &str,
    object: &'a Value,
) -> Result<Cow<'a, Value>, Status> {
    let resource = &*from.resource;
    if resource.gvk == to.resource.gvk || *kind_of(resource, subresource) != resource.gvk {
        return Ok(Cow::Borrowed(object));
    }
    let rest = crate::registry::to_storage(from, object).await?;
    let converted = crate::registry::served(to, rest.into_owned()).await;
    converted.map(Cow::Owned)
}

/// The object's name, as errors about it say it.
pub(super) fn shown_name<'a>(admission: &Admission<'a>, object: Option<&'a Value>) -> &'a str {
    if !admission.name.is_empty() {
        return admission.name;
    }
    let Some(object) = object else {
        return "Unknown";
    };
    match (meta::name(object), meta::generate_name(object)) {
        ("", "") => "Unknown",
        ("", generate) => generate,
        (name, _) => name,
    }
}

/// Does the selector match either form of the object?
pub(super) fn selects_object(
    selector: &api::labels::Selector,
    object: Option<&Value>,
    old: Option<&Value>,
) -> bool {
    let matches = |object: &Value| object.has("metadata") && selector.matches_object(object);
    selector.is_everything() || object.is_some_and(matches) || old.is_some_and(matches)
}
