//! JSON and merge patches; strategic ones on the small table.

use proptest::prelude::*;
use schema::{
    Value,
    patch::{self, PatchError},
};
use serde_json::json;

use crate::{TABLE, thing};

fn json_patch(doc: &Value, operations: Value) -> Result<Value, String> {
    patch::json(doc, operations.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn json_patch_operations() {
    let doc = json!({"a": {"b": [1, 2, 3]}, "c/d": 1, "e~f": 2});
    for (operations, expected) in [
        (
            json!([{"op": "add", "path": "/a/b/1", "value": 9}]),
            json!([1, 9, 2, 3]),
        ),
        (
            json!([{"op": "add", "path": "/a/b/-", "value": 9}]),
            json!([1, 2, 3, 9]),
        ),
        (json!([{"op": "remove", "path": "/a/b/0"}]), json!([2, 3])),
        (
            json!([{"op": "replace", "path": "/a/b/-1", "value": 9}]),
            json!([1, 2, 9]),
        ),
        (
            json!([{"op": "move", "from": "/c~1d", "path": "/a/b/0"}]),
            json!([1, 1, 2, 3]),
        ),
        (
            json!([{"op": "copy", "from": "/e~0f", "path": "/a/b/3"}]),
            json!([1, 2, 3, 2]),
        ),
        (
            json!([{"op": "test", "path": "/a/b", "value": [1, 2.0, 3]}]),
            json!([1, 2, 3]),
        ),
        (
            json!([{"op": "test", "path": "/nothing", "value": null}]),
            json!([1, 2, 3]),
        ),
    ] {
        assert_eq!(
            json_patch(&doc, operations.clone()).unwrap()["a"]["b"],
            expected,
            "{operations}"
        );
    }
}

#[test]
fn json_patch_errors_are_upstreams() {
    let doc = json!({"a": {"b": [1]}});
    for (operation, expected) in [
        (
            json!({"op": "add", "path": "/x/y", "value": 1}),
            "add operation does not apply: doc is missing path: \"/x/y\": missing value",
        ),
        (
            json!({"op": "add", "path": "/a/b/5", "value": 1}),
            "error in add for path: '/a/b/5': Unable to access invalid index: 5: invalid index referenced",
        ),
        (
            json!({"op": "remove", "path": "/a/c"}),
            "error in remove for path: '/a/c': Unable to remove nonexistent key: c: missing value",
        ),
        (
            json!({"op": "replace", "path": "/a/c", "value": 1}),
            "replace operation does not apply: doc is missing key: /a/c: missing value",
        ),
        (
            json!({"op": "test", "path": "/a/b", "value": [2]}),
            "testing value /a/b failed: test failed",
        ),
        (json!({"op": "sing", "path": "/a"}), "Unexpected kind: sing"),
    ] {
        assert_eq!(
            json_patch(&doc, json!([operation])),
            Err(expected.to_owned())
        );
    }
    assert!(matches!(
        patch::json(&doc, b"{}"),
        Err(PatchError::Malformed(_))
    ));
}

#[test]
fn json_patch_is_bounded() {
    let many = json!(vec![
        json!({"op": "test", "path": "/x", "value": null});
        patch::MAX_OPERATIONS + 1
    ]);
    assert_eq!(
        patch::json(&json!({}), many.to_string().as_bytes()),
        Err(PatchError::TooLarge(patch::MAX_OPERATIONS + 1))
    );
    let doubling = json!(vec![
        json!({"op": "copy", "from": "/a", "path": "/a/-"});
        40
    ]);
    let error = json_patch(&json!({"a": ["xxxxxxxx"]}), doubling).unwrap_err();
    assert!(
        error.contains("accumulated size increase of copy"),
        "{error}"
    );
}

#[test]
fn merge_patch_examples() {
    for (doc, change, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [1]}),
            json!({"a": [2, 3]}),
            json!({"a": [2, 3]}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
        (json!([1]), json!({"a": 1}), json!({"a": 1})),
    ] {
        assert_eq!(patch::merge(&doc, &change), expected, "{doc} {change}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..5).prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn items() -> impl Strategy<Value = Vec<(String, i32)>> {
    prop::collection::btree_map("[a-f]", 0..9, 0..5)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn spec(items: &[(String, i32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value.to_string()}))
        .collect();
    json!({"spec": {"items": items}})
}

proptest! {
    /// A merge patch leaves nothing to do for itself.
    #[test]
    fn merging_twice_is_merging_once(doc in value(), change in value()) {
        let once = patch::merge(&doc, &change);
        prop_assert_eq!(patch::merge(&once, &change), once);
    }

    #[test]
    fn replacing_the_whole_document_gives_the_new_one(doc in value(), new in value()) {
        prop_assume!(new.is_object() || new.is_array());
        let operations = json!([{"op": "replace", "path": "", "value": new}]);
        prop_assert_eq!(json_patch(&doc, operations).unwrap(), new);
    }

    /// Every element of the patch is in the result as the patch has it; the others are as they
    /// were; the patch's order and the document's order are kept.
    #[test]
    fn merged_lists_have_both_sides_in_order(old in items(), new in items()) {
        let merged = patch::strategic(&TABLE, thing(), &spec(&old), &spec(&new)).unwrap();
        let empty = Vec::new();
        let merged: Vec<(String, String)> = merged["spec"]["items"]
            .as_array()
            .unwrap_or(&empty)
            .iter()
            .map(|item| (item["name"].as_str().unwrap().to_owned(), item["value"].as_str().unwrap().to_owned()))
            .collect();
        let in_new = |name: &str| new.iter().any(|(known, _)| known == name);
        let from_patch: Vec<(String, String)> =
            merged.iter().filter(|(name, _)| in_new(name)).cloned().collect();
        let shown = |list: &[(String, i32)]| -> Vec<(String, String)> {
            list.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
        };
        prop_assert_eq!(from_patch, shown(&new));
        let kept: Vec<(String, String)> =
            merged.iter().filter(|(name, _)| !in_new(name)).cloned().collect();
        let expected: Vec<(String, i32)> =
            old.iter().filter(|(name, _)| !in_new(name)).cloned().collect();
        prop_assert_eq!(kept, shown(&expected));
    }

    /// What kubectl does: with an order directive the named elements come exactly in that order.
    #[test]
    fn the_order_directive_orders(old in items(), new in items()) {
        let mut change = spec(&new);
        let order: Vec<Value> = new.iter().map(|(name, _)| json!({"name": name})).collect();
        change["spec"]["$setElementOrder/items"] = order.into();
        prop_assume!(!new.is_empty());
        let merged = patch::strategic(&TABLE, thing(), &spec(&old), &change).unwrap();
        let names: Vec<&str> = merged["spec"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .filter(|name| new.iter().any(|(known, _)| known == name))
            .collect();
        let expected: Vec<&str> = new.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, expected);
    }
}
