//! Lists taken as sets: contains, equivalent, intersects.

use super::{Args, Row};
use crate::{
    limits,
    value::{Fault, List, Outcome, Value},
};

pub(super) const ROWS: &[Row] = &[
    (
        "sets.contains",
        "list_sets_contains_list",
        "(list(A), list(A)) -> bool",
        contains,
    ),
    (
        "sets.equivalent",
        "list_sets_equivalent_list",
        "(list(A), list(A)) -> bool",
        equivalent,
    ),
    (
        "sets.intersects",
        "list_sets_intersects_list",
        "(list(A), list(A)) -> bool",
        intersects,
    ),
];

/// Every pair is compared: what costs more than may be is not begun.
fn both<'x, 'a>(args: Args<'x, 'a>) -> Result<(&'x List<'a>, &'x List<'a>), Fault> {
    let (a, b) = (args.list(0)?, args.list(1)?);
    if (a.len() as u64).saturating_mul(b.len() as u64) > limits::PER_CALL {
        return Err(Fault::Cost);
    }
    Ok((a, b))
}

fn holds_all<'a>(list: &List<'a>, items: &List<'a>) -> Result<bool, Fault> {
    for item in items.iter() {
        if !list.contains(&item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (list, items) = both(args)?;
    holds_all(list, items).map(Value::Bool)
}

fn equivalent<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (a, b) = both(args)?;
    Ok(Value::Bool(holds_all(a, b)? && holds_all(b, a)?))
}

fn intersects<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (a, b) = both(args)?;
    for item in a.iter() {
        if b.contains(&item?).unwrap_or(false) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
