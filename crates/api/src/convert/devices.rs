//! resource.k8s.io/v1beta1: a request has in itself what later versions have under `exactly`, and a
//! device has under `basic` what later versions have in the device itself.

use schema::{Map, Value};

use crate::{meta, object::Object};

/// What of a request later versions keep under `exactly`.
const EXACT: [&str; 7] = [
    "deviceClassName",
    "selectors",
    "allocationMode",
    "count",
    "adminAccess",
    "tolerations",
    "capacity",
];

/// The claim's spec, also of a template.
fn claim_spec(object: &mut Value) -> Option<&mut Value> {
    match object.text("kind") {
        "ResourceClaim" => object.at_mut("spec"),
        "ResourceClaimTemplate" => object.at_mut("spec.spec"),
        _ => None,
    }
}

/// From v1beta1.
pub fn to_v1(object: &mut Value) {
    for request in claim_spec(object).map_or(&mut [][..], |spec| spec.list_mut("devices.requests"))
    {
        let mut exactly = Map::new();
        for field in EXACT {
            if let Some(value) = request.remove(field) {
                exactly.insert(field.to_owned(), value);
            }
        }
        // Fields that are always written are there, empty, where alternatives are given.
        exactly.retain(|_, value| value.as_str() != Some(""));
        if !exactly.is_empty() {
            request.set("exactly", exactly);
        }
    }
    for device in object
        .at_mut("spec")
        .map_or(&mut [][..], |spec| spec.list_mut("devices"))
    {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            meta::map_mut(device).extend(basic);
        }
    }
}

/// To v1beta1.
pub fn to_v1beta1(object: &mut Value) {
    for request in claim_spec(object).map_or(&mut [][..], |spec| spec.list_mut("devices.requests"))
    {
        if let Some(Value::Object(exactly)) = request.remove("exactly") {
            meta::map_mut(request).extend(exactly);
        }
    }
    let is_slice = object.text("kind") == "ResourceSlice";
    for device in object
        .at_mut("spec")
        .filter(|_| is_slice)
        .map_or(&mut [][..], |spec| spec.list_mut("devices"))
    {
        let map = meta::map_mut(device);
        let name = map.remove("name");
        let basic = std::mem::take(map);
        if let Some(name) = name {
            map.insert("name".to_owned(), name);
        }
        map.insert("basic".to_owned(), Value::Object(basic));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_and_back() {
        let cases = [
            (
                json!({"kind": "ResourceClaim", "spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c", "count": 2}]}}}),
                json!({"kind": "ResourceClaim", "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "count": 2}}]}}}),
            ),
            (
                json!({"kind": "ResourceSlice", "spec": {"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]}}),
                json!({"kind": "ResourceSlice", "spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}}),
            ),
        ];
        for (beta, stable) in cases {
            let mut object = beta.clone();
            to_v1(&mut object);
            assert_eq!(object, stable);
            to_v1beta1(&mut object);
            assert_eq!(object, beta);
        }
    }
}
