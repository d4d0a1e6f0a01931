//! What a checked expression's literals have to be: durations, timestamps and patterns that can be
//! read, lists and maps of one type, formats whose clauses go with what they are given.

use super::Checked;
use crate::{
    ast::{Element, Expr, Id, Kind, Literal},
    functions::{
        printf::{Piece, misfit, pieces},
        regexp,
    },
    source::Issues,
    types::Type,
    value::{Timestamp, parse_duration, parse_timestamp},
};

/// Reports what is wrong with literals.
pub(crate) fn check(checked: &Checked, issues: &mut Issues) {
    visit(checked, &checked.expr, false, issues);
}

fn report(checked: &Checked, id: Id, message: String, issues: &mut Issues) {
    issues.report(checked.positions.get(id as usize).copied(), message);
}

/// `formatted`: within a call of `format`, whose list may be of any types.
fn visit(checked: &Checked, expr: &Expr, formatted: bool, issues: &mut Issues) {
    let mut formatted = formatted;
    match &expr.kind {
        Kind::Call(call) => {
            formatted |= *call.function == *"format";
            if let Some(Expr {
                id,
                kind: Kind::Literal(Literal::String(text)),
            }) = call.args.first()
            {
                let valid = match &*call.function {
                    "duration" => parse_duration(text).is_some(),
                    "timestamp" => parse_timestamp(text)
                        .is_some_and(|t| Timestamp::new(t.seconds, t.nanos).is_some()),
                    "matches" if call.target.is_some() => regexp::compile(text).is_ok(),
                    _ => true,
                };
                if !valid {
                    let message = format!("invalid {} argument", call.function);
                    report(checked, *id, message, issues);
                }
            }
            if let (
                "format",
                Some(Expr {
                    kind: Kind::Literal(Literal::String(format)),
                    ..
                }),
                [
                    Expr {
                        kind: Kind::List(elements),
                        ..
                    },
                ],
            ) = (&*call.function, &call.target, call.args.as_slice())
            {
                check_format(checked, expr.id, format, elements, issues);
            }
        }
        Kind::List(elements) if !formatted => {
            let types = elements.iter().map(|element| {
                (
                    element.value.id,
                    present(checked, &element.value, element.optional),
                )
            });
            if let Some((id, expected, found)) = differing(types) {
                mismatch(checked, id, &expected, &found, issues);
            }
        }
        Kind::Map(entries) if !formatted => {
            let keys = entries
                .iter()
                .map(|entry| (entry.key.id, checked.ty(&entry.key).clone()));
            let values = entries.iter().map(|entry| {
                (
                    entry.value.id,
                    present(checked, &entry.value, entry.optional),
                )
            });
            for found in [differing(keys), differing(values)].into_iter().flatten() {
                mismatch(checked, found.0, &found.1, &found.2, issues);
            }
        }
        _ => {}
    }
    expr.children(&mut |child| visit(checked, child, formatted, issues));
}

fn mismatch(checked: &Checked, id: Id, expected: &Type, found: &Type, issues: &mut Issues) {
    let message = format!("expected type '{expected}' but found '{found}'");
    report(checked, id, message, issues);
}

fn present(checked: &Checked, expr: &Expr, optional: bool) -> Type {
    match checked.ty(expr) {
        Type::Optional(of) if optional => Type::clone(of),
        ty => ty.clone(),
    }
}

/// The first type that is not that of the first, with both.
fn differing(types: impl Iterator<Item = (Id, Type)>) -> Option<(Id, Type, Type)> {
    let mut first: Option<Type> = None;
    for (id, ty) in types {
        match &first {
            None => first = Some(ty),
            Some(own) if own.same(&ty) => {}
            Some(own) => return Some((id, own.clone(), ty)),
        }
    }
    None
}

fn check_format(
    checked: &Checked,
    id: Id,
    format: &str,
    elements: &[Element],
    issues: &mut Issues,
) {
    let mut used = 0;
    for piece in pieces(format) {
        let kind = match piece {
            Ok(Piece::Text(_)) => continue,
            Ok(Piece::Clause(kind, _)) => kind,
            Err(message) => {
                report(checked, id, message, issues);
                return;
            }
        };
        let Some(element) = elements.get(used) else {
            report(checked, id, format!("index {used} out of range"), issues);
            return;
        };
        used += 1;
        if let Err(bad) = goes(checked, kind, &element.value) {
            let message = misfit(kind, checked.ty(bad).kind_name());
            report(checked, bad.id, message, issues);
            return;
        }
    }
    if elements.len() > used {
        let message = format!(
            "too many arguments supplied to string.format (expected {used}, got {})",
            elements.len()
        );
        report(checked, id, message, issues);
    }
}

/// Does the clause go with the type? The part that does not, where not.
fn goes<'e>(checked: &Checked, kind: char, expr: &'e Expr) -> Result<(), &'e Expr> {
    let ty = checked.ty(expr);
    if ty.is_dyn() {
        return Ok(());
    }
    let fits = match kind {
        'd' | 'o' => matches!(ty, Type::Int | Type::Uint),
        'f' | 'e' => matches!(ty, Type::Double | Type::String),
        'b' => matches!(ty, Type::Int | Type::Uint | Type::Bool),
        'x' | 'X' => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
        _ => !matches!(ty, Type::Optional(_) | Type::Object(_) | Type::Opaque(_)),
    };
    if !fits {
        return Err(expr);
    }
    if kind != 's' {
        return Ok(());
    }
    match &expr.kind {
        Kind::List(elements) => elements
            .iter()
            .try_for_each(|element| goes(checked, kind, &element.value)),
        Kind::Map(entries) => entries.iter().try_for_each(|entry| {
            goes(checked, kind, &entry.key)?;
            goes(checked, kind, &entry.value)
        }),
        _ => Ok(()),
    }
}
