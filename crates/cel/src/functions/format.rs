//! Named formats: `format.dns1123Label().validate(name)` gives what is wrong with a text, if anything.

use std::borrow::Cow;

use api::names;
use base64::{Engine, engine::general_purpose};

use super::{Args, Row, url};
use crate::value::{Fault, OpaqueValue, Outcome, Value, parse_timestamp};

pub(super) const ROWS: &[Row] = &[
    (
        "validate",
        "format-validate",
        "kubernetes.NamedFormat.(string) -> optional(list(string))",
        validate,
    ),
    (
        "format.named",
        "format-named",
        "(string) -> optional(kubernetes.NamedFormat)",
        named,
    ),
    (
        "format.dns1123Label",
        "format.dns1123Label",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1123Label"),
    ),
    (
        "format.dns1123Subdomain",
        "format.dns1123Subdomain",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1123Subdomain"),
    ),
    (
        "format.dns1035Label",
        "format.dns1035Label",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1035Label"),
    ),
    (
        "format.qualifiedName",
        "format.qualifiedName",
        "() -> kubernetes.NamedFormat",
        |_| get("qualifiedName"),
    ),
    (
        "format.dns1123LabelPrefix",
        "format.dns1123LabelPrefix",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1123LabelPrefix"),
    ),
    (
        "format.dns1123SubdomainPrefix",
        "format.dns1123SubdomainPrefix",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1123SubdomainPrefix"),
    ),
    (
        "format.dns1035LabelPrefix",
        "format.dns1035LabelPrefix",
        "() -> kubernetes.NamedFormat",
        |_| get("dns1035LabelPrefix"),
    ),
    (
        "format.labelValue",
        "format.labelValue",
        "() -> kubernetes.NamedFormat",
        |_| get("labelValue"),
    ),
    (
        "format.uri",
        "format.uri",
        "() -> kubernetes.NamedFormat",
        |_| get("uri"),
    ),
    (
        "format.uuid",
        "format.uuid",
        "() -> kubernetes.NamedFormat",
        |_| get("uuid"),
    ),
    (
        "format.byte",
        "format.byte",
        "() -> kubernetes.NamedFormat",
        |_| get("byte"),
    ),
    (
        "format.date",
        "format.date",
        "() -> kubernetes.NamedFormat",
        |_| get("date"),
    ),
    (
        "format.datetime",
        "format.datetime",
        "() -> kubernetes.NamedFormat",
        |_| get("datetime"),
    ),
];

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// As functions call it.
    pub name: &'static str,
    /// How long a regular expression checking it is reckoned to be, for its cost.
    pub(crate) regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat {
        name: "dns1123Label",
        regex_size: 30,
        check: names::dns1123_label,
    },
    NamedFormat {
        name: "dns1123Subdomain",
        regex_size: 60,
        check: names::dns1123_subdomain,
    },
    NamedFormat {
        name: "dns1035Label",
        regex_size: 30,
        check: names::dns1035_label,
    },
    NamedFormat {
        name: "qualifiedName",
        regex_size: 60,
        check: names::qualified_name,
    },
    NamedFormat {
        name: "dns1123LabelPrefix",
        regex_size: 30,
        check: |text| names::dns1123_label(&prefix(text)),
    },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        regex_size: 60,
        check: |text| names::dns1123_subdomain(&prefix(text)),
    },
    NamedFormat {
        name: "dns1035LabelPrefix",
        regex_size: 30,
        check: |text| names::dns1035_label(&prefix(text)),
    },
    NamedFormat {
        name: "labelValue",
        regex_size: 40,
        check: names::label_value,
    },
    NamedFormat {
        name: "uri",
        regex_size: 1103,
        check: |text| url::Url::parse_request(text).err().into_iter().collect(),
    },
    NamedFormat {
        name: "uuid",
        regex_size: 70,
        check: |text| said(is_uuid(text), "does not match the UUID format"),
    },
    NamedFormat {
        name: "byte",
        regex_size: 84,
        check: |text| said(is_base64(text), "invalid base64"),
    },
    NamedFormat {
        name: "date",
        regex_size: 68,
        check: |text| said(is_date(text), "invalid date"),
    },
    NamedFormat {
        name: "datetime",
        regex_size: 68,
        check: |text| said(is_date_time(text), "invalid datetime"),
    },
];

fn said(valid: bool, complaint: &str) -> Vec<String> {
    if valid {
        return Vec::new();
    }
    vec![complaint.to_owned()]
}

/// What `generateName` takes may end with a dash.
fn prefix(text: &str) -> Cow<'_, str> {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => Cow::Owned(format!("{rest}a")),
        _ => Cow::Borrowed(text),
    }
}

fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (place, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if place > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(digits) = rest.get(..length) else {
            return false;
        };
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        rest = &rest[length..];
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && general_purpose::STANDARD.decode(text).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && parse_timestamp(&format!("{text}T00:00:00Z")).is_some()
}

fn is_date_time(text: &str) -> bool {
    text.is_ascii() && parse_timestamp(&text.to_ascii_uppercase()).is_some()
}

fn get<'a>(name: &str) -> Outcome<'a> {
    FORMATS
        .iter()
        .find(|format| format.name == name)
        .map(|format| Value::opaque(OpaqueValue::NamedFormat(format)))
        .ok_or_else(Fault::no_such_overload)
}

fn named<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match get(args.text(0)?) {
        Ok(format) => Value::some(format),
        Err(_) => Value::Optional(None),
    })
}

fn validate<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let OpaqueValue::NamedFormat(format) = args.opaque(0)? else {
        return Err(Fault::no_such_overload());
    };
    let wrongs = (format.check)(args.text(1)?);
    if wrongs.is_empty() {
        return Ok(Value::Optional(None));
    }
    let wrongs = wrongs.into_iter().map(Value::string).collect();
    Ok(Value::some(Value::list(wrongs)))
}
