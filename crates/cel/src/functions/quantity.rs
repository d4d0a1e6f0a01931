//! Quantities: `quantity('1.5Gi').isGreaterThan(quantity('1G'))`.

use api::quantity::{Format, Quantity};

use super::{Args, Row};
use crate::value::{Fault, OpaqueValue, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    (
        "quantity",
        "string_to_quantity",
        "(string) -> kubernetes.Quantity",
        parse,
    ),
    ("isQuantity", "is_quantity_string", "(string) -> bool", is),
    (
        "sign",
        "quantity_sign",
        "(kubernetes.Quantity) -> int",
        sign,
    ),
    (
        "isGreaterThan",
        "quantity_is_greater_than",
        "kubernetes.Quantity.(kubernetes.Quantity) -> bool",
        greater,
    ),
    (
        "isLessThan",
        "quantity_is_less_than",
        "kubernetes.Quantity.(kubernetes.Quantity) -> bool",
        less,
    ),
    (
        "compareTo",
        "quantity_compare_to",
        "kubernetes.Quantity.(kubernetes.Quantity) -> int",
        compare_to,
    ),
    (
        "asApproximateFloat",
        "quantity_get_float",
        "kubernetes.Quantity.() -> double",
        float,
    ),
    (
        "asInteger",
        "quantity_get_int",
        "kubernetes.Quantity.() -> int",
        integer,
    ),
    (
        "isInteger",
        "quantity_is_integer",
        "kubernetes.Quantity.() -> bool",
        is_integer,
    ),
    (
        "add",
        "quantity_add",
        "kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity",
        add,
    ),
    (
        "add",
        "quantity_add_int",
        "kubernetes.Quantity.(int) -> kubernetes.Quantity",
        add,
    ),
    (
        "sub",
        "quantity_sub",
        "kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity",
        sub,
    ),
    (
        "sub",
        "quantity_sub_int",
        "kubernetes.Quantity.(int) -> kubernetes.Quantity",
        sub,
    ),
];

fn quantity(args: Args<'_, '_>, place: usize) -> Result<Quantity, Fault> {
    match args.value(place)? {
        Value::Int(whole) => Ok(Quantity::new(*whole, Format::Exponent)),
        _ => match args.opaque(place)? {
            OpaqueValue::Quantity(quantity) => Ok(*quantity),
            _ => Err(Fault::no_such_overload()),
        },
    }
}

fn parse<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let quantity: Quantity = args
        .text(0)?
        .parse()
        .map_err(|error: api::quantity::QuantityError| Fault::new(error.to_string()))?;
    Ok(Value::opaque(OpaqueValue::Quantity(quantity)))
}

fn is<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(args.text(0)?.parse::<Quantity>().is_ok()))
}

fn sign<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(quantity(args, 0)?.nanos().signum() as i64))
}

fn greater<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(quantity(args, 0)? > quantity(args, 1)?))
}

fn less<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(quantity(args, 0)? < quantity(args, 1)?))
}

fn compare_to<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let order = quantity(args, 0)?.cmp(&quantity(args, 1)?);
    Ok(Value::Int(order as i64))
}

fn float<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Double(quantity(args, 0)?.as_f64()))
}

fn whole(quantity: Quantity) -> Option<i64> {
    quantity.is_whole().then(|| quantity.value())
}

fn integer<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    whole(quantity(args, 0)?)
        .map(Value::Int)
        .ok_or_else(|| Fault::new("cannot convert value to integer"))
}

fn is_integer<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(whole(quantity(args, 0)?).is_some()))
}

fn add<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let sum = quantity(args, 0)? + quantity(args, 1)?;
    Ok(Value::opaque(OpaqueValue::Quantity(sum)))
}

fn sub<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let difference = quantity(args, 0)? - quantity(args, 1)?;
    Ok(Value::opaque(OpaqueValue::Quantity(difference)))
}
