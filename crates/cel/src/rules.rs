//! The rules of a custom resource's schema (`x-kubernetes-validations`): compiled once per version
//! ([`Rules::compile`]), evaluated for every write ([`Rules::validate`]), and judged when the definition
//! is written ([`check`]). Messages, order and cost limits are upstream's (apiextensions'
//! `schema/cel`); which rules are about what has not changed, and so only warn, is KEP-4008's.

use std::{collections::BTreeMap, sync::Arc};

use schema::{FieldError, Path, Value as Json};

use crate::{
    activation::{Activation, Budget},
    declared::Declared,
    limits,
    program::{EvalError, Program},
    value::Value,
};

mod compile;
mod correlate;
mod definition;
mod path;

pub use definition::{Known, check};

use correlate::{Correlation, keyed};

/// The compiled rules of one schema.
pub struct Rules {
    schema: Arc<Json>,
    root: Node,
}

/// Rules at one place of the schema and below it.
struct Node {
    declared: Option<Arc<Declared>>,
    /// The place's `type`.
    kind: Box<str>,
    rules: Vec<Rule>,
    items: Option<Box<Node>>,
    values: Option<Box<Node>>,
    properties: BTreeMap<Box<str>, Node>,
    all_of: Vec<Node>,
}

/// One rule.
struct Rule {
    /// None where the rule is empty; the error where it does not compile.
    program: Option<Result<Program, String>>,
    /// None where there is none, or where it does not compile.
    message_expression: Option<Program>,
    message_text: Box<str>,
    rule: Box<str>,
    message: Box<str>,
    reason: Option<Box<str>>,
    field_path: Option<String>,
    optional_old_self: bool,
}

/// What evaluating rules found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub errors: Vec<FieldError>,
    /// What was wrong before and has not changed: told as warnings.
    pub warnings: Vec<String>,
}

/// No further rule is run.
struct Stop;

impl Rules {
    /// The rules of a structural schema; none where it has none. Rules that do not compile (they did
    /// when the definition was written) are found wrong with every object.
    pub fn compile(schema: &Arc<Json>) -> Option<Self> {
        let declared = Declared::from_schema(schema, true, compile::SELF_TYPE);
        let root = compile::node(schema, schema, declared.as_ref(), 0)?;
        Some(Self {
            schema: schema.clone(),
            root,
        })
    }

    /// Runs the rules on an object, and on what it was before. What they cost is taken out of the
    /// budget, usually [`Budget::default`].
    pub fn validate(&self, object: &Json, old: Option<&Json>, budget: &mut Budget) -> Findings {
        let mut run = Run {
            findings: Findings::default(),
            budget,
        };
        let correlation = match old {
            Some(old) => Correlation::root(&self.schema, object, old),
            None => Correlation::none(),
        };
        // Having stopped is among the errors.
        let _ = run.node(
            &self.root,
            &self.schema,
            &Path::ROOT,
            object,
            old,
            correlation,
        );
        run.findings
    }
}

struct Run<'b> {
    findings: Findings,
    budget: &'b mut Budget,
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

impl Run<'_> {
    fn node<'v>(
        &mut self,
        node: &'v Node,
        schema: &'v Json,
        path: &Path<'_>,
        object: &'v Json,
        old: Option<&'v Json>,
        correlation: Correlation<'v>,
    ) -> Result<(), Stop> {
        if object.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, path, object, old, correlation)?;
        for part in &node.all_of {
            self.node(part, schema, path, object, old, correlation.above())?;
        }
        match object {
            Json::Array(items) => {
                let Some(below) = &node.items else {
                    return Ok(());
                };
                let before = keyed(schema, old.and_then(Json::as_array));
                let items_schema = schema.get("items").unwrap_or(&Json::Null);
                for (place, item) in items.iter().enumerate() {
                    let was = before.get(item);
                    self.node(
                        below,
                        items_schema,
                        &path.index(place),
                        item,
                        was,
                        correlation.item(item, was),
                    )?;
                }
            }
            Json::Object(fields) => {
                let correlatable = matches!(
                    schema.get("x-kubernetes-map-type").and_then(Json::as_str),
                    None | Some("granular" | "atomic")
                );
                let was = |name: &str| old.filter(|_| correlatable).and_then(|old| old.get(name));
                if let Some(below) = &node.values {
                    let values = schema.get("additionalProperties").unwrap_or(&Json::Null);
                    for (name, value) in fields {
                        self.node(
                            below,
                            values,
                            &path.key(name),
                            value,
                            was(name),
                            correlation.field(name),
                        )?;
                    }
                }
                for (name, value) in fields {
                    let Some(below) = node.properties.get(name.as_str()) else {
                        continue;
                    };
                    let property = schema
                        .get("properties")
                        .and_then(|properties| properties.get(name))
                        .unwrap_or(&Json::Null);
                    self.node(
                        below,
                        property,
                        &path.field(name),
                        value,
                        was(name),
                        correlation.field(name),
                    )?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules<'v>(
        &mut self,
        node: &'v Node,
        path: &Path<'_>,
        object: &'v Json,
        old: Option<&'v Json>,
        correlation: Correlation<'v>,
    ) -> Result<(), Stop> {
        if node.rules.is_empty() {
            return Ok(());
        }
        let kind = || Json::from(&*node.kind);
        if self.budget.remaining() <= 0 {
            self.push(FieldError::invalid(path, kind(), OUT_OF_BUDGET));
            return Err(Stop);
        }
        let Some(declared) = node.declared.as_deref() else {
            let detail = "rule compiler initialization error: failed to convert to declType for CEL validation rules";
            self.push(FieldError::invalid(path, kind(), detail));
            return Ok(());
        };
        let (plain, optional) = activations(declared, object, old);
        for rule in &node.rules {
            let program = match &rule.program {
                None => continue,
                Some(Ok(program)) => program,
                Some(Err(error)) => {
                    let detail = format!("rule compile error: {error}");
                    self.push(FieldError::invalid(path, kind(), detail));
                    continue;
                }
            };
            let transition = program.uses("oldSelf");
            if transition && old.is_none() && !rule.optional_old_self {
                continue;
            }
            let activation = if rule.optional_old_self {
                &optional
            } else {
                &plain
            };
            match program.evaluate(activation, self.budget) {
                Ok(value) if value.is_true() => continue,
                Ok(_) => {}
                Err(error) => {
                    self.failed(rule, path, kind(), error)?;
                    continue;
                }
            }
            let full;
            let field = match &rule.field_path {
                Some(below) => {
                    full = path.field(below);
                    &full
                }
                None => path,
            };
            let (detail, stop) = self.detail(rule, &plain);
            let error = match detail {
                Ok(detail) => broken(rule, field, object, detail),
                Err(detail) => FieldError::invalid(field, kind(), detail),
            };
            if !transition && correlation.is_unchanged() {
                self.findings.warnings.push(placed(error).to_string());
            } else {
                self.push(error);
            }
            if stop {
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn push(&mut self, error: FieldError) {
        self.findings.errors.push(placed(error));
    }

    fn failed(
        &mut self,
        rule: &Rule,
        path: &Path<'_>,
        kind: Json,
        error: EvalError,
    ) -> Result<(), Stop> {
        let (detail, stop) = match &error {
            EvalError::Budget => (OUT_OF_BUDGET.to_owned(), true),
            EvalError::CallCost => (
                format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.name()
                ),
                true,
            ),
            EvalError::Runtime(message) if message.starts_with("no such overload") => (
                format!(
                    "'{message}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.name()
                ),
                false,
            ),
            EvalError::Runtime(message) => {
                (format!("{message} evaluating rule: {}", rule.name()), false)
            }
        };
        self.push(FieldError::invalid(path, kind, detail));
        if stop { Err(Stop) } else { Ok(()) }
    }

    /// What the failure of a rule is told with: its message expression's text, its message, or the rule
    /// itself. The error where the message costs too much, after which no rule is run.
    fn detail<'a>(
        &mut self,
        rule: &'a Rule,
        activation: &Activation<'a>,
    ) -> (Result<String, String>, bool) {
        let otherwise = || {
            if rule.message.is_empty() {
                format!("failed rule: {}", rule.name())
            } else {
                rule.message.trim().to_owned()
            }
        };
        let Some(program) = &rule.message_expression else {
            return (Ok(otherwise()), false);
        };
        match said(program, activation, self.budget) {
            Ok(Some(text)) => (Ok(text), false),
            Ok(None) | Err(EvalError::Runtime(_)) => (Ok(otherwise()), false),
            Err(EvalError::Budget) => (
                Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned()),
                true,
            ),
            Err(EvalError::CallCost) => (
                Err(format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                    rule.message_text
                )),
                true,
            ),
        }
    }
}

/// The message a program makes, where it makes one that can be shown.
fn said<'a>(
    program: &'a Program,
    activation: &Activation<'a>,
    budget: &mut Budget,
) -> Result<Option<String>, EvalError> {
    let value = program.evaluate(activation, budget)?;
    let text = value.as_str().unwrap_or("").trim();
    let fit = !text.is_empty() && text.len() <= limits::MESSAGE_BYTES && !text.contains('\n');
    Ok(fit.then(|| text.to_owned()))
}

impl Rule {
    /// How errors name it.
    fn name(&self) -> &str {
        if self.message.is_empty() {
            self.rule.trim()
        } else {
            self.message.trim()
        }
    }
}

/// The variables as most rules see them, and as rules with `optionalOldSelf` do.
fn activations<'a>(
    declared: &'a Declared,
    object: &'a Json,
    old: Option<&'a Json>,
) -> (Activation<'a>, Activation<'a>) {
    let mut plain = Activation::new();
    let mut optional = Activation::new();
    plain.set_typed("self", object, declared);
    optional.set_typed("self", object, declared);
    match old {
        Some(old) => {
            plain.set_typed("oldSelf", old, declared);
            optional.set_typed_optional("oldSelf", old, declared);
        }
        None => {
            optional.set("oldSelf", Value::Optional(None));
        }
    }
    (plain, optional)
}

/// The object itself goes by the name upstream's empty path has.
fn placed(mut error: FieldError) -> FieldError {
    if error.path.is_empty() {
        error.path = "<nil>".to_owned();
    }
    error
}

fn broken(rule: &Rule, path: &Path<'_>, object: &Json, detail: String) -> FieldError {
    let large = object.is_object() || object.is_array();
    match rule.reason.as_deref() {
        Some("FieldValueForbidden") => FieldError::forbidden(path, detail),
        Some("FieldValueRequired") => FieldError::required(path, detail),
        Some("FieldValueDuplicate") if large => FieldError::duplicate(path, Json::Null).unshown(),
        Some("FieldValueDuplicate") => FieldError::duplicate(path, object.clone()),
        _ if large => FieldError::invalid(path, Json::Null, detail).unshown(),
        _ => FieldError::invalid(path, object.clone(), detail),
    }
}
