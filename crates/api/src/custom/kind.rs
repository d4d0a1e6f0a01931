//! How objects of custom kinds behave: as their definition says.

use std::sync::Arc;

use jiff::Timestamp;
use schema::{FieldError, Path, Table, TypeId, Value, structural};

use super::columns::Printer;
use crate::{
    jsonpath::Template,
    meta, names,
    object::Object,
    resource::{LateTable, ScalePaths},
    strategy::{Columns, Part, Strategy},
    validation::metadata,
};

/// One version of a custom kind.
pub struct CustomKind {
    pub(super) types: Arc<LateTable>,
    pub(super) ty: TypeId,
    pub(super) has_status: bool,
    pub(super) scale: Option<ScalePaths>,
    pub(super) printer: Printer,
    /// The selectable fields of all versions: objects are indexed once.
    pub(super) selectable: Arc<Vec<(&'static str, Template)>>,
    pub(super) selectable_names: Vec<&'static str>,
}

impl CustomKind {
    fn table(&self) -> &Table {
        self.types.table()
    }

    /// Numbers of replicas that no scale could show.
    fn scale_errors(&self, object: &Value, spec: bool, errors: &mut Vec<FieldError>) {
        let Some(scale) = &self.scale else {
            return;
        };
        let mut paths = vec![&scale.status_replicas];
        if spec {
            paths.insert(0, &scale.replicas);
        }
        for path in paths {
            let value = object.at(path);
            let shown = format!(".{path}");
            match value.as_i64() {
                _ if value.is_null() => {}
                None => {
                    let wrong = accessor(&shown, value, "int64");
                    errors.push(FieldError::invalid(shown, 0, wrong));
                }
                Some(count) if count < 0 => {
                    let wrong = "should be a non-negative integer";
                    errors.push(FieldError::invalid(shown, count, wrong));
                }
                Some(count) if count > i64::from(i32::MAX) => {
                    let wrong = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(shown, count, wrong));
                }
                Some(_) => {}
            }
        }
        if let Some(path) = &scale.selector {
            let value = object.at(path);
            if !value.is_null() && !value.is_string() {
                let shown = format!(".{path}");
                let wrong = accessor(&shown, value, "string");
                errors.push(FieldError::invalid(shown, "", wrong));
            }
        }
    }
}

impl Strategy for CustomKind {
    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        errors.extend(structural::validate(self.table(), self.ty, object, None));
        self.scale_errors(object, true, errors);
        embedded(self.table(), self.ty, object, errors);
        errors.extend(structural::validate_lists(self.table(), self.ty, object));
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let (table, ty) = (self.table(), self.ty);
        if part == Part::Status {
            let wrong = structural::validate_part(table, ty, "status", object, Some(old));
            errors.extend(wrong);
            self.scale_errors(object, false, errors);
        } else {
            errors.extend(structural::validate(table, ty, object, Some(old)));
            self.scale_errors(object, true, errors);
            embedded(table, ty, object, errors);
        }
        if structural::validate_lists(table, ty, old).is_empty() {
            errors.extend(structural::validate_lists(table, ty, object));
        }
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        if part != Part::Status {
            return;
        }
        // Of the metadata nothing is written with a status but who manages it.
        let kept: Vec<(&str, Value)> = ["managedFields", "resourceVersion", "uid"]
            .into_iter()
            .filter_map(|name| Some((name, object.at("metadata").get(name)?.clone())))
            .collect();
        object.restore("metadata", old);
        let metadata = meta::metadata_mut(object);
        metadata.remove("managedFields");
        for (name, value) in kept {
            metadata.insert(name.to_owned(), value);
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        finalizer_warnings(meta::finalizers(object))
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        if part == Part::Status {
            return Vec::new();
        }
        let known: Vec<&str> = meta::finalizers(old).collect();
        finalizer_warnings(meta::finalizers(object).filter(|name| !known.contains(name)))
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &Template| match path.values(object).ok()?.first()? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        self.selectable
            .iter()
            .map(|(name, path)| (*name, text(path).unwrap_or_default()))
            .collect()
    }

    fn field_names(&self) -> &[&'static str] {
        &self.selectable_names
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn moves_generation(&self, object: &Value, old: &Value) -> bool {
        let rest = |value: &Value| -> Vec<(String, Value)> {
            value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| *name != "metadata" && !(self.has_status && *name == "status"))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        rest(object) != rest(old)
    }

    fn columns(&self) -> Option<&dyn Columns> {
        Some(&self.printer)
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// What upstream says of a value of the wrong type.
fn accessor(path: &str, value: &Value, wanted: &str) -> String {
    let (shown, found) = match value {
        Value::String(text) => (text.clone(), "string"),
        Value::Bool(_) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (value.to_string(), "float64"),
        Value::Number(_) => (value.to_string(), "int64"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        _ => (value.to_string(), "map[string]interface {}"),
    };
    format!("{path} accessor error: {shown} is of the type {found}, expected {wanted}")
}

fn finalizer_warnings<'a>(finalizers: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut out = Vec::new();
    for name in finalizers {
        for wrong in names::qualified_name(name) {
            out.push(format!("metadata.finalizers: {name:?}: {wrong}"));
        }
        if name.contains('/') || matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") {
            continue;
        }
        let wanted = if name.contains('.') {
            "a domain-qualified finalizer name including a path (/)"
        } else {
            "a domain-qualified finalizer name"
        };
        out.push(format!(
            "metadata.finalizers: {name:?}: prefer {wanted} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    out
}

/// Objects within objects (`x-kubernetes-embedded-resource`) have a kind and sound metadata.
fn embedded(table: &Table, ty: TypeId, object: &Value, errors: &mut Vec<FieldError>) {
    structural::embedded(table, ty, object, &mut |path, inner| {
        resource(path, inner, errors);
    });
}

fn resource(path: &Path<'_>, object: &Value, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        match object.at(name) {
            Value::Null => errors.push(FieldError::required(path.field(name), "")),
            Value::String(text) if text.is_empty() => {
                errors.push(FieldError::invalid(
                    path.field(name),
                    "",
                    "must not be empty",
                ));
            }
            Value::String(_) => {}
            other => {
                let wrong = "must be a string";
                errors.push(FieldError::invalid(path.field(name), other.clone(), wrong));
            }
        }
    }
    let version = object.text("apiVersion");
    if version.matches('/').count() > 1 {
        let wrong = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid(
            path.field("apiVersion"),
            version,
            wrong,
        ));
    }
    let kind = object.text("kind");
    let wrongs = names::dns1035_label(&kind.to_lowercase());
    if !kind.is_empty() && !wrongs.is_empty() {
        let wrong = format!(
            "may have mixed case, but should otherwise match: {}",
            wrongs.join(",")
        );
        errors.push(FieldError::invalid(path.field("kind"), kind, wrong));
    }
    let at = path.field("metadata");
    let name = meta::name(object);
    for wrong in names::path_segment(name)
        .into_iter()
        .filter(|_| !name.is_empty())
    {
        errors.push(FieldError::invalid(at.field("name"), name, wrong));
    }
    let namespace = meta::namespace(object);
    if !namespace.is_empty() {
        for wrong in names::dns1123_label(namespace) {
            errors.push(FieldError::invalid(at.field("namespace"), namespace, wrong));
        }
    }
    metadata::embedded(object, &at, errors);
}
