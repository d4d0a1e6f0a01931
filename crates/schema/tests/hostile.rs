//! Hostile input to every decoder and patch engine: arbitrary values under the names of known fields,
//! good documents broken in a few places, and arbitrary bytes. Nothing may panic, and what is answered
//! must hold together. `PROPTEST_CASES` says how many of each are tried.

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::select,
};
use schema::{Value, decode, managed, patch, proto};
use serde_json::json;

use crate::{TABLE, thing};

/// Names that mean something to the table, to patches or to field management.
const NAMES: [&str; 24] = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "name",
    "labels",
    "items",
    "replicas",
    "value",
    "inner",
    "flags",
    "limits",
    "port",
    "ports",
    "free",
    "managedFields",
    "fieldsV1",
    "$patch",
    "$retainKeys",
    "$setElementOrder/items",
    "$deleteFromPrimitiveList/flags",
    "f:spec",
    "k:{\"name\":\"a\"}",
    ".",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&NAMES[..]).prop_map(str::to_owned),
        1 => "[a-z$:./~0-9\u{e4}]{0,6}",
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(
            &[
                "delete",
                "replace",
                "merge",
                "a",
                "1Ki",
                "-",
                "2026-01-02T03:04:05Z",
                "Apply"
            ][..]
        )
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object whose parts are where the table has them, but of any form.
fn object() -> impl Strategy<Value = Value> {
    (value(), value(), value()).prop_map(|(spec, metadata, items)| {
        let mut object =
            json!({"apiVersion": "test/v1", "kind": "Thing", "metadata": metadata, "spec": spec});
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.insert("items".to_owned(), items);
        }
        object
    })
}

/// Breaks a text in a few places.
fn broken(text: Vec<u8>, wounds: &[(u16, u8)]) -> Vec<u8> {
    let mut text = text;
    for (at, byte) in wounds {
        if text.is_empty() {
            break;
        }
        let at = usize::from(*at) % text.len();
        match byte % 3 {
            0 => text[at] = *byte,
            1 => drop(text.remove(at)),
            _ => text.truncate(at),
        }
    }
    text
}

fn wounds() -> impl Strategy<Value = Vec<(u16, u8)>> {
    vec((any::<u16>(), any::<u8>()), 0..4)
}

fn manager() -> managed::Manager {
    managed::Manager {
        name: "m".to_owned(),
        operation: managed::Operation::Apply,
        api_version: "test/v1".to_owned(),
        subresource: String::new(),
        time: "2026-01-02T03:04:05Z".to_owned(),
    }
}

proptest! {
    #[test]
    fn what_decodes_decodes_again_to_the_same(object in object(), wounds in wounds()) {
        let text = broken(object.to_string().into_bytes(), &wounds);
        if let Ok(once) = decode::json(&TABLE, thing(), &text) {
            let again = decode::value(&TABLE, thing(), once.value.clone()).unwrap();
            prop_assert_eq!(&again.value, &once.value);
            prop_assert_eq!(again.strict, Vec::<String>::new());
            prop_assert!(once.strict.len() <= decode::MAX_STRICT_ERRORS);
        }
        let _ = decode::yaml(&TABLE, thing(), &text);
        let _ = decode::yaml_untyped(&text);
        let _ = decode::json_untyped(&text);
    }

    #[test]
    fn yaml_of_any_kind_is_answered(text in "[a-z0-9:&*!|>{}\\[\\]?,'\"# \n-]{0,120}") {
        let _ = decode::yaml(&TABLE, thing(), text.as_bytes());
        let _ = decode::yaml_untyped(text.as_bytes());
    }

    #[test]
    fn protobuf_with_wounds_is_answered(object in object(), wounds in wounds()) {
        let Ok(good) = decode::value(&TABLE, thing(), object) else { return Ok(()) };
        let Ok(bytes) = proto::encode(&TABLE, thing(), &good.value) else { return Ok(()) };
        let bytes = broken(proto::envelope::wrap("test/v1", "Thing", &bytes), &wounds);
        if let Ok(envelope) = proto::envelope::unwrap(&bytes) {
            let _ = proto::decode(&TABLE, thing(), envelope.raw);
        }
        let _ = proto::decode(&TABLE, thing(), &bytes);
    }

    #[test]
    fn patches_of_any_form_are_answered(doc in object(), change in value(), wounds in wounds()) {
        let merged = patch::merge(&doc, &change);
        prop_assert_eq!(patch::merge(&merged, &change), merged);
        let _ = patch::strategic(&TABLE, thing(), &doc, &change);
        let operations = json!([
            {"op": "add", "path": "/spec/items/0", "value": change},
            {"op": "move", "from": "/metadata", "path": "/spec/x"},
            {"op": "copy", "from": "", "path": "/spec/~0~1"},
            {"op": "test", "path": "/spec", "value": change},
        ]);
        let _ = patch::json(&doc, &broken(operations.to_string().into_bytes(), &wounds));
        let _ = patch::json(&doc, change.to_string().as_bytes());
    }

    #[test]
    fn managed_fields_of_any_form_are_answered(live in object(), applied in object(), fields in value()) {
        let Ok(mut live) = decode::value(&TABLE, thing(), live).map(|d| d.value) else { return Ok(()) };
        let Ok(applied) = decode::value(&TABLE, thing(), applied).map(|d| d.value) else { return Ok(()) };
        if live["metadata"].is_object() {
            live["metadata"]["managedFields"] = json!([{
                "manager": "o", "operation": "Apply", "apiVersion": "test/v1", "fieldsType": "FieldsV1",
                "fieldsV1": fields}]);
        }
        for force in [false, true] {
            let _ = managed::apply(&TABLE, thing(), Some(&live), &applied, &manager(), force);
            let _ = managed::apply(&TABLE, thing(), None, &applied, &manager(), force);
        }
        let mut new = applied;
        managed::update(&TABLE, thing(), Some(&live), &mut new, &manager());
    }
}
