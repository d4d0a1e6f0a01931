//! Events: the core group's names for fields, and those of events.k8s.io.

use schema::Value;

use crate::object::Object;

/// Core name and events.k8s.io name of the fields whose names differ.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The name under which a field that events.k8s.io lets select by is kept; none for other fields.
/// As upstream's conversion of field labels.
pub fn field_name(name: &str) -> Option<&'static str> {
    const SELECTABLE: [(&str, &str); 10] = [
        ("reason", "reason"),
        ("type", "type"),
        ("reportingController", "reportingComponent"),
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        (
            "regarding.resourceVersion",
            "involvedObject.resourceVersion",
        ),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
    ];
    let found = SELECTABLE.iter().find(|(served, _)| *served == name);
    found.map(|(_, kept)| *kept)
}

/// From events.k8s.io to core.
pub fn to_core(object: &mut Value) {
    for (core, new) in NAMES {
        if let Some(value) = object.remove(new) {
            object.set(core, value);
        }
    }
}

/// From core to events.k8s.io.
pub fn to_new(object: &mut Value) {
    for (core, new) in NAMES {
        if let Some(value) = object.remove(core) {
            object.set(new, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_and_back() {
        let core = json!({"involvedObject": {"kind": "Pod"}, "message": "m", "count": 2, "reportingComponent": "k",
            "reportingInstance": "i", "type": "Normal"});
        let mut object = core.clone();
        to_new(&mut object);
        assert_eq!(
            object,
            json!({"regarding": {"kind": "Pod"}, "note": "m", "deprecatedCount": 2,
            "reportingController": "k", "reportingInstance": "i", "type": "Normal"})
        );
        to_core(&mut object);
        assert_eq!(object, core);
    }
}
