//! Three-way merge on the client: what was applied last, what should be, what is.

use serde_json::{Map, Value};

/// Where `kubectl apply` remembers what was applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The merge patch that brings `live` to `wanted`, removing what `last` had and `wanted` has not.
/// Lists are compared whole; the server merges them by key where the patch is strategic.
pub fn three_way(last: Option<&Value>, wanted: &Value, live: &Value) -> Value {
    let empty = Value::Object(Map::new());
    diff(last.unwrap_or(&empty), wanted, live).unwrap_or(empty)
}

fn diff(last: &Value, wanted: &Value, live: &Value) -> Option<Value> {
    let (Value::Object(want), Value::Object(have)) = (wanted, live) else {
        return (wanted != live).then(|| wanted.clone());
    };
    let mut patch = Map::new();
    for (key, value) in want {
        match have.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(current) => {
                let before = last.get(key).unwrap_or(&Value::Null);
                if let Some(change) = diff(before, value, current) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    if let Value::Object(before) = last {
        for key in before
            .keys()
            .filter(|k| !want.contains_key(*k) && have.contains_key(*k))
        {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::three_way;

    #[test]
    fn only_what_differs_or_was_dropped_is_in_the_patch() {
        let cases: [(Option<Value>, Value, Value, Value); 4] = [
            (None, json!({"a": 1}), json!({"a": 1, "b": 2}), json!({})),
            (
                Some(json!({"a": 1, "b": 2})),
                json!({"a": 1}),
                json!({"a": 1, "b": 2, "c": 3}),
                json!({"b": null}),
            ),
            (
                Some(json!({"s": {"x": 1, "y": 1}})),
                json!({"s": {"x": 2}}),
                json!({"s": {"x": 1, "y": 1, "z": 1}}),
                json!({"s": {"x": 2, "y": null}}),
            ),
            (
                Some(json!({"l": [1]})),
                json!({"l": [1, 2]}),
                json!({"l": [1]}),
                json!({"l": [1, 2]}),
            ),
        ];
        for (last, wanted, live, want) in cases {
            assert_eq!(three_way(last.as_ref(), &wanted, &live), want);
        }
    }
}
