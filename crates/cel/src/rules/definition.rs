//! Rules judged when a definition is written: do they compile, can they be too expensive, do they use
//! `oldSelf` where there can be none.

use std::sync::Arc;

use schema::{FieldError, Path, Value as Json};

use super::compile::{SELF_TYPE, environments, flag, message, program, written};
use crate::{declared::Declared, limits, program::Program};

/// What is known of the definition beside the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The schema is stored as it is already: what single rules cost was let pass then, and is now.
    pub unchanged: bool,
}

/// How many expensive rules are named when all together cost too much.
const NAMED: usize = 4;
/// A rule below this part of the whole limit is not named.
const NAMED_FROM: u64 = limits::SCHEMA_ESTIMATE / 100;
/// Schemas nested deeper than this are refused before they get here.
const DEPTH: usize = 200;

struct Judge {
    known: Known,
    errors: Vec<FieldError>,
    total: u64,
    expensive: Vec<(u64, String)>,
}

/// One place of the schema, with what its parents say about it.
#[derive(Clone, Copy)]
struct Place<'s> {
    schema: &'s Json,
    declared: Option<&'s Arc<Declared>>,
    /// How often it can occur in one object; none where nothing bounds that.
    cardinality: Option<u64>,
    /// Below it `oldSelf` cannot be found: the path where that begins.
    uncorrelatable: Option<&'s str>,
    depth: usize,
}

/// Everything wrong with the rules of a structural schema whose form is right. `path` leads to
/// `openAPIV3Schema`. Run it only where nothing else is wrong with the schema.
pub fn check(schema: &Json, path: &Path<'_>, known: Known) -> Vec<FieldError> {
    let declared = Declared::from_schema(schema, true, SELF_TYPE);
    let mut judge = Judge {
        known,
        errors: Vec::new(),
        total: 0,
        expensive: Vec::new(),
    };
    judge.place(
        Place {
            schema,
            declared: declared.as_ref(),
            cardinality: Some(1),
            uncorrelatable: None,
            depth: 0,
        },
        path,
    );
    if judge.total > limits::SCHEMA_ESTIMATE {
        for (_, path) in std::mem::take(&mut judge.expensive) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            judge.errors.push(FieldError::forbidden(path, detail));
        }
        let detail = too_expensive(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema",
            judge.total,
            limits::SCHEMA_ESTIMATE,
        );
        judge.errors.push(FieldError::forbidden(path, detail));
    }
    judge.errors
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// How often something below the place can occur within it.
fn most(schema: &Json) -> Option<u64> {
    let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
    match schema.get("type").and_then(Json::as_str) {
        Some("object") if schema.get("additionalProperties").is_some() => bound("maxProperties"),
        Some("array") => bound("maxItems"),
        _ => Some(1),
    }
}

impl Judge {
    fn place(&mut self, place: Place<'_>, path: &Path<'_>) {
        if place.depth > DEPTH {
            return;
        }
        let schema = place.schema;
        let inner = place
            .cardinality
            .zip(most(schema))
            .map(|(outer, own)| outer.saturating_mul(own));
        let own_path = path.to_string();
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            let fresh = self.fresh(place, values, embedded(values));
            let declared = place.declared.and_then(|d| d.element()).or(fresh.as_ref());
            let below = Place {
                schema: values,
                declared,
                cardinality: inner,
                depth: place.depth + 1,
                ..place
            };
            self.place(below, &path.field("additionalProperties"));
        }
        let named = schema.get("properties").and_then(Json::as_object);
        for (name, property) in named.into_iter().flatten() {
            let fresh = self.fresh(place, property, embedded(property));
            let declared = place
                .declared
                .and_then(|d| d.property(name))
                .or(fresh.as_ref());
            let below = Place {
                schema: property,
                declared,
                cardinality: inner,
                depth: place.depth + 1,
                ..place
            };
            self.place(below, &path.field("properties").key(name));
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            let fresh = self.fresh(place, items, embedded(items));
            let declared = place.declared.and_then(|d| d.element()).or(fresh.as_ref());
            let list = schema.get("x-kubernetes-list-type").and_then(Json::as_str);
            let uncorrelatable = match list {
                Some("map") => place.uncorrelatable,
                _ => place.uncorrelatable.or(Some(own_path.as_str())),
            };
            let below = Place {
                schema: items,
                declared,
                cardinality: inner,
                uncorrelatable,
                depth: place.depth + 1,
            };
            self.place(below, &path.field("items"));
        }
        self.rules(place, path);
    }

    /// What the child is, where the parent's declaration does not say.
    fn fresh(&self, place: Place<'_>, child: &Json, root: bool) -> Option<Arc<Declared>> {
        place
            .declared
            .is_none()
            .then(|| Declared::from_schema(child, root, SELF_TYPE))
            .flatten()
    }

    fn rules(&mut self, place: Place<'_>, path: &Path<'_>) {
        let written = written(place.schema);
        if written.is_empty() {
            return;
        }
        let all = path.field("x-kubernetes-validations");
        let Some(declared) = place.declared else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(FieldError::internal(all, detail));
            return;
        };
        let (plain, optional) = environments(declared);
        let cardinality = place
            .cardinality
            .unwrap_or_else(|| declared.max_cardinality());
        for (index, rule) in written.iter().enumerate() {
            let own = all.index(index);
            let environment = if flag(rule, "optionalOldSelf") {
                &optional
            } else {
                &plain
            };
            let Some(program) = program(rule, environment) else {
                continue;
            };
            let at = own.field("rule");
            let mut uses_old = false;
            match &program {
                Err(detail) => {
                    self.errors
                        .push(FieldError::invalid(at, rule.clone(), detail.clone()));
                }
                Ok(program) => {
                    uses_old = program.uses("oldSelf");
                    let cost = program.cost_estimate(&**declared).max;
                    self.cost("estimated rule cost", cost.saturating_mul(cardinality), &at);
                }
            }
            if program.is_ok() {
                self.message(rule, environment, declared, &own);
            }
            self.old_self(rule, uses_old, place, &own, program.ok().as_ref());
        }
    }

    fn cost(&mut self, what: &str, cost: u64, path: &Path<'_>) {
        if !self.known.unchanged && cost > limits::RULE_ESTIMATE {
            let detail = too_expensive(what, cost, limits::RULE_ESTIMATE);
            self.errors.push(FieldError::forbidden(path, detail));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= NAMED_FROM {
            self.expensive.push((cost, path.to_string()));
            self.expensive
                .sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(NAMED);
        }
    }

    fn message(
        &mut self,
        rule: &Json,
        environment: &crate::environment::Environment,
        declared: &Declared,
        path: &Path<'_>,
    ) {
        let at = path.field("messageExpression");
        match message(rule, environment) {
            None => {}
            Some(Err(detail)) => {
                self.errors
                    .push(FieldError::invalid(at, rule.clone(), detail));
            }
            Some(Ok(program)) => {
                let cost = program.cost_estimate(declared).max;
                self.cost("estimated messageExpression cost", cost, &at);
            }
        }
    }

    fn old_self(
        &mut self,
        rule: &Json,
        uses_old: bool,
        place: Place<'_>,
        path: &Path<'_>,
        program: Option<&Program>,
    ) {
        if uses_old {
            if let Some(above) = place.uncorrelatable {
                let text = program.map_or("", Program::text);
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                );
                self.errors
                    .push(FieldError::invalid(path.field("rule"), text, detail));
            }
        } else if let Some(set) = rule.get("optionalOldSelf") {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(
                path.field("optionalOldSelf"),
                set.clone(),
                detail,
            ));
        }
    }
}

fn embedded(schema: &Json) -> bool {
    flag(schema, "x-kubernetes-embedded-resource")
}
