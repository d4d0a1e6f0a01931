//! The expressions of a definition (`x-kubernetes-validations`): judged when it is written, and run on
//! every write of its objects, after all that its schema asks.

use std::sync::{Arc, OnceLock};

use api::custom::{self, CustomKind, DEFINITIONS};
use api::object::Object;
use api::strategy::{Columns, Part, Strategy};
use cel::Budget;
use cel::rules::{Known, Rules};
use jiff::Timestamp;
use schema::{FieldError, FieldErrorKind};
use serde_json::Value;

use super::convert::VersionOf;
use crate::registry::call::Call;

/// A custom kind with its expressions, which are compiled when first needed.
pub struct RuledKind {
    kind: Arc<CustomKind>,
    version: Box<str>,
    version_of: VersionOf,
    rules: OnceLock<Option<Rules>>,
}

impl RuledKind {
    pub(super) fn new(kind: Arc<CustomKind>, version: &str, version_of: VersionOf) -> RuledKind {
        RuledKind {
            kind,
            version: version.into(),
            version_of,
            rules: OnceLock::new(),
        }
    }

    fn run(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        let rules = self.rules.get_or_init(|| {
            let version = (self.version_of)(&self.version)?;
            Rules::compile(&Arc::new(version.at("schema.openAPIV3Schema").clone()))
        });
        let Some(rules) = rules else {
            return;
        };
        // Expressions rely on types and sizes.
        let blocking = errors.iter().any(|error| {
            matches!(
                error.kind,
                FieldErrorKind::NotSupported
                    | FieldErrorKind::Required
                    | FieldErrorKind::TooLong
                    | FieldErrorKind::TooMany
                    | FieldErrorKind::TypeInvalid
            )
        });
        if blocking {
            let wrong = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid("<nil>", Value::Null, wrong));
            return;
        }
        let findings = rules.validate(object, old, &mut Budget::default());
        errors.extend(findings.errors);
    }
}

impl Strategy for RuledKind {
    fn default(&self, object: &mut Value) {
        self.kind.default(object);
    }

    fn prepare_create(&self, object: &mut Value, now: Timestamp) {
        self.kind.prepare_create(object, now);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, now: Timestamp) {
        self.kind.prepare_update(part, object, old, now);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.kind.validate_create(object, errors);
        self.run(object, None, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        self.kind.validate_update(part, object, old, errors);
        self.run(object, Some(old), errors);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        self.kind.warnings(object)
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        self.kind.warnings_on_update(part, object, old)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        self.kind.fields(object)
    }

    fn field_names(&self) -> &[&'static str] {
        self.kind.field_names()
    }

    fn has_generation(&self) -> bool {
        self.kind.has_generation()
    }

    fn moves_generation(&self, object: &Value, old: &Value) -> bool {
        self.kind.moves_generation(object, old)
    }

    fn columns(&self) -> Option<&dyn Columns> {
        self.kind.columns()
    }

    fn unconditional_update(&self) -> bool {
        self.kind.unconditional_update()
    }
}

/// Adds what is wrong with the expressions of a definition, where nothing else is wrong with it and
/// the call writes one.
pub fn judge(call: &Call, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let gvk = &call.endpoint.resource.gvk;
    let (group, plural) = DEFINITIONS;
    if *gvk.group != *group || *call.endpoint.resource.plural != *plural || !errors.is_empty() {
        return;
    }
    custom::each_schema(object, old, |schema, path, unchanged| {
        if !unchanged {
            errors.extend(cel::rules::check(schema, path, Known::default()));
        }
    });
}
