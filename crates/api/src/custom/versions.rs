//! What is wrong with the versions of a definition.
//!
//! Upstream judges definitions in an older form, in which what all versions have alike stands once,
//! above them; its messages name those places, and so do these.

use schema::{FieldError, Path, Value, structural};

use super::BASE;
use crate::{names, object::Object};

/// Where something that each version has is named in messages: above the versions where all have it
/// alike, else with each.
fn hoisted(versions: &[Value], field: &str) -> bool {
    let Some(first) = versions.first() else {
        return false;
    };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    versions
        .iter()
        .all(|version| !empty(version.at(field)) && version.at(field) == first.at(field))
}

/// The places of `field`: each version to look at with the path of what holds the field.
fn places<'v>(
    versions: &'v [Value],
    field: &str,
    path: &Path<'_>,
    name: &str,
    mut see: impl FnMut(&'v Value, &Path<'_>),
) {
    if hoisted(versions, field) {
        if let Some(first) = versions.first() {
            see(first, &path.field(name));
        }
        return;
    }
    let list = path.field("versions");
    for (at, version) in versions.iter().enumerate() {
        see(version, &list.index(at).field(field));
    }
}

/// Everything wrong with the versions but for their schemas.
pub(super) fn validate(
    object: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let spec = object.at("spec");
    let old_versions = old.map_or(&[][..], |old| old.list("spec.versions"));
    let had_schemas = old_versions.iter().all(with_schema);
    let versions = spec.list("versions");
    let list = path.field("versions");
    for (at, version) in versions.iter().enumerate() {
        let path = list.index(at);
        let name = version.text("name");
        let wrongs = names::dns1035_label(name);
        if !wrongs.is_empty() {
            errors.push(FieldError::invalid(
                path.field("name"),
                name,
                wrongs.join(","),
            ));
        }
        deprecation(version, &path, errors);
        // What all have alike, all have.
        if !with_schema(version) {
            let schema = path.field("schema");
            let field = schema.field("openAPIV3Schema");
            if had_schemas {
                errors.push(FieldError::required(field, ""));
            } else if !spec.flag("preserveUnknownFields") && version.flag("served") {
                let wrong = "because otherwise all fields are pruned";
                errors.push(FieldError::required(field, wrong));
            }
        }
    }
    if let Some(first) = versions.first() {
        let name = first.text("name");
        let wrongs = names::dns1035_label(name);
        if !name.is_empty() && !wrongs.is_empty() {
            errors.push(FieldError::invalid(
                path.field("version"),
                name,
                wrongs.join(","),
            ));
        }
    }
    let shown = || spec.at("versions").clone();
    let mut names: Vec<&str> = versions
        .iter()
        .map(|version| version.text("name"))
        .collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid(
            list,
            shown(),
            "must contain unique version names",
        ));
    }
    if versions
        .iter()
        .filter(|version| version.flag("storage"))
        .count()
        != 1
    {
        let wrong = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(list, shown(), wrong));
    }
    places(
        versions,
        "subresources",
        path,
        "subresources",
        |version, path| {
            scale(version.at("subresources.scale"), path, errors);
        },
    );
    let columns = "additionalPrinterColumns";
    places(versions, columns, path, columns, |version, path| {
        for (at, column) in version.list(columns).iter().enumerate() {
            self::column(column, &path.index(at), errors);
        }
    });
    let fields = "selectableFields";
    places(versions, fields, path, fields, |version, path| {
        let as_before = old_versions.iter().any(|old| {
            old.text("name") == version.text("name") && old.at(fields) == version.at(fields)
        });
        selectable(version, as_before, path, errors);
    });
}

fn with_schema(version: &Value) -> bool {
    !version.at("schema.openAPIV3Schema").is_null()
}

/// Defaults need a schema that says all of the object.
pub(super) fn defaults(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut schemas = spec.list("versions").iter();
    if spec.flag("preserveUnknownFields")
        && schemas.any(|version| structural::has_defaults(version.at("schema.openAPIV3Schema")))
    {
        let wrong = "must be false in order to use defaults in the schema";
        let field = path.field("preserveUnknownFields");
        errors.push(FieldError::invalid(field, true, wrong));
    }
}

fn deprecation(version: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(warning) = version.at("deprecationWarning").as_str() else {
        return;
    };
    let mut wrong = |text: String| {
        errors.push(FieldError::invalid(
            path.field("deprecationWarning"),
            warning,
            text,
        ));
    };
    if !version.flag("deprecated") {
        wrong("can only be set for deprecated versions".to_owned());
        return;
    }
    if warning.len() > 256 {
        wrong("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn simple_path(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) -> bool {
    let ok = text.starts_with('.');
    if !ok {
        let wrong = "must be a simple json path starting with .";
        errors.push(FieldError::invalid(path, text, wrong));
    }
    ok
}

fn scale(scale: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if scale.is_null() {
        return;
    }
    let path = path.field("scale");
    for (field, root) in [
        ("specReplicasPath", ".spec."),
        ("statusReplicasPath", ".status."),
    ] {
        let text = scale.text(field);
        let path = path.field(field);
        if text.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if simple_path(text, &path, errors) && !text.starts_with(root) {
            let wrong = format!("should be a json path under {}", root.trim_end_matches('.'));
            errors.push(FieldError::invalid(path, text, wrong));
        }
    }
    let text = scale.text("labelSelectorPath");
    let path = path.field("labelSelectorPath");
    if !text.is_empty()
        && simple_path(text, &path, errors)
        && !text.starts_with(".spec.")
        && !text.starts_with(".status.")
    {
        let wrong = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(path, text, wrong));
    }
}

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];

fn column(column: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if column.text("name").is_empty() {
        errors.push(FieldError::required(path.field("name"), ""));
    }
    let kind = column.text("type");
    let wrong = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.push(FieldError::required(path.field("type"), wrong));
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.push(FieldError::invalid(path.field("type"), kind, wrong));
    }
    let format = column.text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let wrong = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(path.field("format"), format, wrong));
    }
    let text = column.text("jsonPath");
    let path = path.field("JSONPath");
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        simple_path(text, &path, errors);
    }
}

const MAX_SELECTABLE: usize = 8;

/// The fields that lists can be narrowed by; too many may stay as they were.
fn selectable(version: &Value, as_before: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !with_schema(version) {
        if !version.list("selectableFields").is_empty() {
            let wrong = "may only be set when `version.schema.openAPIV3Schema` is not included";
            errors.push(FieldError::invalid(path, "", wrong));
        }
        return;
    }
    let mut known: Vec<&str> = Vec::new();
    for (at, field) in version.list("selectableFields").iter().enumerate() {
        let text = field.text("jsonPath");
        let item = path.index(at);
        let path = item.field("jsonPath");
        if text.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let schema = version.at("schema.openAPIV3Schema");
        let kind = match structural::field_path(schema, text, false) {
            Ok(field) => field.text("type"),
            Err(why) => {
                let wrong = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid(path, text, wrong));
                continue;
            }
        };
        if text == ".metadata" || text.starts_with(".metadata.") {
            let wrong = "must not point to fields in metadata";
            errors.push(FieldError::invalid(path, text, wrong));
        }
        if !matches!(kind, "string" | "boolean" | "integer") {
            let wrong = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(path, text, wrong));
        }
        if known.contains(&text) {
            errors.push(FieldError::duplicate(path, text));
        } else {
            known.push(text);
        }
    }
    if known.len() > MAX_SELECTABLE && !as_before {
        errors.push(FieldError::too_many(path, known.len(), MAX_SELECTABLE));
    }
}

fn has_status(version: &Value) -> bool {
    version.at("subresources").get("status").is_some()
}

/// Shows the schemas with their places, and whether an update leaves them alone.
pub fn each_schema(
    object: &Value,
    old: Option<&Value>,
    mut see: impl FnMut(&Value, &Path<'_>, bool),
) {
    each_version(object, old, |version, path, unchanged| {
        see(version.at("schema.openAPIV3Schema"), path, unchanged);
    });
}

fn each_version(object: &Value, old: Option<&Value>, mut see: impl FnMut(&Value, &Path<'_>, bool)) {
    let path = Path::ROOT.field("spec");
    let versions = object.list("spec.versions");
    let old_versions = old.map_or(&[][..], |old| old.list("spec.versions"));
    places(versions, "schema", &path, "validation", |version, path| {
        let schema = version.at("schema.openAPIV3Schema");
        let unchanged = old_versions.iter().any(|old| {
            old.text("name") == version.text("name")
                && old.at("schema") == version.at("schema")
                && has_status(old) == has_status(version)
        });
        if !schema.is_null() {
            see(version, &path.field("openAPIV3Schema"), unchanged);
        }
    });
}

/// Everything wrong with the schemas; those that an update leaves alone are not judged again.
pub(super) fn schemas(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let old_versions = old.map_or(&[][..], |old| old.list("spec.versions"));
    let was_structural = old_versions.iter().all(|version| {
        let schema = version.at("schema.openAPIV3Schema");
        schema.is_null() || structural::is_structural(schema)
    });
    each_version(object, old, |version, path, unchanged| {
        if unchanged {
            return;
        }
        let options = structural::Options {
            status: has_status(version),
            structural: was_structural,
        };
        let schema = version.at("schema.openAPIV3Schema");
        errors.extend(structural::check(&BASE, schema, path, options));
    });
}
