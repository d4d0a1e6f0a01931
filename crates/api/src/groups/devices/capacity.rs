//! How much of a device there is, and what may be asked of it at once.

use schema::{Path, Value, field_error::FieldError};

use super::values::too_many;
use crate::{object::Object, quantity::Quantity};

const OPTIONS_MAX: usize = 10;

/// A capacity of a device, which several may share.
pub fn capacity(capacity: &Value, shared: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let policy = capacity.at("requestPolicy");
    if policy.is_null() {
        return;
    }
    let path = path.field("requestPolicy");
    if !shared {
        let wrong = "allowMultipleAllocations must be true";
        errors.push(FieldError::forbidden(path, wrong));
        return;
    }
    let most = Quantity::of(capacity.at("value"));
    let values = !policy.list("validValues").is_empty();
    let kind = match (values, policy.has("validRange")) {
        (true, true) => {
            let wrong = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(FieldError::forbidden(path, wrong));
            return;
        }
        (true, false) => "validValues",
        (false, true) => "validRange",
        (false, false) => return,
    };
    if !policy.has("default") {
        let wrong = format!("required when {kind} is defined");
        errors.push(FieldError::required(path.field("default"), wrong));
        return;
    }
    let default = Quantity::of(policy.at("default"));
    let field = path.field(kind);
    if values {
        options(policy.list("validValues"), default, most, &field, errors);
    } else {
        range(policy.at("validRange"), default, most, &field, errors);
    }
}

fn shown(amount: Quantity) -> String {
    amount.to_string()
}

fn options(
    values: &[Value],
    default: Quantity,
    most: Quantity,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let values: Vec<Quantity> = values.iter().map(Quantity::of).collect();
    for (index, pair) in values.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let wrong = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(
                path.index(index + 1),
                shown(pair[1]),
                wrong,
            ));
        }
    }
    let mut found = false;
    if !too_many(&values, OPTIONS_MAX, path, errors) {
        for (index, value) in values.iter().enumerate() {
            if *value > most {
                let wrong = format!("option is larger than capacity value: {most}");
                errors.push(FieldError::invalid(path.index(index), shown(*value), wrong));
            }
            found |= *value == default;
            if values[..index]
                .iter()
                .any(|other| other.value() == value.value())
            {
                let key = value.value().to_string();
                errors.push(FieldError::duplicate(path.index(index), key));
            }
        }
    }
    if !found {
        let wrong = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, shown(default), wrong));
    }
}

fn range(
    range: &Value,
    default: Quantity,
    most: Quantity,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let amount = |field: &str| range.has(field).then(|| Quantity::of(range.at(field)));
    let Some(least) = amount("min") else {
        let wrong = "required when validRange is defined";
        errors.push(FieldError::required(path.field("min"), wrong));
        return;
    };
    let greatest = amount("max");
    let mut judge = |broken: bool, field: &str, value: Quantity, wrong: String| {
        if broken {
            errors.push(FieldError::invalid(path.field(field), shown(value), wrong));
        }
    };
    let larger = |what: &str| format!("{what} is larger than capacity value: {most}");
    judge(least > most, "min", least, larger("min"));
    judge(
        default < least,
        "min",
        default,
        format!("default is less than min: {least}"),
    );
    if let Some(greatest) = greatest {
        judge(
            least > greatest,
            "max",
            least,
            format!("min is larger than max: {greatest}"),
        );
        judge(greatest > most, "max", greatest, larger("max"));
        judge(
            default > greatest,
            "max",
            default,
            format!("default is more than max: {greatest}"),
        );
    }
    let Some(step) = amount("step").filter(|step| step.value() != 0) else {
        return;
    };
    let next = Quantity::new(least.value() + step.value(), least.format());
    let wrong = format!("one step {next} is larger than capacity value: {most}");
    judge(next > most, "step", step, wrong);
    for value in std::iter::once(default).chain(greatest) {
        let odd = (value.value() - least.value()) % step.value() != 0;
        let wrong = format!("value is not a multiple of a given step ({step}) from ({least})");
        judge(odd, "step", value, wrong);
    }
}
