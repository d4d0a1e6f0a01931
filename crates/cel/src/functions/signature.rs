//! Signatures as text: `list(A).(A) -> int`, `(string, bool) -> kubernetes.Semver`. `T` stands for each
//! of several types in turn and makes one overload of each, whose name has `{}` in the type's place:
//! `T:int|uint list(T).() -> T`.

use super::{Function, Overload};
use crate::{
    environment::Library,
    types::{Opaque, Type},
};

/// The overloads one row declares.
pub(super) fn overloads(
    id: &'static str,
    signature: &'static str,
    library: Library,
    code: Function,
) -> Vec<Overload> {
    let Some((names, template)) = signature
        .strip_prefix("T:")
        .and_then(|rest| rest.split_once(' '))
    else {
        return vec![one(id, signature, library, code)];
    };
    names
        .split('|')
        .map(|name| {
            // Made once per process and kept for as long as it runs.
            let id: &'static str = id.replace("{}", name).leak();
            let signature: &'static str = template.replace('T', name).leak();
            one(id, signature, library, code)
        })
        .collect()
}

fn one(id: &'static str, signature: &'static str, library: Library, code: Function) -> Overload {
    let (left, right) = signature.split_once(" -> ").unwrap_or((signature, ""));
    let (target, rest) = match left.split_once(".(") {
        Some((target, rest)) => (Some(target), rest),
        None => (None, left.strip_prefix('(').unwrap_or(left)),
    };
    let rest = rest.strip_suffix(')').unwrap_or(rest);
    let params: Vec<Type> = target.into_iter().chain(split(rest)).map(read).collect();
    let result = read(right);
    let generic = params.iter().chain([&result]).any(has_param);
    Overload {
        id,
        library,
        member: target.is_some(),
        params,
        result,
        generic,
        code,
    }
}

fn has_param(ty: &Type) -> bool {
    match ty {
        Type::Param(_) => true,
        Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => has_param(of),
        Type::Map(entry) => has_param(&entry.0) || has_param(&entry.1),
        _ => false,
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (place, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

fn read(text: &str) -> Type {
    if let Some((outer, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let parts = split(inner);
        return match (outer, parts.as_slice()) {
            ("list", [element]) => Type::list(read(element)),
            ("optional", [of]) => Type::optional(read(of)),
            ("type", [of]) => Type::Type(Some(read(of).into())),
            ("map", [key, value]) => Type::map(read(key), read(value)),
            _ => Type::Error,
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        name => Opaque::ALL
            .into_iter()
            .find(|opaque| opaque.name() == name)
            .map_or(Type::Error, Type::Opaque),
    }
}
