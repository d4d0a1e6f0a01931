//! A compiled expression.

use crate::{
    activation::{Activation, Budget},
    check::{Checked, check, check_literals},
    cost::{self, CostRange, SizeHints},
    deep::with_stack,
    environment::Environment,
    eval,
    parse::{parse, tokens},
    plan::{Plan, plan},
    source::{CompileError, Issues, Source},
    types::Type,
    value::{Fault, Outcome, Value},
};

/// A compiled expression: made once, evaluated as often as wanted, from any thread.
pub struct Program {
    text: Box<str>,
    checked: Checked,
    output: Type,
    plan: Plan,
}

/// Why an evaluation gives no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// This one evaluation costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CallCost,
    /// It costs more than is left of the budget.
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    Budget,
    /// `no such key: a`, `division by zero`, …
    #[error("{0}")]
    Runtime(String),
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("text", &self.text)
            .field("output", &self.output)
            .finish()
    }
}

impl Program {
    /// Parses and checks a text. The error is as upstream prints it.
    pub fn compile(text: &str, environment: &Environment) -> Result<Self, CompileError> {
        let source = Source::new(text);
        let mut issues = Issues::default();
        let Some(lexemes) = tokens(text, &mut issues) else {
            return Err(source.error(issues));
        };
        // Nothing nests deeper than it has tokens, and three tokens rarely nest once.
        let depth = lexemes.len() / 3;
        with_stack(depth, move || {
            let parsed = parse(&lexemes, environment, &mut issues);
            let parsed = match parsed {
                Some(parsed) if issues.is_empty() => parsed,
                _ => return Err(source.error(issues)),
            };
            let checked = check(parsed, environment, &mut issues);
            if issues.is_empty() {
                check_literals(&checked, &mut issues);
            }
            if !issues.is_empty() {
                return Err(source.error(issues));
            }
            let plan = plan(&checked).map_err(|fault| {
                CompileError::plain(format!("program instantiation failed: {fault}"))
            })?;
            Ok(Self {
                text: text.into(),
                output: checked.ty(&checked.expr).clone(),
                checked,
                plan,
            })
        })
        .unwrap_or_else(|| {
            Err(CompileError::plain(
                "the expression cannot be compiled: no thread for it could be started".to_owned(),
            ))
        })
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of what it evaluates to.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Does it read this variable?
    pub fn uses(&self, variable: &str) -> bool {
        self.plan.globals.iter().any(|name| **name == *variable)
    }

    /// What it can cost, given how large the variables can get.
    pub fn cost_estimate(&self, sizes: &dyn SizeHints) -> CostRange {
        with_stack(self.plan.depth, || cost::estimate(&self.checked, sizes)).unwrap_or(CostRange {
            min: 0,
            max: u64::MAX,
        })
    }

    /// Evaluates it and takes what that costs out of the budget.
    pub fn evaluate<'a>(
        &'a self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        let (outcome, cost) = self.run(activation, budget.limit());
        let cost = cost.saturating_add(activation.take_cost());
        if !budget.spend(cost) {
            return Err(EvalError::Budget);
        }
        outcome.map_err(|fault| match fault {
            Fault::Cost => EvalError::CallCost,
            Fault::Runtime(message) => EvalError::Runtime(message.into_owned()),
        })
    }

    pub(crate) fn run<'a>(&'a self, activation: &Activation<'a>, limit: u64) -> (Outcome<'a>, u64) {
        let run = || eval::run(&self.plan, activation, limit);
        with_stack(self.plan.depth, run).unwrap_or_else(|| {
            let message = "no thread for a deep expression could be started";
            (Err(Fault::new(message)), 0)
        })
    }
}
