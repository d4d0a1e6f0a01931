//! Expressions of webhooks and policies: compiled once per configuration, evaluated on what a request
//! is about. Which variables there are, and how errors are worded, is upstream's.

pub(super) mod environment;
mod seen;

use std::sync::Arc;

use api::object::Object;
use cel::{Activation, Budget, EvalError, Program, Type};
use serde_json::Value;

pub(super) use environment::Scope;
pub(super) use seen::{Seen, namespace_object};

/// An expression of a configuration.
#[derive(Clone)]
pub struct Expression {
    text: Box<str>,
    compiled: Result<Arc<Program>, Arc<str>>,
}

/// What an expression may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// A truth value.
    Bool,
    /// A text.
    Text,
    /// A text, or nothing.
    TextOrNull,
    /// Anything.
    Any,
    /// What to apply to the object.
    Object,
    /// A list of changes.
    Patch,
}

impl Gives {
    /// Why a program of this output type will not do.
    fn refuses(self, output: &Type) -> Option<String> {
        let got = output.to_string();
        let wanted: &[&str] = match self {
            Gives::Bool => &["bool"],
            Gives::Text => &["string"],
            Gives::TextOrNull => &["string", "null_type"],
            Gives::Any => return None,
            Gives::Object => &["Object"],
            Gives::Patch => &["list(JSONPatch)"],
        };
        let null = self == Gives::TextOrNull && matches!(output, Type::Null);
        if null || wanted.contains(&got.as_str()) {
            return None;
        }
        Some(match wanted {
            [one] => format!("must evaluate to {one} but got {got}"),
            many => format!("must evaluate to one of [{}] but got {got}", many.join(" ")),
        })
    }
}

/// Why expressions about one object stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "validation failed due to running out of cost budget, no further validation rules will be run"
)]
pub struct OutOfBudget;

impl Expression {
    /// Compiles a text.
    pub fn compile(text: &str, scope: &Scope, gives: Gives) -> Expression {
        let compiled = match Program::compile(text, scope.environment()) {
            Err(error) => Err(format!("compilation failed: {error}").into()),
            Ok(program) => match gives.refuses(program.output()) {
                Some(why) => Err(why.into()),
                None => Ok(Arc::new(program)),
            },
        };
        Expression {
            text: text.into(),
            compiled,
        }
    }

    /// Why it could not be compiled.
    pub fn error(&self) -> Option<&str> {
        self.compiled.as_ref().err().map(|why| &**why)
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The compiled program.
    pub fn program(&self) -> Option<&Program> {
        self.compiled.as_deref().ok()
    }

    /// Evaluates it; the inner error is told to the client.
    pub fn evaluate<'a>(
        &'a self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Result<cel::Value<'a>, String>, OutOfBudget> {
        let program = match &self.compiled {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        match program.evaluate(activation, budget) {
            Ok(value) => Ok(Ok(value)),
            Err(EvalError::Budget) => Err(OutOfBudget),
            Err(error) => Ok(Err(format!(
                "expression '{}' resulted in error: {error}",
                self.text
            ))),
        }
    }
}

/// The match conditions of one webhook or policy.
#[derive(Clone, Default)]
pub struct Conditions {
    expressions: Vec<Expression>,
    ignore_failures: bool,
}

/// What conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Matches,
    /// One does not, or cannot be evaluated where that counts as the same.
    Excluded,
    /// One cannot be evaluated.
    Failed(String),
}

impl Conditions {
    /// Compiles `matchConditions`.
    pub fn compile(conditions: &[Value], scope: &Scope, ignore_failures: bool) -> Conditions {
        let expressions = conditions
            .iter()
            .map(|c| Expression::compile(c.text("expression"), scope, Gives::Bool));
        Conditions {
            expressions: expressions.collect(),
            ignore_failures,
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// Do all hold? One that does not settles it, whatever the others say.
    pub fn decide<'a>(&'a self, activation: &Activation<'a>) -> Verdict {
        if self.is_empty() {
            return Verdict::Matches;
        }
        let mut budget = Budget::new(cel::limits::MATCH_CONDITIONS_BUDGET);
        let mut errors = Vec::new();
        let mut excluded = false;
        for expression in &self.expressions {
            match expression.evaluate(activation, &mut budget) {
                Ok(Ok(value)) => excluded |= !value.is_true(),
                Ok(Err(why)) => errors.push(why),
                Err(out) => {
                    errors = vec![out.to_string()];
                    excluded = false;
                    break;
                }
            }
        }
        match errors.as_slice() {
            _ if excluded => Verdict::Excluded,
            [] => Verdict::Matches,
            _ if self.ignore_failures => Verdict::Excluded,
            [one] => Verdict::Failed(one.clone()),
            many => Verdict::Failed(format!("[{}]", many.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests;
