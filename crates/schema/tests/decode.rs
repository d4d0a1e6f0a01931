//! Bodies to objects.

use schema::{Value, decode, default};
use serde_json::json;

use crate::{TABLE, thing};

fn decoded(body: &Value) -> decode::Decoded {
    decode::json(&TABLE, thing(), body.to_string().as_bytes()).unwrap()
}

fn error(body: &str) -> String {
    decode::json(&TABLE, thing(), body.as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn unknown_and_duplicate_fields_have_full_paths() {
    let body = br#"{"sepc":{},"spec":{"replicas":1,"replicas":2,"replica":1,
        "items":[{"name":"a"},{"name":"b","vlaue":"x","inner":{"cuont":1}}]},
        "metadata":{"labels":{"a":"1","a":"2"},"name":"x","name":"y"}}"#;
    let decoded = decode::json(&TABLE, thing(), body).unwrap();
    assert_eq!(
        decoded.strict,
        [
            "unknown field \"sepc\"",
            "duplicate field \"spec.replicas\"",
            "unknown field \"spec.replica\"",
            "unknown field \"spec.items[1].vlaue\"",
            "unknown field \"spec.items[1].inner.cuont\"",
            "duplicate field \"metadata.labels.a\"",
            "duplicate field \"metadata.name\"",
        ]
    );
    assert_eq!(
        decoded.value,
        json!({"spec": {"replicas": 2, "items": [{"name": "a"}, {"name": "b", "inner": {}}]},
               "metadata": {"labels": {"a": "2"}, "name": "y"}})
    );
}

#[test]
fn strict_errors_are_bounded_and_told_once() {
    let fields: String = (0..300).map(|i| format!("\"f{i}\":1,")).collect();
    let body = format!("{{{fields}\"g\":1,\"g\":1}}");
    let decoded = decode::json(&TABLE, thing(), body.as_bytes()).unwrap();
    assert_eq!(decoded.strict.len(), decode::MAX_STRICT_ERRORS);
    let twice = decode::json(&TABLE, thing(), br#"{"g":1,"g":2}"#).unwrap();
    assert_eq!(twice.strict, ["unknown field \"g\""]);
}

#[test]
fn nulls_are_dropped_and_are_zero_as_elements() {
    let body = json!({"metadata": null, "spec": {
        "replicas": null, "flags": [null, "a"], "items": [null],
        "limits": {"cpu": null}, "free": {"kept": null}, "empty": null}});
    assert_eq!(
        decoded(&body).value,
        json!({"spec": {"flags": ["", "a"], "items": [{}], "limits": {"cpu": "0"},
               "free": {"kept": null}}})
    );
}

#[test]
fn forms_are_brought_into_one() {
    let spec = json!({
        "limits": {"cpu": 2, "memory": 1.5, "x": "100m"},
        "port": 80, "at": "2026-01-02T03:04:05.1234567+01:00", "every": "90s"});
    let body =
        json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.9+01:00"}, "spec": spec});
    assert_eq!(
        decoded(&body).value,
        json!({"metadata": {"creationTimestamp": "2026-01-02T02:04:05Z"}, "spec": {
            "limits": {"cpu": "2", "memory": "1.5", "x": "100m"},
            "port": 80, "at": "2026-01-02T02:04:05.123456Z", "every": "1m30s"}})
    );
    assert_eq!(
        decoded(&json!({"spec": {"port": "http"}})).value["spec"]["port"],
        "http"
    );
}

#[test]
fn a_canonical_form_of_quantities_is_used_where_given() {
    let table = TABLE
        .clone()
        .with_quantity_form(|text| (text != "bad").then(|| text.to_uppercase()));
    let spec = |cpu: &str| format!(r#"{{"spec":{{"limits":{{"cpu":"{cpu}"}}}}}}"#);
    let good = decode::json(&table, thing(), spec("1m").as_bytes()).unwrap();
    assert_eq!(good.value["spec"]["limits"]["cpu"], "1M");
    assert!(decode::json(&table, thing(), spec("bad").as_bytes()).is_err());
}

#[test]
fn wrong_types_are_worded_as_upstream_words_them() {
    for (body, expected) in [
        (
            r#"{"spec":{"replicas":"1"}}"#,
            "json: cannot unmarshal string into Go struct field ThingSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field ThingSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field ThingSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"items":[{"name":5}]}}"#,
            "json: cannot unmarshal number into Go struct field Item.spec.items.name of type string",
        ),
        (
            r#"{"spec":{"items":{}}}"#,
            "json: cannot unmarshal object into Go struct field ThingSpec.spec.items of type []v1.Item",
        ),
        (
            r#"{"metadata":{"labels":["a"]}}"#,
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            r#"{"metadata":{"labels":{"a":true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels.a of type string",
        ),
        (
            r#"[]"#,
            "json: cannot unmarshal array into Go value of type v1.Thing",
        ),
        (
            r#"{"spec":{"limits":{"cpu":"1 core"}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            r#"{"metadata":{"creationTimestamp":"today"}}"#,
            "parsing time \"today\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"today\" as \"2006\"",
        ),
        (
            r#"{"spec":{"data":{"a":"!!!!"}}}"#,
            "illegal base64 data at input byte 0",
        ),
        (
            r#"{"spec":{"every":"1 day"}}"#,
            "time: unknown unit \" day\" in duration \"1 day\"",
        ),
        (r#"{"spec":"#, "unexpected end of JSON input"),
        (
            r#"{"a":x}"#,
            "invalid character 'x' looking for beginning of value",
        ),
        (r#"{} {}"#, "invalid character '{' after top-level value"),
    ] {
        assert_eq!(error(body), expected, "{body}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |n: usize| {
        format!(
            r#"{{"spec":{{"free":{}{}}}}}"#,
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    assert!(decode::json(&TABLE, thing(), deep(decode::MAX_DEPTH - 2).as_bytes()).is_ok());
    assert_eq!(error(&deep(100_000)), "exceeded max depth of 127");
    assert!(decode::yaml(&TABLE, thing(), deep(100_000).as_bytes()).is_err());
}

#[test]
fn yaml_reads_as_upstream_reads_it() {
    let body = "\
spec:
  replicas: 0o2
  paused: yes
  flags: [a, \"1\"]
  items:
  - &base {name: a, value: '5'}
  - <<: *base
    name: b
metadata:
  name: x
  labels:
    80: \"http\"
";
    let decoded = decode::yaml(&TABLE, thing(), body.as_bytes()).unwrap();
    assert_eq!(
        decoded.value,
        json!({"spec": {"replicas": 2, "paused": true, "flags": ["a", "1"],
                        "items": [{"name": "a", "value": "5"}, {"name": "b", "value": "5"}]},
               "metadata": {"name": "x", "labels": {"80": "http"}}})
    );
    let strict = decode::yaml(
        &TABLE,
        thing(),
        b"spec:\n  replica: 1\n  paused: true\n  paused: false\n",
    )
    .unwrap();
    assert_eq!(
        strict.strict,
        [
            "yaml: unmarshal errors:\n  line 4: key \"paused\" already set in map",
            "unknown field \"spec.replica\"",
        ]
    );
    let hidden = decode::yaml(&TABLE, thing(), b"odd:\n  a: 1\n  a: 2\n").unwrap();
    assert_eq!(
        hidden.strict,
        [
            "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map",
            "unknown field \"odd\"",
        ]
    );
    assert_eq!(strict.value, json!({"spec": {"paused": false}}));
    let wrong = decode::yaml(&TABLE, thing(), b"metadata: {name: 5}").unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"
    );
    assert!(
        decode::yaml(&TABLE, thing(), b"a: [")
            .unwrap_err()
            .to_string()
            .starts_with("error converting YAML to JSON: yaml: ")
    );
}

#[test]
fn normalizing_leaves_what_upstream_writes() {
    let mut object = json!({"metadata": {"name": "", "labels": {}}, "spec": {
        "replicas": 0, "paused": false, "note": "", "items": [], "port": null,
        "inner": {"count": 0, "name": ""}, "empty": {}, "hostPath": ""}});
    decode::normalize(&TABLE, thing(), &mut object);
    assert_eq!(
        object,
        json!({"metadata": {}, "spec": {"replicas": 0, "note": "", "inner": {"count": 0}, "empty": {}}})
    );
}

#[test]
fn defaults_go_through_lists_and_fill_what_is_always_written() {
    let mut object = json!({"spec": {"items": [{"name": "a"}, {"name": "b", "protocol": "UDP"}]}});
    default::apply(&TABLE, thing(), &mut object);
    assert_eq!(
        object,
        json!({"metadata": {}, "spec": {
            "items": [{"name": "a", "protocol": "TCP"}, {"name": "b", "protocol": "UDP"}],
            "note": "none", "inner": {"count": 0}}})
    );
}

#[test]
fn values_in_memory_are_checked_like_bodies() {
    let found = decode::value(&TABLE, thing(), json!({"spec": {"a": 1, "replicas": 1}})).unwrap();
    assert_eq!(found.strict, ["unknown field \"spec.a\""]);
    assert_eq!(found.value, json!({"spec": {"replicas": 1}}));
    assert!(decode::value(&TABLE, thing(), json!({"spec": 1})).is_err());
}

#[test]
fn untyped_json_is_kept_whole_and_tells_of_what_comes_twice() {
    let body = br#"{"a":{"b":1,"b":2.5},"list":[{"x":null,"x":true}],"big":18446744073709551615}"#;
    let (value, strict) = decode::json_untyped(body).unwrap();
    assert_eq!(
        value,
        json!({"a": {"b": 2.5}, "list": [{"x": true}], "big": u64::MAX})
    );
    assert_eq!(
        strict,
        ["duplicate field \"a.b\"", "duplicate field \"list[0].x\""]
    );
    assert!(decode::json_untyped(b"{").is_err());
}
