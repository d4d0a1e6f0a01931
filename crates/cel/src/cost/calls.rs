//! What calls can cost at most, by function and overload.

use super::{
    SizeHints,
    estimate::{Estimate, Operand, or_unknown},
    price::selector_cost,
    range::{CostRange, Size},
};
use crate::{
    limits::{AUTHORIZATION, FORMAT_BYTES, FORMAT_REGEX, LIST, REGEX_FACTOR, TEXT_FACTOR},
    types::{Opaque, Type},
};

const ONE: CostRange = CostRange::fixed(1);

fn costs(cost: CostRange) -> Option<Estimate> {
    Some(Estimate { cost, size: None })
}

fn gives(cost: CostRange, size: Size) -> Option<Estimate> {
    Some(Estimate {
        cost,
        size: Some(size),
    })
}

/// The operand's size; where it is not known, what is known of where it stands.
fn size_of(operand: &Operand<'_>, sizes: &dyn SizeHints) -> Size {
    if let Some(size) = operand.size {
        return size;
    }
    if operand.path.is_empty() {
        return Size::UNKNOWN;
    }
    match sizes.most(&operand.path) {
        Some(max) => Size { min: 0, max },
        None => Size::UNKNOWN,
    }
}

/// What a list (or map) holds; none of anything else.
fn element<'c>(of: &Operand<'c>) -> Option<Operand<'c>> {
    let ty = match &of.ty {
        Type::List(element) | Type::Optional(element) => Type::clone(element),
        Type::Map(entry) => entry.0.clone(),
        _ => return None,
    };
    let mut path = of.path.clone();
    if !path.is_empty() {
        path.push("@items".to_owned());
    }
    Some(Operand {
        path,
        ty,
        expr: None,
        size: None,
    })
}

/// cel-go's lists and sets extensions.
pub(super) fn extension(
    id: &str,
    target: Option<&Operand<'_>>,
    args: &[Operand<'_>],
    sizes: &dyn SizeHints,
) -> Option<Estimate> {
    let made = |size: Size, factor: f64| {
        let cost = size.at(factor).plus(ONE).plus(CostRange::fixed(LIST));
        gives(cost, size)
    };
    let sorted = |of: &Operand<'_>| {
        let size = size_of(of, sizes);
        let texts = id.starts_with("list_string_") || id.starts_with("list_bytes_");
        made(
            size.times(size),
            if texts { 2.0 + TEXT_FACTOR } else { 2.0 },
        )
    };
    match (id, target, args) {
        ("list_slice", Some(list), [start, end]) => {
            let start = start.whole().unwrap_or(0);
            let end = end.whole().unwrap_or_else(|| size_of(list, sizes).max);
            made(Size::fixed(end.wrapping_sub(start)), 1.0)
        }
        ("lists_range", None, [count]) => made(Size::fixed(count.whole().unwrap_or(u64::MAX)), 1.0),
        ("list_reverse", Some(list), []) => made(size_of(list, sizes), 1.0),
        ("list_flatten", Some(list), []) => made(size_of(list, sizes), 1.0),
        ("list_flatten_int", Some(list), [depth]) => made(
            size_of(list, sizes),
            depth.whole().unwrap_or(u64::MAX) as f64,
        ),
        ("list_distinct", Some(list), []) => {
            let size = size_of(list, sizes);
            made(size.times(size), 2.0)
        }
        (_, Some(_), [keys]) if id.ends_with("_sortByAssociatedKeys") => sorted(keys),
        (_, Some(list), []) if id.starts_with("list_") && id.ends_with("_sort") => sorted(list),
        ("list_sets_contains_list" | "list_sets_intersects_list", _, [a, b]) => {
            let pairs = size_of(a, sizes).times(size_of(b, sizes));
            costs(pairs.at(1.0).plus(ONE))
        }
        ("list_sets_equivalent_list", _, [a, b]) => {
            let pairs = size_of(a, sizes).times(size_of(b, sizes));
            costs(pairs.at(2.0).plus(ONE))
        }
        _ => None,
    }
}

/// Kubernetes' libraries.
pub(super) fn library(
    function: &str,
    id: &str,
    target: Option<&Operand<'_>>,
    args: &[Operand<'_>],
    sizes: &dyn SizeHints,
) -> Option<Estimate> {
    let size = |operand: &Operand<'_>| size_of(operand, sizes);
    match (function, target, args) {
        ("check", ..) => costs(CostRange::fixed(AUTHORIZATION)),
        (
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
            | "allowed" | "reason" | "error" | "errored",
            ..,
        ) => costs(ONE),
        ("fieldSelector" | "labelSelector", _, [selector]) => costs(selector_cost(size(selector))),
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
            match element(target) {
                Some(item) => {
                    let each = match item.ty {
                        Type::String | Type::Bytes => ONE.plus(size(&item).at(TEXT_FACTOR)),
                        _ => ONE,
                    };
                    costs(size(target).times(each))
                }
                None => costs(size(target).at(TEXT_FACTOR)),
            }
        }
        ("url" | "jsonpatch.escapeKey", _, [text]) => gives(size(text).at(TEXT_FACTOR), size(text)),
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
            gives(size(text).at(TEXT_FACTOR), size(text))
        }
        ("replace", Some(text), [old, new, ..]) => {
            let made = replaced(size(text), size(old), size(new));
            gives(size(text).at(2.0 * TEXT_FACTOR), made)
        }
        ("split", Some(text), _) => {
            let most = args.get(1).and_then(Operand::whole);
            let max = most.unwrap_or(size(text).max);
            gives(size(text).at(2.0 * TEXT_FACTOR), Size { min: 0, max })
        }
        ("join", Some(list), _) => {
            let count = size(list);
            let mut made = match element(list) {
                Some(item) => count.times(size(&item)),
                None => Size::default(),
            };
            if let Some(separator) = args.first() {
                let between = Size {
                    min: count.min.saturating_sub(1),
                    max: count.max.saturating_sub(1),
                };
                made = made.plus(size(separator).times(between));
            }
            gives(made.at(TEXT_FACTOR), made)
        }
        ("find" | "findAll", Some(text), [pattern, ..]) => {
            let cost = size(text)
                .plus(ONE)
                .at(TEXT_FACTOR)
                .times(size(pattern).at(REGEX_FACTOR));
            let max = size(text).max;
            gives(cost, Size { min: 0, max })
        }
        ("ip", ..) if id == "cidr_ip" => costs(ONE),
        (
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
            _,
            [text, ..],
        ) => costs(size(text).at(TEXT_FACTOR)),
        ("ip.isCanonical", _, [text, ..]) => costs(size(text).at(2.0 * TEXT_FACTOR)),
        ("containsIP", _, [other, ..]) => {
            let address = Size { min: 4, max: 16 };
            let mut cost = address.plus(address).at(TEXT_FACTOR);
            if id == "cidr_contains_ip_string" {
                cost = cost.plus(size(other).at(TEXT_FACTOR));
            }
            costs(cost)
        }
        ("containsCIDR", _, [other, ..]) => {
            let address = Size { min: 4, max: 16 };
            let mut cost = address
                .plus(address)
                .at(TEXT_FACTOR)
                .plus(address.at(TEXT_FACTOR))
                .plus(ONE);
            if id == "cidr_contains_cidr_string" {
                cost = cost.plus(size(other).at(TEXT_FACTOR));
            }
            costs(cost)
        }
        ("validate", _, [text, ..]) => costs(
            size(text)
                .at(TEXT_FACTOR)
                .at(FORMAT_REGEX as f64 * REGEX_FACTOR),
        ),
        (
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery",
            ..,
        ) => costs(ONE),
        ("_==_", _, [a, b]) if a.ty.same(&b.ty) => match &a.ty {
            Type::Opaque(Opaque::NamedFormat) => costs(
                CostRange {
                    min: 1,
                    max: FORMAT_BYTES,
                }
                .at(TEXT_FACTOR),
            ),
            Type::Opaque(Opaque::Url) => {
                let max = b.size.map_or(1, |size| size.max);
                costs(CostRange { min: 1, max }.at(TEXT_FACTOR))
            }
            Type::Opaque(_) => costs(ONE),
            _ => None,
        },
        _ => None,
    }
}

/// How long a text gets by replacing: as often as the old text fits in, or with the new one between all
/// characters where the old one may be empty.
fn replaced(text: Size, old: Size, new: Size) -> Size {
    let mut count = Size::default();
    let mut kept = Size::default();
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = (text.max as f64 / old.min as f64).ceil() as u64;
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = (text.min as f64 / old.max as f64).ceil() as u64;
    }
    count.times(new).plus(kept)
}

/// What every CEL has; the arguments' own costs are not in it.
pub(super) fn standard(id: &str, target: Option<&Operand<'_>>, args: &[Operand<'_>]) -> Estimate {
    let found = match (id, target, args) {
        ("string_format", Some(format), _) => costs(or_unknown(format).at(TEXT_FACTOR)),
        ("string_to_bytes", _, [text]) => {
            let size = or_unknown(text);
            let made = Size {
                min: size.min,
                max: size.max.wrapping_mul(4),
            };
            gives(size.at(TEXT_FACTOR), made)
        }
        ("bytes_to_string", _, [bytes]) => {
            let size = or_unknown(bytes);
            let made = Size {
                min: size.min / 4,
                max: size.max,
            };
            gives(size.at(TEXT_FACTOR), made)
        }
        ("strings_quote", _, [text]) => {
            let size = or_unknown(text);
            let made = Size {
                min: size.min.wrapping_add(2),
                max: size.max.wrapping_mul(2).wrapping_add(2),
            };
            gives(size.at(TEXT_FACTOR), made)
        }
        ("starts_with_string" | "ends_with_string", _, [part]) => {
            costs(or_unknown(part).at(TEXT_FACTOR))
        }
        ("in_list", _, [_, list]) => costs(or_unknown(list).at(1.0)),
        ("matches_string", Some(text), [pattern]) => costs(
            or_unknown(text)
                .plus(ONE)
                .at(TEXT_FACTOR)
                .times(or_unknown(pattern).at(REGEX_FACTOR)),
        ),
        ("contains_string", Some(text), [part]) => costs(
            or_unknown(text)
                .at(TEXT_FACTOR)
                .times(or_unknown(part).at(TEXT_FACTOR)),
        ),
        ("add_string" | "add_bytes" | "add_list", _, [a, b]) => {
            let size = or_unknown(a).plus(or_unknown(b));
            let cost = if id == "add_list" {
                ONE
            } else {
                size.at(TEXT_FACTOR)
            };
            gives(cost, size)
        }
        (
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals",
            _,
            [a, b],
        ) => {
            let max = or_unknown(a).max.min(or_unknown(b).max);
            costs(
                CostRange {
                    min: u64::from(max > 0),
                    max,
                }
                .at(TEXT_FACTOR),
            )
        }
        _ => None,
    };
    found.unwrap_or(Estimate {
        cost: ONE,
        size: None,
    })
}
