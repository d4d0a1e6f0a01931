//! Bodies as events show them: whatever form they were sent in, as JSON.

use api::object::Object;
use serde_json::Value;

/// Larger bodies are left out of events, which then say so.
pub(super) const MAX_BODY: usize = 16 << 20;

/// A body as a value; none for what is no object (logs, say).
pub(super) fn decode(content_type: &str, body: &[u8]) -> Option<Value> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "" | "*/*" => serde_json::from_slice(body).ok(),
        "application/vnd.kubernetes.protobuf" => protobuf(body),
        json if json.ends_with("json") => serde_json::from_slice(body).ok(),
        yaml if yaml.ends_with("yaml") => schema::decode::yaml_untyped(body).ok(),
        _ => None,
    }
}

fn protobuf(body: &[u8]) -> Option<Value> {
    let catalog = api::catalog::builtin();
    let envelope = schema::proto::envelope::unwrap(body).ok()?;
    let (group, version) = api::meta::split_api_version(envelope.api_version);
    let ty = catalog.type_of(group, version, envelope.kind)?;
    let mut value = schema::proto::decode(&catalog.table, ty, envelope.raw).ok()?;
    value.set("apiVersion", envelope.api_version);
    value.set("kind", envelope.kind);
    Some(value)
}

/// Takes the managedFields of an object, of a list's items, and of a table's rows away.
pub(super) fn without_managed_fields(object: &mut Value) {
    fn take(object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    take(object);
    for (list, place) in [("items", ""), ("rows", "/object")] {
        let items = object.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            if let Some(object) = item.pointer_mut(place) {
                take(object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_becomes_json() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}});
        let catalog = api::catalog::builtin();
        let ty = catalog.type_of("", "v1", "ConfigMap").unwrap();
        let raw = schema::proto::encode(&catalog.table, ty, &object).unwrap();
        let wire = schema::proto::envelope::wrap("v1", "ConfigMap", &raw);
        let decoded = decode("application/vnd.kubernetes.protobuf", &wire).unwrap();
        assert_eq!(decoded["data"], object["data"]);
        assert_eq!(decoded["kind"], "ConfigMap");
        let yaml = b"apiVersion: v1\nkind: ConfigMap\ndata: {a: '1'}";
        assert_eq!(
            decode("application/apply-patch+yaml", yaml).unwrap(),
            object
        );
        let json = object.to_string();
        assert_eq!(
            decode("application/merge-patch+json", json.as_bytes()).unwrap(),
            object
        );
        assert_eq!(decode("text/plain", b"1"), None);
        assert_eq!(decode("application/json", b"{"), None);
    }

    #[test]
    fn managed_fields_go_from_lists_and_tables_too() {
        let one = json!({"metadata": {"name": "a", "managedFields": []}});
        for (given, place) in [
            (one.clone(), ""),
            (json!({"metadata": {}, "items": [one.clone()]}), "/items/0"),
            (json!({"rows": [{"object": one}]}), "/rows/0/object"),
        ] {
            let mut object = given;
            without_managed_fields(&mut object);
            assert_eq!(
                object.pointer(place),
                Some(&json!({"metadata": {"name": "a"}}))
            );
        }
    }
}
