//! Patch: JSON, merge, strategic merge, and server-side apply.

use api::object::Object;
use api::status::{About, Cause, Status};
use api::strategy::Part;
use bytes::Bytes;
use schema::field_error::FieldError;
use schema::managed::{ApplyError, Operation};
use schema::patch::PatchError;
use schema::table::{Table, TypeId};
use serde_json::Value;

use super::call::{Call, WriteOptions, invalid_options};
use super::update::{Change, update};
use super::{Written, decode, manage};

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
    // Types made at run time say nothing of strategies.
    if format == Format::Strategic && !call.endpoint.resource.types.is_builtin() {
        let names = FORMATS[..4].iter().filter(|(_, f)| *f != Format::Strategic);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        return Err(Status::unsupported_media_type(&names));
    }
    let options = call.write_options()?;
    if format == Format::Apply {
        return apply(call, name, part, body, &options).await;
    }
    if call.query.optional_flag("force").is_some() {
        let wrong = "may not be specified for non-apply patch";
        let errors = vec![FieldError::forbidden("force", wrong)];
        return Err(invalid_options("PatchOptions", errors));
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

/// The fields of a JSON patch's operations.
const OPERATION_FIELDS: [&str; 4] = ["op", "path", "from", "value"];

/// A patch that has been read.
pub struct Parsed {
    /// Null for JSON patches, which are read again when applied.
    value: Value,
    /// Fields given twice, and those that operations do not have.
    strict: Vec<String>,
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
    /// Reads the patch once for all tries.
    pub fn parse(&self) -> Result<Parsed, Status> {
        let (value, mut strict) = schema::decode::json_untyped(self.body)
            .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
        if self.format == Format::Json {
            if !value.is_array() {
                return Err(Status::bad_request(format!(
                    "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
                    json_kind(&value)
                )));
            }
            for (at, operation) in value.as_array().into_iter().flatten().enumerate() {
                let names = operation.as_object().into_iter().flat_map(|o| o.keys());
                for name in names.filter(|n| !OPERATION_FIELDS.contains(&n.as_str())) {
                    strict.push(format!("unknown field \"[{at}].{name}\""));
                }
            }
            for text in &mut strict {
                text.insert_str(0, "json patch ");
            }
            return Ok(Parsed {
                value: Value::Null,
                strict,
            });
        }
        if !value.is_object() {
            return Err(Status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_kind(&value)
            )));
        }
        Ok(Parsed { value, strict })
    }

    /// Applies it, and decodes what comes out as any body.
    pub fn run(
        &self,
        call: &Call,
        options: &WriteOptions,
        live: &Value,
        parsed: &Parsed,
    ) -> Result<Value, Status> {
        let patched = match self.format {
            Format::Json => schema::patch::json(live, self.body),
            Format::Merge => Ok(schema::patch::merge(live, &parsed.value)),
            _ => schema::patch::strategic(self.table, self.ty, live, &parsed.value),
        };
        let patched = patched.map_err(|error| match error {
            PatchError::TooLarge(_) => Status::too_large(error),
            PatchError::NotApplicable(text) | PatchError::TestFailed(text)
                if self.format == Format::Json =>
            {
                Status::other(422, "Invalid", text)
            }
            error => Status::bad_request(error.to_string()),
        })?;
        if !patched.is_object() {
            return Err(Status::bad_request("the patched object is no JSON object"));
        }
        self.decode(call, options, live, parsed, patched)
    }

    fn decode(
        &self,
        call: &Call,
        options: &WriteOptions,
        live: &Value,
        parsed: &Parsed,
        patched: Value,
    ) -> Result<Value, Status> {
        let about = About::new("", "");
        let invalid = |detail: String| {
            let shown = String::from_utf8_lossy(self.body).into_owned();
            Status::invalid(about, "", vec![FieldError::invalid("patch", shown, detail)])
        };
        let decoded = schema::decode::value(self.table, self.ty, patched)
            .map_err(|e| invalid(e.to_string()))?;
        let strict: Vec<String> = parsed
            .strict
            .iter()
            .cloned()
            .chain(decoded.strict)
            .collect();
        decode::strictly(call, options.field_validation, &strict).map_err(invalid)?;
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
        let wrong = "is required for apply patch";
        let errors = vec![FieldError::required("fieldManager", wrong)];
        return Err(invalid_options("PatchOptions", errors));
    }
    let refused =
        |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding YAML: {e}"));
    let decoded = schema::decode::yaml(endpoint.resource.table(), resource.ty, body)
        .map_err(|e| refused(&e))?;
    // What is applied must have a place in the schema, whatever is said of strictness.
    let (undeclared, doubles): (Vec<String>, Vec<String>) = decoded
        .strict
        .into_iter()
        .partition(|text| text.starts_with("unknown field "));
    decode::strictly(call, options.field_validation, &doubles).map_err(Status::bad_request)?;
    if !undeclared.is_empty() {
        return Err(not_declared(call, name, &undeclared));
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
            .map_err(|error| apply_error(call, name, error))?;
            if live.is_none() {
                let uid = applied.text("metadata.uid");
                if !uid.is_empty() {
                    // Whoever names a uid means an object that was there, not a new one.
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Status::conflict(resource, name, why));
                }
                object.remove("metadata.resourceVersion");
            }
            Ok(object)
        }),
    };
    update(call, name, change, options).await
}

/// What upstream says of fields that no schema declares.
fn not_declared(call: &Call, name: &str, unknown: &[String]) -> Status {
    let places: Vec<String> = unknown
        .iter()
        .map(|text| {
            let place = text.trim_start_matches("unknown field ").trim_matches('"');
            format!(".{place}: field not declared in schema")
        })
        .collect();
    let list = match &places[..] {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Status::other(500, "InternalError", no_typed_patch(call, name, &list))
}

/// What upstream says of a patch that its schema cannot take.
fn no_typed_patch(call: &Call, name: &str, why: &str) -> String {
    let gvk = &call.endpoint.resource.gvk;
    format!(
        "failed to create typed patch object ({}/{name}; {}/{}, Kind={}): {why}",
        call.namespace(),
        gvk.group,
        gvk.version,
        gvk.kind
    )
}

/// A JSON value's type, as Go's decoder names it.
fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn apply_error(call: &Call, name: &str, error: ApplyError) -> Status {
    let message = error.to_string();
    match error {
        ApplyError::Invalid(text) => Status::bad_request(text),
        ApplyError::Untyped(why) => Status::bad_request(no_typed_patch(call, name, &why)),
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
