//! Where the data of a claim's volume comes from, which two fields say.

use schema::Value;
use serde_json::json;

use crate::object::Object;

const OLD: &str = "dataSource";
const NEW: &str = "dataSourceRef";

/// Can the older field name it?
fn is_known(source: &Value) -> bool {
    matches!(
        (source.text("apiGroup"), source.text("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Before a claim that was another before is judged: sources in other namespaces and sources that the
/// older field does not know are dropped unless the claim had one, and both fields say the same.
pub fn prepare(spec: &mut Value, old: &Value) {
    let far = !spec.at(NEW).text("namespace").is_empty();
    if far && !old.has(NEW) {
        spec.remove(NEW);
    }
    let had = old.has(OLD) || old.has(NEW);
    if !had && !spec.has(NEW) && !is_known(spec.at(OLD)) {
        spec.remove(OLD);
    }
    normalize(spec);
}

/// Where one field is set, the other gets the same, as long as it can say it.
pub fn normalize(spec: &mut Value) {
    let (from, to) = match (spec.has(OLD), spec.has(NEW)) {
        (true, false) => (OLD, NEW),
        (false, true) if spec.at(NEW).text("namespace").is_empty() => (NEW, OLD),
        _ => return,
    };
    let mut source =
        json!({"kind": spec.at(from).text("kind"), "name": spec.at(from).text("name")});
    if let Some(group) = spec.at(from).at("apiGroup").as_str() {
        source["apiGroup"] = group.into();
    }
    spec.set(to, source);
}
