//! Terse access to objects held as JSON values, so that what a kind does specially reads as a few
//! lines. Paths are field names joined by dots; a field that is missing reads as its zero value.

use schema::{Map, Value};

/// What a missing field reads as.
pub static NULL: Value = Value::Null;

/// Access by dotted path.
pub trait Object {
    /// The value there, or null.
    fn at(&self, path: &str) -> &Value;
    /// The value there, when there is one.
    fn at_mut(&mut self, path: &str) -> Option<&mut Value>;
    /// The place for a value; maps on the way are made.
    fn place(&mut self, path: &str) -> &mut Value;

    /// Is there a value that is not null?
    fn has(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }
    /// The string there, or the empty one.
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or("")
    }
    /// The whole number there.
    fn int(&self, path: &str) -> Option<i64> {
        self.at(path).as_i64()
    }
    /// The boolean there, or false.
    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or(false)
    }
    /// The list there, or the empty one.
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }
    /// The list there for changing, or the empty one.
    fn list_mut(&mut self, path: &str) -> &mut [Value] {
        self.at_mut(path)
            .and_then(Value::as_array_mut)
            .map_or(&mut [], Vec::as_mut_slice)
    }
    /// The strings of the list there.
    fn texts<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        self.list(path).iter().filter_map(Value::as_str)
    }
    /// The map there.
    fn map(&self, path: &str) -> Option<&Map<String, Value>> {
        self.at(path).as_object()
    }
    /// The pairs of the map there.
    fn pairs<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map(path)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value))
    }
    /// Puts a value there.
    fn set(&mut self, path: &str, value: impl Into<Value>) {
        *self.place(path) = value.into();
    }
    /// Puts a value there when there is none.
    fn set_default(&mut self, path: &str, value: impl Into<Value>) {
        let place = self.place(path);
        if place.is_null() {
            *place = value.into();
        }
    }
    /// Puts a string there when there is none or an empty one.
    fn set_default_text(&mut self, path: &str, value: &str) {
        let place = self.place(path);
        if place.as_str().is_none_or(str::is_empty) {
            *place = value.into();
        }
    }
    /// Takes the value there away.
    fn remove(&mut self, path: &str) -> Option<Value>;
    /// Puts what `from` has there, or takes it away where `from` has nothing.
    fn restore(&mut self, path: &str, from: &Value) {
        match from.at(path) {
            Value::Null => {
                self.remove(path);
            }
            value => *self.place(path) = value.clone(),
        }
    }
}

/// The first name of a dotted path, and the path after it. Paths are short and looked up dozens of
/// times per request: for them this is faster than the searcher behind `str::split`.
fn first(path: &str) -> (&str, Option<&str>) {
    match path.bytes().position(|byte| byte == b'.') {
        Some(dot) => (&path[..dot], Some(&path[dot + 1..])),
        None => (path, None),
    }
}

impl Object for Value {
    fn at(&self, path: &str) -> &Value {
        let (mut value, mut path) = (self, path);
        loop {
            let (name, rest) = first(path);
            match value.as_object().and_then(|map| map.get(name)) {
                Some(next) => value = next,
                None => return &NULL,
            }
            match rest {
                Some(rest) => path = rest,
                None => return value,
            }
        }
    }

    fn at_mut(&mut self, path: &str) -> Option<&mut Value> {
        let mut value = self;
        for name in path.split('.') {
            value = value.as_object_mut()?.get_mut(name)?;
        }
        (!value.is_null()).then_some(value)
    }

    fn place(&mut self, path: &str) -> &mut Value {
        let mut value = self;
        for name in path.split('.') {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            value = &mut value[name];
        }
        value
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let (parent, name) = match path.rsplit_once('.') {
            Some((parent, name)) => (self.at_mut(parent)?, name),
            None => (self, path),
        };
        parent.as_object_mut()?.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_and_writes_by_path() {
        let mut pod =
            json!({"spec": {"nodeName": "a", "containers": [{"name": "c"}], "priority": 3}});
        assert_eq!(pod.text("spec.nodeName"), "a");
        assert_eq!(pod.int("spec.priority"), Some(3));
        assert_eq!(pod.list("spec.containers").len(), 1);
        assert_eq!(pod.text("status.phase"), "");
        pod.set("status.phase", "Pending");
        pod.set_default("status.phase", "Running");
        assert_eq!(pod.text("status.phase"), "Pending");
        assert_eq!(pod.remove("spec.nodeName"), Some(json!("a")));
        assert!(!pod.has("spec.nodeName"));
        let old = json!({"spec": {"nodeName": "b"}});
        pod.restore("spec.nodeName", &old);
        pod.restore("spec.priority", &old);
        assert_eq!(
            pod,
            json!({"spec": {"nodeName": "b", "containers": [{"name": "c"}]}, "status": {"phase": "Pending"}})
        );
    }
}
