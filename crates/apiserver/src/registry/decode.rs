//! From a body to an object of the expected kind.

use api::object::Object;
use api::resource::Gvk;
use api::status::Status;
use schema::decode::{DecodeError, Decoded};
use schema::table::{Table, TypeId};
use serde_json::Value;

use super::call::{Call, FieldValidation};

/// The body's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

/// The form a `Content-Type` names; JSON when there is none.
pub fn form(content_type: &str) -> Result<Form, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "" | "application/json" | "*/*" => Ok(Form::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Form::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Form::Protobuf),
        _ => Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// Are these the types that have protobuf forms? The scale of a custom resource has one.
fn is_catalogs(table: &Table) -> bool {
    std::ptr::eq(table, &api::catalog::builtin().table)
}

/// Decodes a body that must be of kind `gvk` and type `ty`, and says what it had beyond.
pub fn body(
    call: &Call,
    gvk: &Gvk,
    table: &Table,
    ty: TypeId,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Value, Status> {
    let form = form(&call.content_type)?;
    if form == Form::Protobuf && !call.endpoint.resource.types.is_builtin() && !is_catalogs(table) {
        return Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ]));
    }
    let refused = |e: &dyn std::fmt::Display| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {e}",
            gvk.kind, gvk.version, gvk.kind
        ))
    };
    let decoded = match form {
        Form::Json | Form::Yaml => {
            let decoded = match form {
                Form::Json => schema::decode::json(table, ty, body),
                _ => schema::decode::yaml(table, ty, body),
            };
            decoded.map_err(|error| match error {
                DecodeError::Json(why) => {
                    let why = format!("couldn't get version/kind; json parse error: {why}");
                    unrecognized(gvk, &why, body)
                }
                DecodeError::Yaml(_) => unrecognized(gvk, &error.to_string(), body),
                DecodeError::Type(_) => refused(&error),
            })?
        }
        Form::Protobuf => {
            let envelope = schema::proto::envelope::unwrap(body)
                .map_err(|e| unrecognized(gvk, &e.to_string(), body))?;
            check_kind(gvk, envelope.api_version, envelope.kind)?;
            let value = schema::proto::decode(table, ty, envelope.raw).map_err(|e| refused(&e))?;
            Decoded {
                value,
                ..Decoded::default()
            }
        }
    };
    let Decoded { mut value, strict } = decoded;
    if !value.is_object() {
        return Err(refused(
            &"json: cannot unmarshal into Go value: the body is not an object",
        ));
    }
    check_kind(gvk, value.text("apiVersion"), value.text("kind"))?;
    value.set("apiVersion", gvk.api_version());
    value.set("kind", &*gvk.kind);
    strictly(call, validation, &strict).map_err(|text| refused(&text))?;
    Ok(value)
}

/// The 400 for a body that does not even say what it is.
fn unrecognized(gvk: &Gvk, why: &str, body: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        gvk.kind,
        summary(body)
    ))
}

/// The beginning of a body: as it is where it looks like JSON, else in hexadecimal digits.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let mut text = match head.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN {
        text.push_str(" ...");
    }
    text
}

/// What becomes of fields that are unknown or given twice: nothing, warnings, or the text of the
/// refusal.
pub fn strictly(call: &Call, validation: FieldValidation, strict: &[String]) -> Result<(), String> {
    match validation {
        FieldValidation::Strict if !strict.is_empty() => {
            return Err(format!("strict decoding error: {}", strict.join(", ")));
        }
        FieldValidation::Warn => strict.iter().for_each(|text| call.warn(text.clone())),
        _ => {}
    }
    Ok(())
}

/// A `DeleteOptions` body; it may name any group's version.
pub fn delete_options(call: &Call, body: &[u8]) -> Result<Value, Status> {
    let catalog = call.server.catalog;
    let refused = |e: &dyn std::fmt::Display| {
        Status::bad_request(format!("the body of the delete is no DeleteOptions: {e}"))
    };
    let ty = catalog
        .type_of("", "v1", "DeleteOptions")
        .ok_or_else(|| Status::internal("the type DeleteOptions is missing"))?;
    let table = &catalog.table;
    let value = match form(&call.content_type)? {
        Form::Json => {
            schema::decode::json(table, ty, body)
                .map_err(|e| refused(&e))?
                .value
        }
        Form::Yaml => {
            schema::decode::yaml(table, ty, body)
                .map_err(|e| refused(&e))?
                .value
        }
        Form::Protobuf => {
            let envelope = schema::proto::envelope::unwrap(body).map_err(|e| refused(&e))?;
            schema::proto::decode(table, ty, envelope.raw).map_err(|e| refused(&e))?
        }
    };
    match value.text("kind") {
        "" | "DeleteOptions" => Ok(value),
        kind => Err(refused(&format!("it is a {kind}"))),
    }
}

/// A body that names another kind than its path is refused.
fn check_kind(gvk: &Gvk, api_version: &str, kind: &str) -> Result<(), Status> {
    let expected = gvk.api_version();
    if !kind.is_empty() && kind != &*gvk.kind {
        let (group, version) = api::meta::split_api_version(api_version);
        let found = api::resource::qualify(kind, group);
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: converting ({found}) to ({}): unknown conversion",
            gvk.kind, gvk.kind
        )));
    }
    if !api_version.is_empty() && api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(())
}
