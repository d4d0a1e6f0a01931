//! JSON patch (RFC 6902).

use super::{MAX_COPIED, MAX_OPERATIONS, PatchError};
use crate::{Map, Value};

pub(super) fn apply(doc: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations: Vec<Map<String, Value>> =
        serde_json::from_slice(patch).map_err(|error| PatchError::Malformed(error.to_string()))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(operations.len()));
    }
    let mut out = doc.clone();
    let mut copied = 0;
    for operation in &operations {
        let test = text(operation, "op") == Some("test");
        step(&mut out, operation, &mut copied).map_err(|error| {
            if test {
                PatchError::TestFailed(error)
            } else {
                PatchError::NotApplicable(error)
            }
        })?;
    }
    Ok(out)
}

fn step(doc: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), String> {
    let kind = text(operation, "op").unwrap_or("unknown");
    let path = || {
        text(operation, "path").ok_or_else(|| {
            format!("{kind} operation failed to decode path: operation missing path field: missing value")
        })
    };
    let from = || {
        text(operation, "from").ok_or_else(|| {
            format!("{kind} operation failed to decode from: operation, missing from field: missing value")
        })
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match kind {
        "add" => add(doc, path()?, value(), |path| {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }),
        "remove" => {
            let path = path()?;
            let (parent, key) = parent(doc, path).ok_or_else(|| {
                format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
            })?;
            take(parent, &key)
                .map(drop)
                .map_err(|error| format!("error in remove for path: '{path}': {error}"))
        }
        "replace" => replace(doc, path()?, value()),
        "move" => {
            let from = from()?;
            let (parent, key) = parent(doc, from).ok_or_else(|| {
                format!(
                    "move operation does not apply: doc is missing from path: {from}: missing value"
                )
            })?;
            let moved = take(parent, &key)
                .map_err(|error| format!("error in move for path: '{key}': {error}"))?;
            add(doc, path()?, moved, |path| {
                format!(
                    "move operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })
        }
        "copy" => {
            let from = from()?;
            let (parent, key) = parent(doc, from).ok_or_else(|| {
                format!(
                    "copy operation does not apply: doc is missing from path: {from}: missing value"
                )
            })?;
            let copy = get(parent, &key)
                .map_err(|error| format!("error in copy for from: '{from}': {error}"))?
                .clone();
            // A chain of copies can double the object each time.
            *copied += copy.to_string().len();
            if *copied > MAX_COPIED {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                ));
            }
            add(doc, path()?, copy, |path| {
                format!(
                    "copy operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })
        }
        "test" => test(doc, path()?, &value()),
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn text<'a>(operation: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    operation.get(key).and_then(Value::as_str)
}

fn replace(doc: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array".to_owned());
        }
        *doc = value;
        return Ok(());
    }
    let (parent, key) = parent(doc, path).ok_or_else(|| {
        format!("replace operation does not apply: doc is missing path: {path}: missing value")
    })?;
    let missing =
        || format!("replace operation does not apply: doc is missing key: {path}: missing value");
    match parent {
        Value::Object(map) => *map.get_mut(&key).ok_or_else(missing)? = value,
        Value::Array(list) => {
            let place = place(&key, list.len()).map_err(|_| missing())?;
            *list.get_mut(place).ok_or_else(missing)? = value;
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn test(doc: &mut Value, path: &str, expected: &Value) -> Result<(), String> {
    let failed = || format!("testing value {path} failed: test failed");
    if path.is_empty() {
        return if equal(doc, expected) {
            Ok(())
        } else {
            Err(failed())
        };
    }
    let (parent, key) = parent(doc, path).ok_or_else(|| {
        format!("test operation does not apply: is missing path: {path}: missing value")
    })?;
    let found = match parent {
        // A field that is absent equals null, as upstream's library has it.
        Value::Object(map) => map.get(&key).unwrap_or(&Value::Null),
        parent => get(parent, &key)
            .map_err(|error| format!("error in test for path: '{path}': {error}"))?,
    };
    if equal(found, expected) {
        Ok(())
    } else {
        Err(failed())
    }
}

/// Equality of JSON, where `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn add(
    doc: &mut Value,
    path: &str,
    value: Value,
    missing: impl Fn(&str) -> String,
) -> Result<(), String> {
    let (parent, key) = parent(doc, path).ok_or_else(|| missing(path))?;
    match parent {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let place = place(&key, list.len() + 1)
                .map_err(|error| format!("error in add for path: '{path}': {error}"))?;
            list.insert(place, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn get<'a>(parent: &'a Value, key: &str) -> Result<&'a Value, String> {
    match parent {
        Value::Object(map) => map
            .get(key)
            .ok_or_else(|| format!("Unable to get nonexistent key: {key}: missing value")),
        Value::Array(list) => {
            let place = place(key, list.len())?;
            list.get(place).ok_or_else(|| out_of_range(place as i64))
        }
        _ => Err("missing value".to_owned()),
    }
}

fn take(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Object(map) => map
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        Value::Array(list) => {
            let place = place(key, list.len())?;
            Ok(list.remove(place))
        }
        _ => Err("missing value".to_owned()),
    }
}

fn out_of_range(index: i64) -> String {
    format!("Unable to access invalid index: {index}: invalid index referenced")
}

/// The place a list index means; negative ones count from the end.
fn place(key: &str, len: usize) -> Result<usize, String> {
    let index: i64 = key.parse().map_err(|_| {
        format!("value was not a proper array index: '{key}': strconv.Atoi: parsing {key:?}: invalid syntax")
    })?;
    let from_start = if index < 0 {
        index.saturating_add(i64::try_from(len).unwrap_or(i64::MAX))
    } else {
        index
    };
    usize::try_from(from_start)
        .ok()
        .filter(|place| *place < len)
        .ok_or_else(|| out_of_range(index))
}

/// The container a pointer ends in, and the key within it.
fn parent<'a>(doc: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let mut steps = pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"));
    let mut key = steps.next()?;
    let mut at = doc;
    for next in steps {
        at = match at {
            Value::Object(map) => map.get_mut(&key)?,
            Value::Array(list) => {
                let place = place(&key, list.len()).ok()?;
                list.get_mut(place)?
            }
            _ => return None,
        };
        key = next;
    }
    (at.is_object() || at.is_array()).then_some((at, key))
}
