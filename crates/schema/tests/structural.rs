//! Schemas of custom resources: what is refused, and what the compiled tables do with objects.

use proptest::prelude::*;
use schema::{Path, Table, TypeId, Value, decode, default, structural};
use serde_json::json;

fn base() -> Table {
    structural::base(&Table::parse(include_str!("types.tsv")).unwrap())
}

fn compiled(schema: Value) -> (Table, TypeId) {
    structural::compile(&base(), "Foo", Some(&schema))
}

fn root(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn check(schema: &Value) -> Vec<String> {
    let options = structural::Options {
        status: false,
        structural: true,
    };
    structural::check(&base(), schema, &Path::ROOT.field("s"), options)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn schemas_that_are_refused() {
    let cases = [
        (
            json!({}),
            "s.type: Required value: must not be empty at the root",
        ),
        (
            root(json!({"a": {}})),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            root(json!({"a": {"type": "array"}})),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            root(json!({"a": {"type": "null"}})),
            "s.properties[a].type: Forbidden: type cannot be set to null, use nullable as an alternative",
        ),
        (
            root(json!({"a": {"type": "object", "$ref": "#/x"}})),
            "s.properties[a].$ref: Forbidden: $ref is not supported",
        ),
        (
            root(json!({"a": {"type": "string", "pattern": "("}})),
            "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression",
        ),
        (
            root(
                json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}),
            ),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName",
        ),
        (
            root(json!({"a": {"type": "string", "anyOf": [{"type": "string"}]}})),
            "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            root(
                json!({"a": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}}),
            ),
            "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            root(json!({"a": {"type": "string", "default": 3}})),
            "s.properties[a].default: Invalid value: \"integer\": ",
        ),
        (
            root(json!({"a": {"type": "object", "default": {"b": 1}}})),
            "s.properties[a].default: Invalid value: {\"b\":1}: must not have unknown fields",
        ),
        (
            root(json!({"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": true}})),
            "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            root(json!({"a": {"type": "string", "x-kubernetes-validations": [{"rule": " "}]}})),
            "s.properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
        (
            root(
                json!({"a": {"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}}),
            ),
            "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
    ];
    for (schema, expected) in cases {
        let errors = check(&schema);
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{schema}: {errors:#?}"
        );
    }
}

#[test]
fn schemas_that_are_taken() {
    for schema in [
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        root(
            json!({"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}),
        ),
        root(
            json!({"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}),
        ),
        root(
            json!({"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}}}}),
        ),
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}]}),
    ] {
        assert_eq!(check(&schema), [] as [&str; 0], "{schema}");
        assert!(structural::is_structural(&schema));
    }
}

#[test]
fn unknown_fields_are_pruned_and_told_of() {
    let (table, ty) = compiled(root(json!({
        "spec": {"type": "object", "properties": {
            "a": {"type": "integer"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object", "properties": {"x": {"type": "string"}}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "null": {"type": "string", "nullable": true},
        }},
    })));
    let body = json!({
        "apiVersion": "x/v1", "kind": "Foo", "metadata": {"name": "a", "bogus": 1},
        "extra": 1,
        "spec": {
            "a": "text where a number belongs",
            "b": {"c": null},
            "free": {"any": {"thing": null}, "known": {"x": "1", "y": 2}},
            "list": [{"n": "1", "m": 2}, 5],
            "map": {"x": null, "y": "z"},
            "template": {"kind": "Pod", "metadata": {"name": "p", "nope": 1}, "spec": {}},
            "null": null,
        },
    });
    let decoded = decode::json(&table, ty, body.to_string().as_bytes()).unwrap();
    assert_eq!(
        decoded.value,
        json!({
            "apiVersion": "x/v1", "kind": "Foo", "metadata": {"name": "a"},
            "spec": {
                "a": "text where a number belongs",
                "free": {"any": {"thing": null}, "known": {"x": "1"}},
                "list": [{"n": "1"}, 5],
                "map": {"x": null, "y": "z"},
                "template": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
                "null": null,
            },
        })
    );
    let unknown = [
        "unknown field \"metadata.bogus\"",
        "unknown field \"extra\"",
        "unknown field \"spec.b\"",
        "unknown field \"spec.free.known.y\"",
        "unknown field \"spec.list[0].m\"",
        "unknown field \"spec.template.metadata.nope\"",
    ];
    let found = decoded.strict;
    assert_eq!(found, unknown);
}

#[test]
fn metadata_is_typed_and_duplicates_are_found_everywhere() {
    let (table, ty) =
        compiled(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    assert!(decode::json(&table, ty, br#"{"metadata": "x"}"#).is_err());
    assert!(decode::json(&table, ty, br#"{"metadata": {"labels": {"a": 1}}}"#).is_err());
    let decoded = decode::json(&table, ty, br#"{"a": {"b": [{"c": 1, "c": 2}]}}"#).unwrap();
    assert_eq!(decoded.strict, ["duplicate field \"a.b[0].c\""]);
}

#[test]
fn defaults_reach_into_lists_and_take_the_place_of_nulls() {
    let (table, ty) = compiled(root(json!({
        "a": {"type": "integer", "default": 3},
        "o": {"type": "object", "default": {}, "properties": {"b": {"type": "string", "default": "x"}}},
        "l": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "boolean", "default": true}}}},
        "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"d": {"type": "integer", "default": 1}}}},
        "n": {"type": "string", "default": "y", "nullable": true},
    })));
    let body = br#"{"a": null, "l": [{}, {"c": false}], "m": {"k": {}}, "n": null}"#;
    let mut object = decode::json(&table, ty, body).unwrap().value;
    default::apply(&table, ty, &mut object);
    assert_eq!(
        object,
        json!({"a": 3, "o": {"b": "x"}, "l": [{"c": true}, {"c": false}], "m": {"k": {"d": 1}},
            "n": null})
    );
}

#[test]
fn values_are_judged_as_upstream_words_it() {
    let (table, ty) = compiled(root(json!({
        "spec": {"type": "object", "required": ["must"], "properties": {
            "must": {"type": "string"},
            "int": {"type": "integer", "minimum": 2, "maximum": 5, "exclusiveMaximum": true},
            "text": {"type": "string", "maxLength": 3, "minLength": 2, "pattern": "^a"},
            "one": {"type": "string", "enum": ["b", "a"]},
            "date": {"type": "string", "format": "date"},
            "list": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "integer"}},
            "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
            "either": {"x-kubernetes-int-or-string": true},
            "step": {"type": "number", "multipleOf": 0.5},
            "any": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            "deny": {"type": "string", "not": {"enum": ["bad"]}},
        }},
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 2}}},
    })));
    let cases = [
        (json!({}), "spec.must: Required value"),
        (
            json!({"must": 1}),
            "spec.must: Invalid value: \"integer\": spec.must in body must be of type string: \"integer\"",
        ),
        (
            json!({"must": "", "int": 1}),
            "spec.int: Invalid value: 1: spec.int in body should be greater than or equal to 2",
        ),
        (
            json!({"must": "", "int": 5}),
            "spec.int: Invalid value: 5: spec.int in body should be less than 5",
        ),
        (
            json!({"must": "", "int": 2.5}),
            "spec.int: Invalid value: \"number\": spec.int in body must be of type integer: \"number\"",
        ),
        (
            json!({"must": "", "text": "abcd"}),
            "spec.text: Too long: may not be more than 3 bytes",
        ),
        (
            json!({"must": "", "text": "a"}),
            "spec.text: Invalid value: \"a\": spec.text in body should be at least 2 chars long",
        ),
        (
            json!({"must": "", "text": "bb"}),
            "spec.text: Invalid value: \"bb\": spec.text in body should match '^a'",
        ),
        (
            json!({"must": "", "one": "c"}),
            "spec.one: Unsupported value: \"c\": supported values: \"b\", \"a\"",
        ),
        (
            json!({"must": "", "date": "now"}),
            "spec.date: Invalid value: \"now\": spec.date in body must be of type date: \"now\"",
        ),
        (
            json!({"must": "", "list": [1]}),
            "spec.list: Invalid value: 1: spec.list in body should have at least 2 items",
        ),
        (
            json!({"must": "", "list": [1, 2, 3, 4]}),
            "spec.list: Too many: 4: must have at most 3 items",
        ),
        (
            json!({"must": "", "list": [1, null]}),
            "spec.list[1]: Invalid value: \"null\": spec.list[1] in body must be of type integer: \"null\"",
        ),
        (
            json!({"must": "", "map": {"a": "", "b": ""}}),
            "spec.map: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"must": "", "map": {"a": 1}}),
            "spec.map.a: Invalid value: \"integer\": spec.map.a in body must be of type string: \"integer\"",
        ),
        (
            json!({"must": "", "either": true}),
            "spec.either: Invalid value: \"boolean\": spec.either in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"must": "", "step": 0.75}),
            "spec.step: Invalid value: 0.75: spec.step in body should be a multiple of 0.5",
        ),
        (
            json!({"must": "", "any": {}}),
            "<nil>: Invalid value: \"\": \"spec.any\" must validate one and only one schema (oneOf). Found none valid",
        ),
        (
            json!({"must": "", "any": {"a": "", "b": ""}}),
            "<nil>: Invalid value: \"\": \"spec.any\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            json!({"must": "", "deny": "bad"}),
            "<nil>: Invalid value: \"\": \"spec.deny\" must not validate the schema (not)",
        ),
    ];
    for (spec, expected) in cases {
        let object = json!({"spec": spec});
        let errors = structural::validate(&table, ty, &object, None);
        assert_eq!(
            errors.first().map(ToString::to_string).as_deref(),
            Some(expected),
            "{object}"
        );
        // What was so before is not judged again.
        assert!(structural::validate(&table, ty, &object, Some(&object)).is_empty());
    }
    let errors = structural::validate(&table, ty, &json!({"metadata": {"name": "abc"}}), None);
    assert_eq!(
        errors[0].to_string(),
        "metadata.name: Too long: may not be more than 2 bytes"
    );
    let good =
        json!({"spec": {"must": "x", "int": 4.0, "step": 1.5, "either": "5%", "any": {"a": ""}}});
    assert!(structural::validate(&table, ty, &good, None).is_empty());
}

#[test]
fn only_what_changed_is_judged() {
    let (table, ty) = compiled(root(json!({
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "string"}, "v": {"type": "integer", "minimum": 5}}}},
        "atomic": {"type": "array", "items": {"type": "integer", "minimum": 5}},
    })));
    let old = json!({"list": [{"n": "a", "v": 1}, {"n": "b", "v": 1}], "atomic": [1]});
    let new = json!({"list": [{"n": "b", "v": 1}, {"n": "c", "v": 2}], "atomic": [1, 6]});
    let paths: Vec<String> = structural::validate(&table, ty, &new, Some(&old))
        .into_iter()
        .map(|error| error.path)
        .collect();
    assert_eq!(paths, ["atomic[0]", "list[1].v"]);
}

#[test]
fn lists_with_identities_have_no_doubles() {
    let (table, ty) = compiled(root(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
    })));
    let object = json!({"set": ["a", "b", "a"], "map": [{"n": "x"}, {"n": "x", "o": 1}]});
    let errors: Vec<String> = structural::validate_lists(&table, ty, &object)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "map[1]: Duplicate value: {\"n\":\"x\"}",
            "set[2]: Duplicate value: \"a\""
        ]
    );
}

#[test]
fn a_schema_of_any_size_is_judged_quickly() {
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"type": "object", "properties": {"a": deep}, "anyOf": [{}, {}]});
    }
    let _ = check(&deep);
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let wide = root(json!({"a": {"type": "string", "enum": many}}));
    assert!(check(&wide).is_empty());
    let alternatives: Vec<Value> = (0..2_000)
        .map(|n| json!({"type": "x", "minimum": n}))
        .collect();
    assert!(
        !check(&root(
            json!({"a": {"type": "integer", "anyOf": alternatives}})
        ))
        .is_empty()
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        "[a-z]{0,6}".prop_map(Value::from),
        prop::sample::select(vec![
            "object", "array", "string", "integer", "(", "map", "set"
        ])
        .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "additionalProperties",
        "anyOf",
        "allOf",
        "not",
        "enum",
        "default",
        "required",
        "pattern",
        "format",
        "minimum",
        "maxLength",
        "metadata",
        "nullable",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-validations",
        "a",
        "b",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_schema_or_refused(schema in any_json(), object in any_json()) {
        let _ = check(&schema);
        let _ = structural::unknown_formats(&schema);
        let (table, ty) = structural::compile(&base(), "Foo", Some(&schema));
        if let Ok(decoded) = decode::value(&table, ty, object.clone()) {
            let mut value = decoded.value;
            decode::normalize(&table, ty, &mut value);
            default::apply(&table, ty, &mut value);
            let _ = structural::validate(&table, ty, &value, Some(&object));
            let _ = structural::validate_lists(&table, ty, &value);
            let again = decode::value(&table, ty, value.clone()).map(|decoded| decoded.value);
            prop_assert_eq!(again.ok(), Some(value));
        }
    }
}

#[test]
fn patterns_that_are_too_large_together_are_refused() {
    let many = |count: usize, pattern: &str| {
        let properties = (0..count).map(|n| {
            (
                format!("p{n}"),
                json!({"type": "string", "pattern": pattern}),
            )
        });
        root(Value::Object(properties.collect()))
    };
    // Tens of thousands of usual ones are fine.
    assert_eq!(
        check(&many(20_000, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")),
        Vec::<String>::new()
    );
    let errors = check(&many(100, r"\pL{50}"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].ends_with("Forbidden: the patterns of the schema are too large together"));
}

#[test]
fn what_takes_too_long_to_validate_is_refused() {
    let alternatives: Vec<Value> = (0..3_000)
        .map(|n| json!({"enum": [format!("v{n}")]}))
        .collect();
    let item = json!({"type": "string", "anyOf": alternatives});
    let (table, ty) = compiled(root(json!({"list": {"type": "array", "items": item}})));
    let object = |count: usize| json!({"list": vec!["v2999"; count]});
    let wrong = |object: &Value| structural::validate(&table, ty, object, None);
    assert_eq!(wrong(&object(10)), []);
    let errors = wrong(&object(10_000));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].to_string().contains("takes too long"),
        "{errors:?}"
    );
}

#[test]
fn defaults_do_not_grow_an_object_without_bound() {
    let large = json!({"k": "v".repeat(100_000)});
    let item = json!({"type": "object", "properties": {"x": {
        "type": "object", "additionalProperties": {"type": "string"}, "default": large}}});
    let (table, ty) = compiled(root(json!({"list": {"type": "array", "items": item}})));
    let defaulted = |count: usize| {
        let mut object = json!({"list": vec![json!({}); count]});
        default::apply(&table, ty, &mut object);
        let items = object["list"].as_array().unwrap();
        items.iter().filter(|item| item.get("x").is_some()).count()
    };
    assert_eq!(defaulted(100), 100);
    // Some more than what any store keeps, and not 10,000 times the default.
    assert!((90..200).contains(&defaulted(10_000)));
}
