//! What calls cost when they are made. Where upstream charges by the call's name or overload, the rule
//! is looked up once, when the expression is planned.

use super::range::CostRange;
use crate::{
    limits::{AUTHORIZATION, LIST, REGEX_FACTOR, STRUCT, TEXT_FACTOR},
    value::{OpaqueValue, Value},
};

/// How a call is charged for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Price {
    Fixed(u64),
    /// Walking over this argument, so many times.
    Text(usize, f64),
    /// Walking over what it gives, twice.
    Result,
    /// Walking over the shorter of two.
    Shorter,
    /// Walking over both.
    Both,
    /// The size of the second argument.
    Members,
    /// A pattern on a text.
    Pattern,
    /// A text within a text.
    Substring,
    /// Walking over everything in the first argument.
    Traversal,
    Selector,
    /// A named format's pattern on a text.
    NamedFormat,
    /// An address in a prefix; the address given as text or not.
    ContainsIp(bool),
    /// A prefix in a prefix; given as text or not.
    ContainsCidr(bool),
    /// Making a list as long as the result.
    NewList,
    /// Making a flat list.
    Flatten,
    /// Comparing a list's elements (of this argument) with one another.
    SelfCompare(usize),
    /// Comparing the elements of two lists, so many times.
    Sets(u64),
}

impl Price {
    /// The price of a function's overload (none where several are possible).
    pub fn of(function: &str, overload: Option<&str>) -> Self {
        let overload = overload.unwrap_or("");
        let tracked = match overload {
            "list_slice" | "lists_range" | "list_reverse" => Some(Price::NewList),
            "list_flatten" | "list_flatten_int" => Some(Price::Flatten),
            "list_distinct" => Some(Price::SelfCompare(0)),
            "list_sets_contains_list" | "list_sets_intersects_list" => Some(Price::Sets(1)),
            "list_sets_equivalent_list" => Some(Price::Sets(2)),
            _ if overload.ends_with("_sortByAssociatedKeys") => Some(Price::SelfCompare(1)),
            _ if overload.starts_with("list_") && overload.ends_with("_sort") => {
                Some(Price::SelfCompare(0))
            }
            _ => None,
        };
        if let Some(price) = tracked {
            return price;
        }
        match function {
            "check" => Price::Fixed(AUTHORIZATION),
            "fieldSelector" | "labelSelector" => Price::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Price::Traversal,
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => {
                Price::Text(0, 1.0)
            }
            "replace" | "split" | "ip.isCanonical" => Price::Text(0, 2.0),
            "join" => Price::Result,
            "find" | "findAll" => Price::Pattern,
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                Price::Text(0, 1.0)
            }
            "ip" if overload == "cidr_ip" => Price::Fixed(1),
            "ip" => Price::Text(0, 1.0),
            "containsIP" => Price::ContainsIp(overload == "cidr_contains_ip_string"),
            "containsCIDR" => Price::ContainsCidr(overload == "cidr_contains_cidr_string"),
            "validate" => Price::NamedFormat,
            _ => Self::of_overload(overload),
        }
    }

    fn of_overload(overload: &str) -> Self {
        match overload {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
            | "strings_quote" | "string_format" => Price::Text(0, 1.0),
            "in_list" => Price::Members,
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes" => Price::Shorter,
            "add_string" | "add_bytes" => Price::Both,
            "matches_string" => Price::Pattern,
            "contains_string" => Price::Substring,
            _ => Price::Fixed(1),
        }
    }

    /// What a call with these arguments has cost.
    pub fn actual(self, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
        let size = |place: usize| args.get(place).map_or(1, Value::size);
        match self {
            Price::Fixed(cost) => cost,
            Price::Text(place, times) => scaled(size(place), times * TEXT_FACTOR),
            Price::Result => scaled(result.map_or(1, Value::size), 2.0 * TEXT_FACTOR),
            Price::Shorter => text_cost(size(0).min(size(1))),
            Price::Both => text_cost(size(0).saturating_add(size(1))),
            Price::Members => size(1),
            Price::Pattern => pattern_cost(size(0), size(1)),
            Price::Substring => text_cost(size(0)).saturating_mul(text_cost(size(1))),
            Price::Traversal => args.first().map_or(0, traversal),
            Price::Selector => selector_cost(CostRange::fixed(size(1))).max,
            Price::NamedFormat => match args.first() {
                Some(Value::Opaque(opaque)) => match &**opaque {
                    OpaqueValue::NamedFormat(format) => pattern_cost(size(1), format.regex_size),
                    _ => 1,
                },
                _ => 1,
            },
            Price::ContainsIp(text) => {
                let cost = text_cost(size(0) * 2);
                cost + if text { text_cost(size(1)) } else { 0 }
            }
            Price::ContainsCidr(text) => {
                let cost = text_cost(size(0) * 2) + text_cost(size(0)) + 1;
                cost + if text { text_cost(size(1)) } else { 0 }
            }
            Price::NewList => new_list(result.map_or(1, Value::size), 1.0),
            Price::Flatten => {
                let depth = match args.get(1) {
                    Some(Value::Int(depth)) => *depth as f64,
                    _ => 1.0,
                };
                new_list(size(0), depth)
            }
            Price::SelfCompare(place) => {
                let first = match args.get(place) {
                    Some(Value::List(list)) => list.get(0).ok(),
                    _ => None,
                };
                let factor = match first {
                    Some(Value::String(_) | Value::Bytes(_)) => 2.0 + TEXT_FACTOR,
                    _ => 2.0,
                };
                new_list(size(place).saturating_mul(size(place)), factor)
            }
            Price::Sets(times) => 1 + size(0).saturating_mul(size(1)).saturating_mul(times),
        }
    }
}

fn scaled(count: u64, factor: f64) -> u64 {
    (count as f64 * factor).ceil() as u64
}

/// Walking over so many code points or bytes.
pub(crate) fn text_cost(count: u64) -> u64 {
    scaled(count, TEXT_FACTOR)
}

fn pattern_cost(text: u64, pattern: u64) -> u64 {
    text_cost(text.saturating_add(1)).saturating_mul(scaled(pattern, REGEX_FACTOR))
}

fn new_list(size: u64, factor: f64) -> u64 {
    ((size as f64 * factor) as u64)
        .saturating_add(1)
        .saturating_add(LIST)
}

/// What parsing a selector of this length costs: every other character may begin a requirement.
pub(super) fn selector_cost(length: CostRange) -> CostRange {
    let requirements = length.at(0.5).at((LIST + STRUCT) as f64);
    CostRange::fixed(LIST)
        .plus(length.at(TEXT_FACTOR))
        .plus(requirements)
}

fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.as_str().len() as f64 * TEXT_FACTOR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TEXT_FACTOR) as u64,
        Value::List(list) => list.iter().flatten().map(|item| traversal(&item)).sum(),
        Value::Map(map) => map
            .entries()
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| traversal(&key.value()) + traversal(value))
            .sum(),
        _ => 1,
    }
}
