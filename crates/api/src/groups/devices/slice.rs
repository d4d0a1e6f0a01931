//! What devices there are.

use schema::{Path, Value, field_error::FieldError};

use super::{
    capacity::capacity,
    taint::taint,
    values::{binding_conditions, duplicates, label, pool_name, qualified, too_many},
};
use crate::{
    core::{pod::validation::node_selector, source::csi_driver_name},
    names,
    object::Object,
    validation::checks::{immutable, required, wrongs},
};

const DEVICES_MAX: usize = 128;
/// As [`DEVICES_MAX`], where devices say more than that they are there.
const RICH_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMED_SETS_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
const ATTRIBUTES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_MAX: usize = 64;
/// A domain, a slash and an identifier.
const KEY_MAX: usize = 63 + 1 + 32;

/// Where the devices of a slice are, or one of its devices: one of these.
fn places(
    holder: &Value,
    empty: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<&'static str> {
    let mut set = Vec::new();
    if holder.has("nodeName") {
        let name = holder.text("nodeName");
        let field = path.field("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(field, "", empty));
        } else {
            set.push("`nodeName`");
            wrongs(name, names::dns1123_subdomain(name), &field, errors);
        }
    }
    if holder.has("nodeSelector") {
        set.push("`nodeSelector`");
        node_selector(
            holder.at("nodeSelector"),
            &path.field("nodeSelector"),
            errors,
        );
    }
    flagged(holder, "allNodes", "`allNodes`", &mut set, path, errors);
    set
}

/// A field that is true or not there.
fn flagged(
    holder: &Value,
    field: &str,
    shown: &'static str,
    set: &mut Vec<&'static str>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    match holder.at(field).as_bool() {
        Some(true) => set.push(shown),
        Some(false) => {
            let wrong = "must be either unset or set to true";
            errors.push(FieldError::invalid(path.field(field), false, wrong));
        }
        None => {}
    }
}

/// Everything wrong with the spec of a slice that was another before.
pub fn spec(spec: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    csi_driver_name(spec.text("driver"), &path.field("driver"), errors);
    let pool = path.field("pool");
    pool_name(spec.text("pool.name"), &pool.field("name"), errors);
    let number = |field: &str| spec.at("pool").int(field).unwrap_or(0);
    if number("resourceSliceCount") <= 0 {
        let field = pool.field("resourceSliceCount");
        let wrong = "must be greater than zero";
        errors.push(FieldError::invalid(
            field,
            number("resourceSliceCount"),
            wrong,
        ));
    }
    if number("generation") < 0 {
        let wrong = "must be greater than or equal to zero";
        let field = pool.field("generation");
        errors.push(FieldError::invalid(field, number("generation"), wrong));
    }
    if !old.is_null() {
        immutable(spec.at("pool"), old.at("pool"), "name", &pool, errors);
        for field in ["driver", "nodeName"] {
            immutable(spec, old, field, path, errors);
        }
    }
    let empty = "must be either unset or set to a non-empty string";
    let mut set = places(spec, empty, path, errors);
    if spec.has("nodeSelector") && spec.list("nodeSelector.nodeSelectorTerms").len() != 1 {
        let selector = path.field("nodeSelector");
        let shown = spec.at("nodeSelector.nodeSelectorTerms").clone();
        let wrong = "must have exactly one node selector term";
        let field = selector.field("nodeSelectorTerms");
        errors.push(FieldError::invalid(field, shown, wrong));
    }
    let own = "perDeviceNodeSelection";
    flagged(
        spec,
        own,
        "`perDeviceNodeSelection`",
        &mut set,
        path,
        errors,
    );
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => errors.push(FieldError::required(path, ONE)),
        1 => {}
        _ => {
            let wrong = format!("{ONE}, but multiple fields are set");
            let shown = format!("{{{}}}", set.join(", "));
            errors.push(FieldError::invalid(path, shown, wrong));
        }
    }
    if spec.has("sharedCounters") && spec.has("devices") {
        let wrong = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(path, "", wrong));
    }
    devices(spec, old, path, errors);
    let list = path.field("sharedCounters");
    let sets = spec.list("sharedCounters");
    if !too_many(sets, COUNTER_SETS_MAX, &list, errors) {
        for (index, set) in sets.iter().enumerate() {
            counters(set, "name", &list.index(index), errors);
        }
        duplicates(sets.iter().map(|set| set.text("name")), &list, errors);
    }
}

/// A device has its fields in itself, or in a field of its own where the version is v1beta1.
const BASIC: [&str; 2] = ["", "basic."];
const MAPPINGS: &str = "nodeAllocatableResourceMappings";

/// Takes away what gates that are off keep out, unless the slice already had it.
pub fn drop_disabled(object: &mut Value, old: &Value) {
    let devices = "spec.devices";
    let any = |used: &dyn Fn(&Value, &str) -> bool| {
        let mut pairs = old
            .list(devices)
            .iter()
            .flat_map(|device| BASIC.map(|place| (device, place)));
        pairs.any(|(device, place)| used(device, place))
    };
    let mapped = any(&|device, place| device.map(&format!("{place}{MAPPINGS}")).is_some());
    let listed = any(&|device, place| {
        device
            .pairs(&format!("{place}attributes"))
            .any(|(_, value)| LISTS.iter().any(|field| value.has(field)))
    });
    for device in object.list_mut(devices) {
        for place in BASIC {
            if !mapped {
                device.remove(&format!("{place}{MAPPINGS}"));
            }
            let attributes = device.at_mut(&format!("{place}attributes"));
            if let Some(map) = attributes
                .and_then(Value::as_object_mut)
                .filter(|_| !listed)
            {
                for (_, value) in map.iter_mut() {
                    for field in LISTS {
                        value.remove(field);
                    }
                }
            }
        }
    }
}

const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

fn devices(spec: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("devices");
    let devices = spec.list("devices");
    let rich = |device: &Value| {
        !device.list("taints").is_empty()
            || !device.list("consumesCounters").is_empty()
            || device
                .pairs("attributes")
                .any(|(_, value)| LISTS.iter().any(|field| value.has(field)))
    };
    let max = if devices.iter().any(rich) {
        RICH_DEVICES_MAX
    } else {
        DEVICES_MAX
    };
    if too_many(devices, max, &list, errors) {
        return;
    }
    let each = spec.flag("perDeviceNodeSelection");
    for (index, item) in devices.iter().enumerate() {
        let name = item.text("name");
        let mut known = old.list("devices").iter();
        let before = known.find(|known| known.text("name") == name);
        device(
            item,
            before.unwrap_or(&Value::Null),
            each,
            &list.index(index),
            errors,
        );
    }
    duplicates(
        devices.iter().map(|device| device.text("name")),
        &list,
        errors,
    );
}

fn device(device: &Value, old: &Value, each: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    label(device.text("name"), &path.field("name"), errors);
    let count = |field: &str| device.map(field).map_or(0, |map| map.len());
    let total = count("attributes") + count("capacity");
    if total > ATTRIBUTES_MAX {
        let wrong = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        errors.push(FieldError::invalid(path, total, wrong));
    }
    let values: usize = device
        .pairs("attributes")
        .map(|(_, value)| {
            let listed: usize = LISTS.iter().map(|field| value.list(field).len()).sum();
            listed.max(1)
        })
        .sum();
    if values > VALUES_MAX {
        let wrong = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(FieldError::invalid(path, values, wrong));
    }
    let map = path.field("attributes");
    for (key, value) in device.pairs("attributes") {
        qualified(key, &map, errors);
        attribute(value, &map.key(&shortened(key)), errors);
    }
    let map = path.field("capacity");
    let shared = device.flag("allowMultipleAllocations");
    for (key, value) in device.pairs("capacity") {
        qualified(key, &map, errors);
        capacity(value, shared, &map.key(&shortened(key)), errors);
    }
    let taints = device.list("taints");
    if old.is_null() || taints != old.list("taints") {
        let list = path.field("taints");
        if !too_many(taints, TAINTS_MAX, &list, errors) {
            for (index, item) in taints.iter().enumerate() {
                taint(item, &Value::Null, &list.index(index), errors);
            }
        }
    }
    let list = path.field("consumesCounters");
    let consumed = device.list("consumesCounters");
    if !too_many(consumed, CONSUMED_SETS_MAX, &list, errors) {
        for (index, set) in consumed.iter().enumerate() {
            counters(set, "counterSet", &list.index(index), errors);
        }
        duplicates(
            consumed.iter().map(|set| set.text("counterSet")),
            &list,
            errors,
        );
    }
    place(device, each, path, errors);
    binding_conditions(device, path, errors);
}

/// Where one device is; the slice says whether devices say so.
fn place(device: &Value, each: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !each {
        let any = ["nodeName", "nodeSelector", "allNodes"]
            .iter()
            .any(|field| device.has(field));
        if any {
            let wrong = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, wrong));
        }
        return;
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let set = places(device, "must not be empty", path, errors);
    match set.len() {
        0 => errors.push(FieldError::required(path, ONE)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            errors.push(FieldError::invalid(path, shown, ONE));
        }
    }
}

/// Numbers of something that devices share, by name.
fn counters(set: &Value, name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = required(set, name, path, errors);
    if !text.is_empty() {
        label(text, &path.field(name), errors);
    }
    let field = path.field("counters");
    match set.map("counters").filter(|map| !map.is_empty()) {
        None => errors.push(FieldError::required(field, "")),
        Some(map) if map.len() > COUNTERS_MAX => {
            errors.push(FieldError::too_many(field, map.len(), COUNTERS_MAX));
        }
        Some(map) => map.keys().for_each(|key| label(key, &field, errors)),
    }
}

/// A key as a path shows it: not all of one that is too long.
fn shortened(key: &str) -> String {
    if key.len() <= KEY_MAX || !key.is_ascii() {
        return key.to_owned();
    }
    let rest = KEY_MAX - 3;
    format!(
        "{}...{}",
        &key[..rest.div_ceil(2)],
        &key[key.len() - rest / 2..]
    )
}

/// One value, or one list of values.
fn attribute(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let fields = ["bool", "int", "string", "version"]
        .into_iter()
        .chain(LISTS);
    let count = fields.filter(|field| value.has(field)).count();
    for (one, many, is_version) in [("string", "strings", false), ("version", "versions", true)] {
        if value.has(one) {
            text_value(value.text(one), is_version, &path.field(one), errors);
        }
        let list = path.field(many);
        for (index, text) in value.texts(many).enumerate() {
            text_value(text, is_version, &list.index(index), errors);
        }
    }
    if count != 1 {
        let shown = if count == 0 {
            Value::from("")
        } else {
            value.clone()
        };
        let wrong = "exactly one value must be specified";
        errors.push(FieldError::invalid(path, shown, wrong));
    }
}

fn text_value(text: &str, is_version: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if is_version && !crate::groups::coordination::is_semantic_version(text) {
        let wrong = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(FieldError::invalid(path, text, wrong));
    }
    if text.len() > VALUE_MAX {
        errors.push(FieldError::too_long(path, VALUE_MAX));
    }
}
