//! Rules of a custom resource's schema: what objects they refuse and how they say so, what they let
//! pass because it was so before, and what rules a definition may not have.

use std::sync::Arc;

use cel::{
    Budget,
    rules::{self, Findings, Known, Rules},
};
use schema::Path;
use serde_json::{Value as Json, json};

fn validate(schema: Json, object: Json, old: Option<Json>) -> Findings {
    let rules = Rules::compile(&Arc::new(schema)).expect("a schema with rules");
    let mut budget = Budget::default();
    rules.validate(&object, old.as_ref(), &mut budget)
}

fn errors(schema: Json, object: Json, old: Option<Json>) -> Vec<String> {
    let findings = validate(schema, object, old);
    findings.errors.iter().map(ToString::to_string).collect()
}

fn spec(fields: Json, rules: Json) -> Json {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": fields, "x-kubernetes-validations": rules},
    }})
}

#[test]
fn a_broken_rule_is_told_with_its_message_or_itself() {
    let fields =
        json!({"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}});
    let object = json!({"spec": {"min": 3, "max": 2, "name": "x"}});
    for (rule, expected) in [
        (
            json!({"rule": "self.min <= self.max"}),
            "spec: Invalid value: failed rule: self.min <= self.max",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": " min must not exceed max "}),
            "spec: Invalid value: min must not exceed max",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "plain",
                "messageExpression": "'min is ' + string(self.min)"}),
            "spec: Invalid value: min is 3",
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "plain",
                "messageExpression": "[''][self.min]"}),
            "spec: Invalid value: plain",
        ),
        (
            json!({"rule": "self.min <= self.max", "messageExpression": "''"}),
            "spec: Invalid value: failed rule: self.min <= self.max",
        ),
        (
            json!({"rule": "self.min <= self.max", "fieldPath": ".max", "reason": "FieldValueForbidden", "message": "no"}),
            "spec.max: Forbidden: no",
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueRequired", "message": "no"}),
            "spec: Required value: no",
        ),
        (
            json!({"rule": "self.name[0] == 'x'"}),
            "spec: Invalid value: \"object\": rule compile error: compilation failed: ERROR: <input>:1:10: found no matching overload for '_[_]' applied to '(string, int)'\n | self.name[0] == 'x'\n | .........^",
        ),
        (
            json!({"rule": "[1][self.min] == 1"}),
            "spec: Invalid value: \"object\": index out of bounds: 3 evaluating rule: [1][self.min] == 1",
        ),
        (
            json!({"rule": "self.max / (self.max - 2) == 1", "message": "halves"}),
            "spec: Invalid value: \"object\": division by zero evaluating rule: halves",
        ),
    ] {
        let found = errors(spec(fields.clone(), json!([rule])), object.clone(), None);
        assert_eq!(found, [expected]);
    }
    let fine = spec(
        fields,
        json!([{"rule": "self.min > self.max"}, {"rule": " "}]),
    );
    assert_eq!(errors(fine, object, None), Vec::<String>::new());
}

#[test]
fn rules_stand_on_items_values_properties_and_scalars() {
    let schema = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
        "map": {"type": "object", "additionalProperties":
            {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "message": "empty"}]}},
        "a-b": {"type": "object", "properties": {"namespace": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": "self.__namespace__ == 'x'"}]},
        "bounded": {"type": "integer", "allOf": [{"x-kubernetes-validations": [{"rule": "self < 9"}]}]},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{"rule": "self.kind == 'Pod' && self.metadata.name != ''"}]},
        "nullable": {"type": "string", "nullable": true, "x-kubernetes-validations": [{"rule": "self == 'x'"}]},
    }, "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('t')"}]});
    let object = json!({
        "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "other", "uid": "1"},
        "list": [1, 0, -1], "map": {"k": ""}, "a-b": {"namespace": "y"}, "bounded": 10,
        "template": {"kind": "Job", "metadata": {"name": "n"}, "more": 1}, "nullable": null,
    });
    assert_eq!(
        errors(schema, object, None),
        [
            "<nil>: Invalid value: failed rule: self.metadata.name.startsWith('t')",
            "a-b: Invalid value: failed rule: self.__namespace__ == 'x'",
            "bounded: Invalid value: 10: failed rule: self < 9",
            "list[1]: Invalid value: 0: failed rule: self > 0",
            "list[2]: Invalid value: -1: failed rule: self > 0",
            "map[k]: Invalid value: \"\": empty",
            "template: Invalid value: failed rule: self.kind == 'Pod' && self.metadata.name != ''",
        ]
    );
}

#[test]
fn transition_rules_see_what_was_before() {
    let schema = || {
        json!({"type": "object", "properties": {
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
            "grown": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true, "message": "may not shrink"}]},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                    "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "fell"}]}},
        }})
    };
    let old = json!({"fixed": "a", "grown": 5, "keyed": [{"k": "x", "v": 3}, {"k": "y", "v": 1}]});
    let new = json!({"fixed": "b", "grown": 4, "keyed": [{"k": "y", "v": 0}, {"k": "z", "v": 0}, {"k": "x", "v": 3}]});
    assert_eq!(
        errors(schema(), new.clone(), Some(old)),
        [
            "fixed: Invalid value: \"b\": is immutable",
            "grown: Invalid value: 4: may not shrink",
            "keyed[0]: Invalid value: fell",
        ]
    );
    assert_eq!(errors(schema(), new, None), Vec::<String>::new());
}

#[test]
fn what_was_wrong_before_and_has_not_changed_only_warns() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'x'", "message": "not x"}]},
        "b": {"type": "string"},
        "plain": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'x'"}]}},
    }});
    let old = json!({"a": "y", "b": "1", "plain": ["y"]});
    let changed_elsewhere = json!({"a": "y", "b": "2", "plain": ["y"]});
    let found = validate(schema.clone(), changed_elsewhere, Some(old.clone()));
    assert_eq!(found.errors, []);
    assert_eq!(
        found.warnings,
        [
            "a: Invalid value: \"y\": not x",
            "plain[0]: Invalid value: \"y\": failed rule: self == 'x'"
        ]
    );
    let changed_there = json!({"a": "z", "b": "1", "plain": ["y", "x"]});
    assert_eq!(
        errors(schema, changed_there, Some(old)),
        [
            "a: Invalid value: \"z\": not x",
            "plain[0]: Invalid value: \"y\": failed rule: self == 'x'"
        ]
    );
}

#[test]
fn rules_that_cost_too_much_end_the_validation() {
    let numbers = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}, {"rule": "false"}]});
    let schema = json!({"type": "object", "properties": {"n": numbers}});
    let object = json!({"n": (0..500).collect::<Vec<i64>>()});
    assert_eq!(
        errors(schema.clone(), object.clone(), None),
        [
            "n: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"
        ]
    );
    let rules = Rules::compile(&Arc::new(schema)).unwrap();
    let mut budget = Budget::new(100);
    let findings = rules.validate(&object, None, &mut budget);
    assert_eq!(
        findings.errors[0].message(),
        "Invalid value: \"array\": validation failed due to running out of cost budget, no further validation rules will be run"
    );
    assert!(budget.remaining() < 0);
}

fn judged(schema: &Json) -> Vec<String> {
    let path = Path::ROOT;
    let path = path.field("openAPIV3Schema");
    rules::check(schema, &path, Known::default())
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn definitions_are_told_what_their_rules_do_wrong() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [
            {"rule": "self + 1 == 'x'"}, {"rule": "self"}, {"rule": "self == oldSelf"},
            {"rule": "self != ''", "messageExpression": "1"}, {"rule": "true", "optionalOldSelf": true}]},
        "list": {"type": "array", "maxItems": 3, "items": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
    }});
    let found = judged(&schema);
    let at = "openAPIV3Schema.properties[a].x-kubernetes-validations";
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(
        found[0].starts_with(&format!("{at}[0].rule: Invalid value: ")),
        "{}",
        found[0]
    );
    assert!(found[0].ends_with("compilation failed: ERROR: <input>:1:6: found no matching overload for '_+_' applied to '(string, int)'\n | self + 1 == 'x'\n | .....^"), "{}", found[0]);
    assert!(
        found[1].ends_with("cel expression must evaluate to a bool"),
        "{}",
        found[1]
    );
    assert!(
        found[2].ends_with("messageExpression must evaluate to a string"),
        "{}",
        found[2]
    );
    assert_eq!(
        found[3],
        format!(
            "{at}[4].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        )
    );
    assert_eq!(
        found[4],
        "openAPIV3Schema.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within openAPIV3Schema.properties[list]"
    );
}

#[test]
fn rules_that_can_cost_too_much_are_refused_unless_they_were_let_pass() {
    let rule = "self.all(x, self.all(y, x != y))";
    let list = |most: Option<u64>| {
        let mut list = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [{"rule": rule}]});
        if let Some(most) = most {
            list["maxItems"] = most.into();
        }
        json!({"type": "object", "properties": {"l": list}})
    };
    assert_eq!(judged(&list(Some(100))), Vec::<String>::new());
    let unbounded = list(None);
    let at = "openAPIV3Schema.properties[l].x-kubernetes-validations[0].rule";
    assert_eq!(
        judged(&unbounded),
        [
            format!("{at}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"),
            format!("{at}: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
            "openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)".to_owned(),
        ]
    );
    let path = Path::ROOT;
    let known = Known { unchanged: true };
    let kept = rules::check(&unbounded, &path.field("openAPIV3Schema"), known);
    assert_eq!(kept.len(), 2);
}
