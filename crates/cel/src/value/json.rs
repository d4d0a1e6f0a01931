//! Values out of JSON, with a schema's types or none, and back.

use base64::{Engine, engine::general_purpose};
use serde_json::Value as Json;

use super::{Fault, Key, List, Map, OpaqueValue, Outcome, Value, parse_duration, time};
use crate::declared::{Declared, Shape, TextForm};

/// JSON of no known type.
pub(super) fn dynamic(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::string(text.as_str()),
        Json::Array(items) => Value::List(List::json(items)),
        Json::Object(fields) => Value::Map(Map::json(fields)),
    }
}

/// JSON at a place of a schema. Messages as upstream's `UnstructuredToVal`.
pub(super) fn typed<'a>(json: &'a Json, declared: &'a Declared) -> Outcome<'a> {
    if json.is_null() {
        return if declared.nullable {
            Ok(Value::Null)
        } else {
            Err(Fault::new(
                "invalid data, got null for schema with nullable=false",
            ))
        };
    }
    match (&declared.shape, json) {
        (Shape::IntOrString, Json::String(text)) => Ok(Value::string(text.as_str())),
        (Shape::IntOrString, Json::Number(number)) if number.is_i64() => Ok(dynamic(json)),
        (Shape::IntOrString, _) => Err(Fault::new(
            "invalid data, expected XIntOrString value to be either a string or integer",
        )),
        (Shape::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Shape::Bool, other) => Err(unexpected("bool", other)),
        (Shape::Int, Json::Number(number)) if number.is_i64() => Ok(dynamic(json)),
        (Shape::Int, other) => Err(unexpected("int", other)),
        (Shape::Double, Json::Number(number)) => {
            Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN)))
        }
        (Shape::Double, other) => Err(unexpected("float", other)),
        (Shape::Text(form), Json::String(text)) => formed(text, *form),
        (Shape::Text(_), other) => Err(unexpected("string", other)),
        (Shape::List(element, kind), Json::Array(items)) => {
            Ok(Value::List(List::typed(items, element, kind)))
        }
        (Shape::List(..), _) => Err(Fault::new(
            "invalid data, expected an array for the provided schema with type=array",
        )),
        (Shape::Map(element), Json::Object(fields)) => Ok(Value::Map(Map::values(fields, element))),
        (Shape::Object(properties), Json::Object(fields)) => {
            Ok(Value::Map(Map::object(fields, properties)))
        }
        (Shape::Map(_) | Shape::Object(_), _) => Err(Fault::new(
            "invalid data, expected a map for the provided schema with type=object",
        )),
    }
}

fn unexpected(wanted: &str, got: &Json) -> Fault {
    let kind = match got {
        Json::Null => "nil",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    Fault::new(format!("invalid data, expected {wanted}, got {kind}"))
}

fn formed(text: &str, form: TextForm) -> Outcome<'_> {
    match form {
        TextForm::Plain => Ok(Value::string(text)),
        TextForm::Bytes => general_purpose::STANDARD
            .decode(text)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|error| {
                Fault::new(format!("Invalid byte formatted string {text}: {error}"))
            }),
        TextForm::Duration => parse_duration(text)
            .or_else(|| time::parse_worded_duration(text))
            .map(Value::Duration)
            .ok_or_else(|| {
                Fault::new(format!(
                    "Invalid duration {text}: unable to parse {text} as duration"
                ))
            }),
        TextForm::Date => time::parse_date(text)
            .map(Value::Timestamp)
            .ok_or_else(|| {
                Fault::new(format!(
                    "Invalid date formatted string {text}: parsing time {text:?} as \"2006-01-02\": cannot parse {text:?} as \"2006\""
                ))
            }),
        TextForm::DateTime => time::parse_date_time(text)
            .map(Value::Timestamp)
            .ok_or_else(|| {
                Fault::new(format!(
                    "Invalid date-time formatted string {text}: parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                ))
            }),
    }
}

/// As JSON.
pub(super) fn write(value: &Value<'_>) -> Result<Json, Fault> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Double(value) => serde_json::Number::from_f64(*value)
            .map(Json::Number)
            .ok_or_else(|| Fault::new(format!("{value} has no form in JSON")))?,
        Value::String(text) => Json::String(text.as_str().to_owned()),
        Value::Bytes(bytes) => Json::String(general_purpose::STANDARD.encode(bytes)),
        Value::Timestamp(timestamp) => Json::String(timestamp.to_string()),
        Value::Duration(duration) => Json::String(duration.to_string()),
        Value::List(list) => Json::Array(
            list.iter()
                .map(|item| item.and_then(|item| write(&item)))
                .collect::<Result<_, _>>()?,
        ),
        Value::Map(map) => match map.source() {
            Some(fields) => Json::Object(fields.clone()),
            None => {
                let mut fields = serde_json::Map::new();
                for (key, value) in map.entries()? {
                    let Key::String(name) = key else {
                        return Err(Fault::new(
                            "only maps whose keys are texts have a form in JSON",
                        ));
                    };
                    fields.insert(name.as_str().to_owned(), write(&value)?);
                }
                Json::Object(fields)
            }
        },
        Value::Struct(made) => {
            let mut fields = serde_json::Map::new();
            for (name, value) in &made.fields {
                fields.insert(name.to_string(), write(value)?);
            }
            Json::Object(fields)
        }
        Value::Optional(Some(value)) => write(value)?,
        Value::Optional(None) => Json::Null,
        Value::Opaque(opaque) => match &**opaque {
            OpaqueValue::Quantity(quantity) => Json::String(quantity.to_string()),
            OpaqueValue::Ip(ip) => Json::String(ip.to_string()),
            OpaqueValue::Cidr(cidr) => Json::String(cidr.to_string()),
            OpaqueValue::Url(url) => Json::String(url.text.to_string()),
            OpaqueValue::Semver(version) => Json::String(version.to_string()),
            other => {
                return Err(Fault::new(format!(
                    "{} has no form in JSON",
                    other.kind().name()
                )));
            }
        },
        Value::Type(_) | Value::Variables => {
            return Err(Fault::new(format!(
                "{} has no form in JSON",
                value.type_name()
            )));
        }
    })
}
