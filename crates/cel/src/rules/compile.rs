//! Rules of a schema into a tree of programs.

use std::{collections::BTreeMap, sync::Arc};

use schema::Value as Json;

use super::{Node, Rule, path};
use crate::{
    declared::Declared, environment::Environment, escape::escape, program::Program, types::Type,
};

/// The name error messages give the type of the place a rule stands at.
pub(super) const SELF_TYPE: &str = "selfType";
/// Schemas are no deeper than requests' bodies may be; what is deeper has no rules here.
const DEPTH: usize = 200;

pub(super) fn flag(schema: &Json, key: &str) -> bool {
    schema.get(key).and_then(Json::as_bool).unwrap_or(false)
}

/// The rules written at a place.
pub(super) fn written(schema: &Json) -> &[Json] {
    schema
        .get("x-kubernetes-validations")
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn text<'s>(rule: &'s Json, key: &str) -> &'s str {
    rule.get(key).and_then(Json::as_str).unwrap_or("")
}

/// What rules at a place may use: `self` and `oldSelf`, plainly and as optional.
pub(super) fn environments(declared: &Declared) -> (Environment, Environment) {
    let base = Environment::new().with("self", declared.ty().clone());
    let plain = base.clone().with("oldSelf", declared.ty().clone());
    let optional = base.with("oldSelf", Type::optional(declared.ty().clone()));
    (plain, optional)
}

/// A rule's program, or what is wrong with it.
pub(super) fn program(rule: &Json, environment: &Environment) -> Option<Result<Program, String>> {
    let source = text(rule, "rule");
    if source.trim().is_empty() {
        return None;
    }
    Some(match Program::compile(source, environment) {
        Ok(program) if matches!(program.output(), Type::Bool) => Ok(program),
        Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
        Err(error) => Err(error.described("compilation failed")),
    })
}

/// A rule's message expression, or what is wrong with it.
pub(super) fn message(rule: &Json, environment: &Environment) -> Option<Result<Program, String>> {
    let source = text(rule, "messageExpression");
    if source.is_empty() {
        return None;
    }
    Some(match Program::compile(source, environment) {
        Ok(program) if matches!(program.output(), Type::String) => Ok(program),
        Ok(_) => Err("messageExpression must evaluate to a string".to_owned()),
        Err(error) => Err(error.described("messageExpression compilation failed")),
    })
}

/// The rules at a place and below. `rules` is where they are written: the place's own schema, or a part
/// of its `allOf`.
pub(super) fn node(
    rules: &Json,
    schema: &Json,
    declared: Option<&Arc<Declared>>,
    depth: usize,
) -> Option<Node> {
    if depth > DEPTH {
        return None;
    }
    let own = match declared {
        Some(declared) => own_rules(rules, schema, declared),
        None => Vec::new(),
    };
    let below = |rules: &Json, schema: &Json, declared: Option<&Arc<Declared>>| {
        node(rules, schema, declared, depth + 1)
    };
    let element = declared.and_then(|declared| declared.element());
    let part = |key: &str| {
        let (rules, schema) = (rules.get(key)?, schema.get(key)?);
        (rules.is_object() && schema.is_object())
            .then(|| below(rules, schema, element))
            .flatten()
            .map(Box::new)
    };
    let mut properties = BTreeMap::new();
    let named = rules.get("properties").and_then(Json::as_object);
    for (name, property_rules) in named.into_iter().flatten() {
        let property = schema
            .get("properties")
            .and_then(|properties| properties.get(name));
        let (Some(property), Some(declared)) = (property, declared) else {
            continue;
        };
        let field = match escape(name) {
            Some(_) => declared.property(name).cloned(),
            // A name no expression can write still has rules of its own.
            None => Declared::from_schema(
                property,
                flag(property, "x-kubernetes-embedded-resource"),
                SELF_TYPE,
            ),
        };
        if let Some(field) = field
            && let Some(node) = below(property_rules, property, Some(&field))
        {
            properties.insert(name.as_str().into(), node);
        }
    }
    let all_of = rules
        .get("allOf")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(|part| node(part, schema, declared, depth + 1))
        .collect();
    let made = Node {
        declared: declared.cloned(),
        kind: text(schema, "type").into(),
        rules: own,
        items: part("items"),
        values: part("additionalProperties"),
        properties,
        all_of,
    };
    let empty = made.rules.is_empty()
        && made.items.is_none()
        && made.values.is_none()
        && made.properties.is_empty()
        && made.all_of.is_empty();
    (!empty).then_some(made)
}

fn own_rules(rules: &Json, schema: &Json, declared: &Arc<Declared>) -> Vec<Rule> {
    let written = written(rules);
    if written.is_empty() {
        return Vec::new();
    }
    let (plain, optional) = environments(declared);
    written
        .iter()
        .map(|rule| {
            let optional_old_self = flag(rule, "optionalOldSelf");
            let environment = if optional_old_self { &optional } else { &plain };
            Rule {
                program: program(rule, environment),
                message_expression: message(rule, environment).and_then(Result::ok),
                message_text: text(rule, "messageExpression").into(),
                rule: text(rule, "rule").into(),
                message: text(rule, "message").into(),
                reason: rule.get("reason").and_then(Json::as_str).map(Into::into),
                field_path: path::normalized(text(rule, "fieldPath"), schema),
                optional_old_self,
            }
        })
        .collect()
}
