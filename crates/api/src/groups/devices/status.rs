//! What a claim has got.

use schema::{Path, Value, field_error::FieldError};

use super::values::{
    REQUESTS_MAX, Requests, binding_conditions, configuration, duplicates, label, pool_name, raw,
    too_many, uid,
};
use crate::{
    core::{pod::validation::node_selector, source::csi_driver_name},
    meta,
    object::Object,
    validation::{
        addresses,
        checks::{conditions, immutable, required, supported},
    },
};

const RESERVED_MAX: usize = 256;
const CONFIGS_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const DATA_MAX: usize = 10 * 1024;
const INTERFACE_MAX: usize = 256;
const HARDWARE_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

/// Which device it is: its driver, pool, name and share.
fn id(device: &Value) -> String {
    let mut id = ["driver", "pool", "device"]
        .map(|field| device.text(field))
        .join("/");
    if device.has("shareID") {
        id = format!("{id}/{}", device.text("shareID"));
    }
    id
}

fn allocated(claim: &Value) -> Vec<String> {
    let results = claim.list("status.allocation.devices.results");
    results.iter().map(id).collect()
}

/// Before a status is written: what is said of devices that the claim has no more goes with them.
pub fn prepare(claim: &mut Value, old: &Value) {
    let (now, before) = (allocated(claim), allocated(old));
    let gone: Vec<String> = before.into_iter().filter(|id| !now.contains(id)).collect();
    if gone.is_empty() {
        return;
    }
    let kept: Vec<Value> = claim
        .list("status.devices")
        .iter()
        .filter(|device| !gone.contains(&id(device)))
        .cloned()
        .collect();
    if kept.is_empty() {
        claim.remove("status.devices");
    } else {
        claim.set("status.devices", kept);
    }
}

/// Everything wrong with the changed status of a claim.
pub fn update(claim: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let (status, before) = (claim.at("status"), old.at("status"));
    reserved(claim, old, &path.field("reservedFor"), errors);
    let known = allocated(claim);
    let list = path.field("devices");
    let devices = status.list("devices");
    for (index, item) in devices.iter().enumerate() {
        device(item, &known, &list.index(index), errors);
    }
    let ids: Vec<String> = devices.iter().map(id).collect();
    duplicates(ids.iter().map(String::as_str), &list, errors);
    if before.has("allocation") && status.has("allocation") {
        immutable(status, before, "allocation", &path, errors);
    } else if status.has("allocation") {
        let names = Requests::of(claim.at("spec"));
        allocation(
            status.at("allocation"),
            &names,
            &path.field("allocation"),
            errors,
        );
    }
}

/// Who uses the claim.
fn reserved(claim: &Value, old: &Value, list: &Path<'_>, errors: &mut Vec<FieldError>) {
    let users = claim.list("status.reservedFor");
    if !too_many(users, RESERVED_MAX, list, errors) {
        for (index, user) in users.iter().enumerate() {
            for field in ["resource", "name", "uid"] {
                required(user, field, &list.index(index), errors);
            }
        }
        duplicates(users.iter().map(|user| user.text("uid")), list, errors);
    }
    if users.is_empty() {
        return;
    }
    let before = old.list("status.reservedFor");
    if !claim.has("status.allocation") {
        let wrong = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden(list, wrong));
    } else if meta::is_terminating(claim) && users.iter().any(|user| !before.contains(user)) {
        let wrong = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(list, wrong));
    }
}

fn device(device: &Value, known: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    csi_driver_name(device.text("driver"), &path.field("driver"), errors);
    pool_name(device.text("pool"), &path.field("pool"), errors);
    label(device.text("device"), &path.field("device"), errors);
    if device.has("shareID") {
        uid(device.text("shareID"), &path.field("shareID"), errors);
    }
    let id = id(device);
    if !known.contains(&id) {
        let wrong = "must be an allocated device in the claim";
        errors.push(FieldError::invalid(path, id, wrong));
    }
    let list = path.field("conditions");
    too_many(device.list("conditions"), CONDITIONS_MAX, &list, errors);
    conditions(device.list("conditions"), &list, errors);
    if device.has("data") {
        raw(device.at("data"), DATA_MAX, &path.field("data"), errors);
    }
    let network = device.at("networkData");
    let path = path.field("networkData");
    for (field, max) in [
        ("interfaceName", INTERFACE_MAX),
        ("hardwareAddress", HARDWARE_MAX),
    ] {
        if network.text(field).len() > max {
            errors.push(FieldError::too_long(path.field(field), max));
        }
    }
    let list = path.field("ips");
    if !too_many(network.list("ips"), ADDRESSES_MAX, &list, errors) {
        for (index, address) in network.texts("ips").enumerate() {
            addresses::interface(address, &list.index(index), errors);
        }
        duplicates(network.texts("ips"), &list, errors);
    }
}

fn allocation(
    allocation: &Value,
    names: &Requests<'_>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let devices = path.field("devices");
    let list = devices.field("results");
    let results = allocation.list("devices.results");
    if !too_many(results, REQUESTS_MAX, &list, errors) {
        for (index, result) in results.iter().enumerate() {
            let path = list.index(index);
            names.reference(result.text("request"), &path.field("request"), errors);
            csi_driver_name(result.text("driver"), &path.field("driver"), errors);
            pool_name(result.text("pool"), &path.field("pool"), errors);
            label(result.text("device"), &path.field("device"), errors);
            binding_conditions(result, &path, errors);
            if result.has("shareID") {
                uid(result.text("shareID"), &path.field("shareID"), errors);
            }
        }
    }
    let list = devices.field("config");
    let configs = allocation.list("devices.config");
    if !too_many(configs, CONFIGS_MAX, &list, errors) {
        for (index, config) in configs.iter().enumerate() {
            let path = list.index(index);
            if !required(config, "source", &path, errors).is_empty() {
                let sources = ["FromClaim", "FromClass"];
                supported(config, "source", &sources, &path, errors);
            }
            names.references(config, &path, errors);
            configuration(config, &path, errors);
        }
    }
    if allocation.has("nodeSelector") {
        let field = path.field("nodeSelector");
        node_selector(allocation.at("nodeSelector"), &field, errors);
    }
}
