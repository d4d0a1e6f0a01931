//! What an expression's variables are in one evaluation, and what evaluations may still cost.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value as Json;

use crate::{
    authorizer::{Authorizer, Check, Subject, User},
    declared::Declared,
    limits,
    program::Program,
    value::{Fault, OpaqueValue, Outcome, Value},
};

/// Variables by name.
pub struct Activation<'a> {
    variables: Vec<(&'a str, Outcome<'a>)>,
    /// Fields of the variable `variables`: programs that are evaluated when first read.
    programs: Vec<(&'a str, &'a Program)>,
    results: Mutex<Vec<Memo<'a>>>,
    cost: AtomicU64,
}

#[derive(Clone)]
enum Memo<'a> {
    Unread,
    Reading,
    Read(Outcome<'a>),
}

impl Default for Activation<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.variables.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<'a> Activation<'a> {
    /// No variables.
    pub fn new() -> Self {
        Self {
            variables: Vec::new(),
            programs: Vec::new(),
            results: Mutex::default(),
            cost: AtomicU64::new(0),
        }
    }

    /// Sets a variable; the last setting counts.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) -> &mut Self {
        self.put(name, Ok(value))
    }

    /// Sets a variable to JSON of no known type.
    pub fn set_json(&mut self, name: &'a str, json: &'a Json) -> &mut Self {
        self.put(name, Ok(Value::json(json)))
    }

    /// Sets a variable to JSON of a declared type. JSON that is not of that type is an error of the
    /// evaluation that reads it.
    pub fn set_typed(
        &mut self,
        name: &'a str,
        json: &'a Json,
        declared: &'a Declared,
    ) -> &mut Self {
        let value = Value::typed(json, declared).map_err(Fault::new);
        self.put(name, value)
    }

    /// As [`Activation::set_typed`], for a variable that may be absent and is not.
    pub fn set_typed_optional(
        &mut self,
        name: &'a str,
        json: &'a Json,
        declared: &'a Declared,
    ) -> &mut Self {
        let value = Value::typed(json, declared)
            .map(Value::some)
            .map_err(Fault::new);
        self.put(name, value)
    }

    /// Sets `authorizer`.
    pub fn set_authorizer(&mut self, authorizer: &'a dyn Authorizer) -> &mut Self {
        let subject = Subject {
            authorizer,
            user: User::Requester,
        };
        self.set(
            "authorizer",
            Value::opaque(OpaqueValue::Authorizer(subject)),
        )
    }

    /// Sets `authorizer.requestResource`: a check begun for what the request is about.
    pub fn set_request_resource(
        &mut self,
        authorizer: &'a dyn Authorizer,
        check: Check,
    ) -> &mut Self {
        let subject = Subject {
            authorizer,
            user: User::Requester,
        };
        self.set(
            "authorizer.requestResource",
            Value::opaque(OpaqueValue::ResourceCheck(subject, check)),
        )
    }

    /// Adds a field to the variable `variables`: a program evaluated at most once, when first read, on
    /// this same activation. It may read fields added before it.
    pub fn add_variable(&mut self, name: &'a str, program: &'a Program) -> &mut Self {
        if self.programs.is_empty() {
            self.set("variables", Value::Variables);
        }
        self.programs.push((name, program));
        self.results
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Memo::Unread);
        self
    }

    fn put(&mut self, name: &'a str, value: Outcome<'a>) -> &mut Self {
        match self.variables.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => self.variables.push((name, value)),
        }
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<Outcome<'a>> {
        self.variables
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.clone())
    }

    /// A field of `variables`; none where there is no such field.
    pub(crate) fn variable(&self, name: &str) -> Option<Outcome<'a>> {
        let place = self.programs.iter().position(|(own, _)| *own == name)?;
        let swap = |memo: Memo<'a>| {
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results
                .get_mut(place)
                .map(|own| std::mem::replace(own, memo))
        };
        match swap(Memo::Reading)? {
            Memo::Read(outcome) => {
                swap(Memo::Read(outcome.clone()));
                Some(outcome)
            }
            Memo::Reading => Some(Err(Fault::new(format!(
                "composited variable {name:?} refers to itself"
            )))),
            Memo::Unread => {
                let (_, program) = self.programs[place];
                let (outcome, cost) = program.run(self, limits::PER_CALL);
                self.cost.fetch_add(cost, Ordering::Relaxed);
                let outcome = outcome.map_err(|fault| {
                    Fault::new(format!(
                        "composited variable {name:?} fails to evaluate: {fault}"
                    ))
                });
                swap(Memo::Read(outcome.clone()));
                Some(outcome)
            }
        }
    }

    /// What reading `variables` has cost since last asked.
    pub(crate) fn take_cost(&self) -> u64 {
        self.cost.swap(0, Ordering::Relaxed)
    }
}

/// What evaluations may still cost: one for all expressions about one object.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    remaining: i64,
    per_call: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(limits::RUNTIME_BUDGET)
    }
}

impl Budget {
    /// This much in all; what one evaluation may cost is [`limits::PER_CALL`].
    pub fn new(total: i64) -> Self {
        Self {
            remaining: total,
            per_call: limits::PER_CALL,
        }
    }

    /// With another limit on one evaluation.
    #[must_use]
    pub fn per_call(mut self, limit: u64) -> Self {
        self.per_call = limit;
        self
    }

    /// What is left; negative once it was exceeded.
    pub fn remaining(&self) -> i64 {
        self.remaining
    }

    pub(crate) fn limit(&self) -> u64 {
        self.per_call
    }

    /// Takes a cost out; false where there is not so much left, which also ends the budget.
    pub(crate) fn spend(&mut self, cost: u64) -> bool {
        match i64::try_from(cost) {
            Ok(cost) if cost <= self.remaining => {
                self.remaining -= cost;
                true
            }
            _ => {
                self.remaining = -1;
                false
            }
        }
    }
}
