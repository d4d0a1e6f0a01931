//! cel-go's lists extension: slice, flatten, sort, range, reverse, distinct.

use super::{Args, Row};
use crate::{
    limits,
    value::{Fault, List, Outcome, Value, compare, equal},
};

pub(super) const ROWS: &[Row] = &[
    (
        "slice",
        "list_slice",
        "list(A).(int, int) -> list(A)",
        slice,
    ),
    (
        "flatten",
        "list_flatten",
        "list(list(A)).() -> list(A)",
        flatten,
    ),
    (
        "flatten",
        "list_flatten_int",
        "list(dyn).(int) -> list(dyn)",
        flatten,
    ),
    (
        "sort",
        "list_{}_sort",
        "T:int|uint|double|bool|duration|timestamp|string|bytes list(T).() -> list(T)",
        sort,
    ),
    (
        "@sortByAssociatedKeys",
        "list_{}_sortByAssociatedKeys",
        "T:int|uint|double|bool|duration|timestamp|string|bytes list(A).(list(T)) -> list(A)",
        sort_by_keys,
    ),
    ("lists.range", "lists_range", "(int) -> list(int)", range),
    ("reverse", "list_reverse", "list(A).() -> list(A)", reverse),
    (
        "distinct",
        "list_distinct",
        "list(A).() -> list(A)",
        distinct,
    ),
];

fn slice<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (list, start, end) = (args.list(0)?, args.int(1)?, args.int(2)?);
    let call = format!("cannot slice({start}, {end}),");
    if start < 0 || end < 0 {
        return Err(Fault::new(format!("{call} negative indexes not supported")));
    }
    if start > end {
        return Err(Fault::new(format!(
            "{call} start index must be less than or equal to end index"
        )));
    }
    if list.len() < end as usize {
        return Err(Fault::new(format!("{call} list is length {}", list.len())));
    }
    (start as usize..end as usize)
        .map(|place| list.get(place))
        .collect::<Result<_, _>>()
        .map(Value::list)
}

fn flatten<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    fn into<'a>(list: &List<'a>, depth: i64, flat: &mut Vec<Value<'a>>) -> Result<(), Fault> {
        for item in list.iter() {
            match item? {
                Value::List(inner) if depth > 0 => into(&inner, depth - 1, flat)?,
                other => flat.push(other),
            }
        }
        Ok(())
    }
    let depth = if args.len() > 1 { args.int(1)? } else { 1 };
    if depth < 0 {
        return Err(Fault::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    into(args.list(0)?, depth, &mut flat)?;
    Ok(Value::list(flat))
}

fn sorted<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    if list.len() != keys.len() {
        return Err(Fault::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        )));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys
        .iter()
        .zip(list.iter())
        .map(|(key, value)| Ok((key?, value?)))
        .collect::<Result<_, Fault>>()?;
    if let Some((first, _)) = pairs.first() {
        compare(first, first).map_err(|_| Fault::new("list elements must be comparable"))?;
        let kind = std::mem::discriminant(first);
        if pairs
            .iter()
            .any(|(key, _)| std::mem::discriminant(key) != kind)
        {
            return Err(Fault::new("list elements must have the same type"));
        }
    }
    pairs.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Value::list(
        pairs.into_iter().map(|(_, value)| value).collect(),
    ))
}

fn sort<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    sorted(list, list)
}

fn sort_by_keys<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sorted(args.list(0)?, args.list(1)?)
}

fn range<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let count = args.int(0)?.max(0);
    // A longer list costs more than an evaluation may anyway; it is not made first.
    if count as u64 > limits::PER_CALL {
        return Err(Fault::Cost);
    }
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

fn reverse<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut values = args.list(0)?.values()?;
    values.reverse();
    Ok(Value::list(values))
}

fn distinct<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    // Every pair is compared, at the price of two each: what costs more than may be is not begun.
    if (list.len() as u64).saturating_pow(2) > limits::PER_CALL {
        return Err(Fault::Cost);
    }
    let mut seen: Vec<Value<'a>> = Vec::new();
    'items: for item in list.iter() {
        let item = item?;
        for other in &seen {
            if equal(&item, other).unwrap_or(false) {
                continue 'items;
            }
        }
        seen.push(item);
    }
    Ok(Value::list(seen))
}
