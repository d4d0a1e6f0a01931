//! The engine through its public face.
#![allow(clippy::unwrap_used)]

mod compile_errors;
mod cost;
mod expressions;
mod hostile;
mod libraries;
mod rules;

use cel::{Activation, Budget, Environment, EvalError, Program, Value};

/// What an expression without variables evaluates to, or its error, as text.
fn eval(text: &str) -> String {
    let environment = Environment::new().with_library(cel::Library::Mutation);
    let program = match Program::compile(text, &environment) {
        Ok(program) => program,
        Err(error) => return format!("COMPILE {error}"),
    };
    let mut budget = Budget::default();
    shown(program.evaluate(&Activation::new(), &mut budget))
}

fn shown(outcome: Result<Value<'_>, EvalError>) -> String {
    match outcome {
        Ok(Value::String(text)) => format!("{:?}", text.as_str()),
        Ok(Value::Uint(value)) => format!("{value}u"),
        Ok(Value::Map(map)) => Value::Map(map).to_json().unwrap().to_string(),
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expected)| {
            let found = eval(text);
            (found != *expected)
                .then(|| format!("{text}\n  gives    {found}\n  expected {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
