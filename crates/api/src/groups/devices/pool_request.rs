//! Questions about the pools of a driver, answered once in their status.

use schema::{Path, Value, field_error::FieldError};

use super::values::{pool_name, too_many};
use crate::{
    core::source::csi_driver_name,
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{conditions, immutable, required, wrongs},
};

const LIMIT_MAX: i64 = 1000;
const POOLS_MAX: usize = 1000;
const CONDITIONS_MAX: usize = 10;
const ERROR_MAX: usize = 256;

/// What ResourcePoolStatusRequests do specially.
pub struct PoolRequest;

impl Strategy for PoolRequest {
    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        driver_and_pool(spec, spec.has("poolName"), &path, errors);
        match spec.int("limit") {
            None => errors.push(FieldError::required(path.field("limit"), "")),
            Some(limit) => {
                at_least(spec, "limit", 1, &path, errors);
                if limit > LIMIT_MAX {
                    let wrong = format!("must be less than or equal to {LIMIT_MAX}");
                    errors.push(FieldError::invalid(path.field("limit"), limit, wrong));
                }
            }
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Status {
            immutable(object, old, "spec", &Path::ROOT, errors);
        } else if old.has("status") {
            immutable(object, old, "status", &Path::ROOT, errors);
        } else if object.has("status") {
            status(object.at("status"), &Path::ROOT.field("status"), errors);
        }
    }
}

fn status(status: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if status.has("poolCount") {
        at_least(status, "poolCount", 0, path, errors);
    } else {
        errors.push(FieldError::required(path.field("poolCount"), ""));
    }
    let list = path.field("conditions");
    if !too_many(status.list("conditions"), CONDITIONS_MAX, &list, errors) {
        conditions(status.list("conditions"), &list, errors);
    }
    let list = path.field("pools");
    if too_many(status.list("pools"), POOLS_MAX, &list, errors) {
        return;
    }
    for (index, pool) in status.list("pools").iter().enumerate() {
        let path = list.index(index);
        driver_and_pool(pool, true, &path, errors);
        if pool.int("generation").unwrap_or(0) == 0 {
            errors.push(FieldError::required(path.field("generation"), ""));
        }
        for (field, least) in [
            ("generation", 0),
            ("resourceSliceCount", 1),
            ("totalDevices", 0),
            ("allocatedDevices", 0),
            ("availableDevices", 0),
            ("unavailableDevices", 0),
        ] {
            at_least(pool, field, least, &path, errors);
        }
        if pool.has("nodeName") {
            let name = pool.text("nodeName");
            wrongs(
                name,
                names::dns1123_subdomain(name),
                &path.field("nodeName"),
                errors,
            );
        }
        if pool.text("validationError").len() > ERROR_MAX {
            errors.push(FieldError::too_long(
                path.field("validationError"),
                ERROR_MAX,
            ));
        }
    }
}

fn driver_and_pool(holder: &Value, pool: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let driver = required(holder, "driver", path, errors);
    if !driver.is_empty() {
        csi_driver_name(driver, &path.field("driver"), errors);
    }
    if pool {
        pool_name(holder.text("poolName"), &path.field("poolName"), errors);
    }
}

fn at_least(
    holder: &Value,
    field: &str,
    least: i64,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(number) = holder.int(field).filter(|number| *number < least) {
        let wrong = format!("must be greater than or equal to {least}");
        errors.push(FieldError::invalid(path.field(field), number, wrong));
    }
}
