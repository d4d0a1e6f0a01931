//! Answers about pools of devices.

use jiff::Timestamp;
use schema::Value;

use super::{NAME, Printer, name, number, text};
use crate::{duration, object::Object};

/// How they are shown.
pub const PRINTER: Printer = Printer {
    columns: const {
        &[
            NAME,
            text("Driver"),
            text("Total"),
            text("Available"),
            text("Allocated"),
            text("Unavailable"),
            text("Errors"),
            number("Pools"),
            text("Status"),
            text("Completed"),
        ]
    },
    row,
};

const SUMS: [&str; 4] = [
    "totalDevices",
    "availableDevices",
    "allocatedDevices",
    "unavailableDevices",
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let answer = object.at("status");
    let end = answer.list("conditions").iter().find(|condition| {
        matches!(condition.text("type"), "Complete" | "Failed")
            && condition.text("status") == "True"
    });
    let kind = end.map_or("Pending", |condition| condition.text("type"));
    let pools = answer.list("pools");
    let count = answer.int("poolCount").unwrap_or(0);
    let shown = pools.len();
    let status = if kind == "Complete" && count > i64::try_from(shown).unwrap_or(i64::MAX) {
        format!("Complete ({shown}/{count} pools)")
    } else {
        kind.to_owned()
    };
    let is_known = !answer.is_null() && kind != "Failed";
    let cell = |number: i64| {
        Value::from(if is_known {
            number.to_string()
        } else {
            "-".to_owned()
        })
    };
    let mut cells = vec![name(object), object.text("spec.driver").into()];
    for field in SUMS {
        cells.push(cell(pools.iter().filter_map(|pool| pool.int(field)).sum()));
    }
    let wrong = pools.iter().filter(|pool| pool.has("validationError"));
    cells.push(cell(i64::try_from(wrong.count()).unwrap_or(i64::MAX)));
    cells.push(count.into());
    cells.push(status.into());
    let completed = match end {
        Some(condition) if kind == "Complete" => {
            duration::since(condition.text("lastTransitionTime"), now)
        }
        _ => "<none>".to_owned(),
    };
    cells.push(completed.into());
    cells
}
