//! Patch: JSON, merge, strategic merge, and server-side apply.

use api::object::Object;
use api::status::{About, Cause, Status};
use api::strategy::Part;
use bytes::Bytes;
use schema::decode::Decoded;
use schema::field_error::FieldError;
use schema::managed::{ApplyError, Operation};
use schema::patch::PatchError;
use schema::table::{Table, TypeId};
use serde_json::Value;

use super::call::{Call, FieldValidation, WriteOptions};
use super::update::{Change, update};
use super::{Written, manage};

/// The patch formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply,
}

const FORMATS: [(&str, Format); 5] = [
    ("application/json-patch+json", Format::Json),
    ("application/merge-patch+json", Format::Merge),
    ("application/strategic-merge-patch+json", Format::Strategic),
    ("application/apply-patch+yaml", Format::Apply),
    ("application/apply-patch+json", Format::Apply),
];

/// The format a `Content-Type` names.
pub fn format(content_type: &str) -> Result<Format, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    FORMATS
        .iter()
        .find(|(name, _)| *name == media)
        .map(|(_, format)| *format)
        .ok_or_else(|| {
            let names: Vec<&str> = FORMATS[..4].iter().map(|(name, _)| *name).collect();
            Status::unsupported_media_type(&names)
        })
}

/// Patches the object `name`; the flag says that it was created.
pub async fn patch(
    call: &Call,
    name: &str,
    part: Part<'_>,
    body: &Bytes,
) -> Result<(Written, bool), Status> {
    let format = format(&call.content_type)?;
    let options = call.write_options()?;
    if format == Format::Apply {
        return apply(call, name, part, body, &options).await;
    }
    let endpoint = &call.endpoint;
    let patcher = Patcher {
        table: endpoint.resource.table(),
        ty: endpoint.resource.ty,
        format,
        body,
    };
    let parsed = patcher.parse()?;
    let change = Change {
        part,
        subresource: &call.info.subresource,
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let Some(live) = live else {
                return Err(Status::not_found(&*endpoint.resource, name));
            };
            patcher.run(call, &options, live, &parsed)
        }),
    };
    update(call, name, change, &options).await
}

/// A patch of one type.
pub struct Patcher<'a> {
    /// Where the type is.
    pub table: &'a Table,
    /// The type of the patched object.
    pub ty: TypeId,
    /// How the patch is written.
    pub format: Format,
    /// The patch.
    pub body: &'a Bytes,
}

impl Patcher<'_> {
    /// The patch as a value; JSON patches are read when applied.
    pub fn parse(&self) -> Result<Value, Status> {
        if self.format == Format::Json {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(self.body)
            .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
        if !value.is_object() {
            return Err(Status::bad_request(
                "error decoding patch: the patch is not a JSON object",
            ));
        }
        Ok(value)
    }

    /// Applies it, and decodes what comes out as any body.
    pub fn run(
        &self,
        call: &Call,
        options: &WriteOptions,
        live: &Value,
        parsed: &Value,
    ) -> Result<Value, Status> {
        let patched = match self.format {
            Format::Json => schema::patch::json(live, self.body),
            Format::Merge => Ok(schema::patch::merge(live, parsed)),
            _ => schema::patch::strategic(self.table, self.ty, live, parsed),
        };
        let patched = patched.map_err(|error| match error {
            PatchError::TooLarge(_) => Status::too_large(error),
            PatchError::NotApplicable(text) if self.format == Format::Json => {
                Status::other(422, "Invalid", text)
            }
            error => Status::bad_request(error.to_string()),
        })?;
        if !patched.is_object() {
            return Err(Status::bad_request("the patched object is no JSON object"));
        }
        self.decode(call, options, live, patched)
    }

    fn decode(
        &self,
        call: &Call,
        options: &WriteOptions,
        live: &Value,
        patched: Value,
    ) -> Result<Value, Status> {
        let about = About::new("", "");
        let invalid = |detail: String| {
            let shown = String::from_utf8_lossy(self.body).into_owned();
            Status::invalid(about, "", vec![FieldError::invalid("patch", shown, detail)])
        };
        let mut decoded = schema::decode::value(self.table, self.ty, patched)
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let Decoded {
            unknown, duplicate, ..
        } = &mut decoded;
        let mut unknown = std::mem::take(unknown);
        unknown.append(duplicate);
        if !unknown.is_empty() {
            match options.field_validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => unknown.iter().for_each(|text| call.warn(text.clone())),
                FieldValidation::Strict => {
                    return Err(invalid(format!(
                        "strict decoding error: {}",
                        unknown.join(", ")
                    )));
                }
            }
        }
        let mut object = decoded.value;
        for field in ["apiVersion", "kind"] {
            if object.text(field) != live.text(field) {
                if object.has(field) {
                    return Err(Status::bad_request(format!(
                        "the {field} in the patch ({}) does not match the object's ({})",
                        object.text(field),
                        live.text(field)
                    )));
                }
                object.restore(field, live);
            }
        }
        if object.text("metadata.name") != live.text("metadata.name") {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object.text("metadata.name"),
                live.text("metadata.name")
            )));
        }
        Ok(object)
    }
}

/// Server-side apply.
async fn apply(
    call: &Call,
    name: &str,
    part: Part<'_>,
    body: &Bytes,
    options: &WriteOptions,
) -> Result<(Written, bool), Status> {
    let endpoint = &call.endpoint;
    let resource = &*endpoint.resource;
    if call.query.get("fieldManager").is_none() {
        return Err(Status::invalid(
            About::new("meta.k8s.io", "PatchOptions"),
            "",
            vec![FieldError::required(
                "fieldManager",
                "is required for apply patch",
            )],
        ));
    }
    let refused =
        |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding YAML: {e}"));
    let decoded = schema::decode::yaml(endpoint.resource.table(), resource.ty, body)
        .map_err(|e| refused(&e))?;
    let mut problems = decoded.duplicate;
    problems.extend(decoded.unknown);
    if !problems.is_empty() {
        match options.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => problems.iter().for_each(|text| call.warn(text.clone())),
            FieldValidation::Strict => {
                return Err(Status::bad_request(format!(
                    "strict decoding error: {}",
                    problems.join(", ")
                )));
            }
        }
    }
    let mut applied = decoded.value;
    if applied.text("kind").is_empty() || applied.text("apiVersion").is_empty() {
        return Err(Status::bad_request(
            "error decoding YAML: Object 'Kind' or 'apiVersion' is missing",
        ));
    }
    if applied.text("kind") != &*resource.gvk.kind
        || applied.text("apiVersion") != endpoint.api_version
    {
        return Err(Status::bad_request(format!(
            "the applied object is a {} of {}, the path serves {} of {}",
            applied.text("kind"),
            applied.text("apiVersion"),
            resource.gvk.kind,
            endpoint.api_version
        )));
    }
    if !applied.list("metadata.managedFields").is_empty() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    match applied.text("metadata.name") {
        "" => applied.set("metadata.name", name),
        sent if sent != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let namespace = call.namespace();
    match applied.text("metadata.namespace") {
        "" if !namespace.is_empty() => applied.set("metadata.namespace", namespace),
        "" => {}
        sent if sent != namespace => {
            return Err(Status::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({sent} != {namespace})"
            )));
        }
        _ => {}
    }
    let manager = manage::manager(call, options, Operation::Apply, &call.info.subresource);
    let change = Change {
        part,
        subresource: &call.info.subresource,
        create_missing: part == Part::Main,
        managed: true,
        propose: Box::new(|live| {
            let mut object = schema::managed::apply(
                endpoint.resource.table(),
                resource.ty,
                live,
                &applied,
                &manager,
                options.force,
            )
            .map_err(apply_error)?;
            if live.is_none() {
                object.remove("metadata.resourceVersion");
            }
            Ok(object)
        }),
    };
    update(call, name, change, options).await
}

fn apply_error(error: ApplyError) -> Status {
    let message = error.to_string();
    match error {
        ApplyError::Invalid(text) => Status::bad_request(text),
        ApplyError::Conflicts(conflicts) => {
            let causes = conflicts.into_iter().map(|conflict| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: conflict.message(),
                field: conflict.field,
            });
            Status::apply_conflict(message, causes.collect())
        }
    }
}
