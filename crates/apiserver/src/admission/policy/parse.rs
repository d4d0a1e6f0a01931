//! From the objects to compiled policies and bindings.

use api::labels::Selector;
use api::meta;
use api::object::Object;
use cel::Type;
use serde_json::Value;

use super::params::{ParamKind, ParamRef};
use super::{
    Action, AuditAnnotation, Binding, Family, Matching, Mutation, Policy, Validation, Variable,
};
use crate::admission::expression::{Conditions, Expression, Gives, Scope};
use crate::admission::rules::Rule;

fn matching(resources: &Value) -> Matching {
    let rules = |field: &str| resources.list(field).iter().map(Rule::read).collect();
    let selector = |field: &str| match resources.at(field) {
        Value::Null => Ok(Selector::everything()),
        selector => Selector::from_label_selector(selector).map_err(|e| e.to_string()),
    };
    Matching {
        rules: rules("resourceRules"),
        excluded: rules("excludeResourceRules"),
        equivalent: resources.text("matchPolicy") != "Exact",
        namespaces: selector("namespaceSelector"),
        objects: selector("objectSelector"),
    }
}

/// The variables of a policy, and the scope of the expressions after them.
pub(super) fn variables(spec: &Value, scope: &mut Scope) -> Vec<Variable> {
    let mut variables = Vec::new();
    for variable in spec.list("variables") {
        let name = variable.text("name");
        let expression = Expression::compile(variable.text("expression"), scope, Gives::Any);
        let output = expression
            .program()
            .map_or(Type::Dyn, |p| p.output().clone());
        scope.add_variable(name, output);
        variables.push(Variable {
            name: name.into(),
            expression,
        });
    }
    variables
}

/// Compiles a policy. Expressions that cannot be compiled fail when they are evaluated.
pub(super) fn policy(family: Family, object: &Value) -> Policy {
    let spec = object.at("spec");
    let has_params = spec.has("paramKind");
    let mut scope = Scope::new(has_params, true);
    let ignore_failures = spec.text("failurePolicy") == "Ignore";
    let variables = variables(spec, &mut scope);
    let conditions = Conditions::compile(spec.list("matchConditions"), &scope, ignore_failures);
    let messages = scope.for_messages(has_params);
    let validations = spec.list("validations").iter().map(|validation| {
        let message = validation.text("messageExpression");
        Validation {
            expression: Expression::compile(validation.text("expression"), &scope, Gives::Bool),
            message: validation.text("message").trim().to_owned(),
            message_expression: (!message.is_empty())
                .then(|| Expression::compile(message, &messages, Gives::Text)),
            reason: validation.text("reason").to_owned(),
        }
    });
    let annotations = spec.list("auditAnnotations").iter().map(|annotation| {
        let text = annotation.text("valueExpression");
        AuditAnnotation {
            key: annotation.text("key").to_owned(),
            expression: Expression::compile(text, &scope, Gives::TextOrNull),
        }
    });
    let mutating = scope.with_mutations();
    let mutations = spec.list("mutations").iter().filter_map(|mutation| {
        let compile =
            |field: &str, gives| Expression::compile(mutation.text(field), &mutating, gives);
        match mutation.text("patchType") {
            "ApplyConfiguration" => Some(Mutation::Apply(compile(
                "applyConfiguration.expression",
                Gives::Object,
            ))),
            "JSONPatch" => Some(Mutation::Patch(compile(
                "jsonPatch.expression",
                Gives::Patch,
            ))),
            _ => None,
        }
    });
    Policy {
        name: meta::name(object).to_owned(),
        ignore_failures,
        params: has_params.then(|| ParamKind::read(spec.at("paramKind"))),
        matching: matching(spec.at("matchConstraints")),
        conditions,
        validations: validations.collect(),
        annotations: annotations.collect(),
        mutations: match family {
            Family::Mutating => mutations.collect(),
            Family::Validating => Vec::new(),
        },
        variables,
        again_if_needed: spec.text("reinvocationPolicy") == "IfNeeded",
    }
}

/// Reads a binding.
pub(super) fn binding(object: &Value) -> Binding {
    let spec = object.at("spec");
    let actions = spec
        .texts("validationActions")
        .filter_map(|action| match action {
            "Deny" => Some(Action::Deny),
            "Warn" => Some(Action::Warn),
            "Audit" => Some(Action::Audit),
            _ => None,
        });
    Binding {
        name: meta::name(object).to_owned(),
        policy: spec.text("policyName").to_owned(),
        params: spec
            .has("paramRef")
            .then(|| ParamRef::read(spec.at("paramRef"))),
        matching: spec
            .has("matchResources")
            .then(|| matching(spec.at("matchResources"))),
        actions: actions.collect(),
    }
}
