//! OpenAPI version 2 in the protobuf form of gnostic (`OpenAPIv2.proto`, message `Document`), which
//! clients written in Go ask for: a fifth of the JSON's size, and quicker to read.

use super::proto::wire::{VARINT, put_bytes, put_tag, put_varint};
use crate::{Map, Value};

/// The `Content-Type` of this form.
pub const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The names by which clients ask for it.
pub const ACCEPTED: [&str; 2] = [
    CONTENT_TYPE,
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

/// How a field of a message is written.
#[derive(Clone, Copy)]
enum Field {
    Text,
    Flag,
    Int,
    Double,
    Texts,
    /// Any value, as YAML.
    Any,
    Anys,
    One(Message),
    Many(Message),
    /// A map whose entries are `{name, value}` in the wrapper's field 1.
    Named(Message),
    /// A message that holds this one in its field of that number.
    Within(u32, Message),
    /// `string` or `[string]`, as `TypeItem`.
    Type,
    /// A schema or a flag, as `AdditionalPropertiesItem`.
    Additional,
    Paths,
    Responses,
    Parameters,
    Security,
    SecurityDefinitions,
}

/// The fields of a message by JSON name and tag, and the tag of its vendor extensions.
type Message = fn() -> (&'static [(&'static str, u32, Field)], u32);

fn document() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("swagger", 1, Field::Text),
        ("info", 2, Field::One(info)),
        ("host", 3, Field::Text),
        ("basePath", 4, Field::Text),
        ("schemes", 5, Field::Texts),
        ("consumes", 6, Field::Texts),
        ("produces", 7, Field::Texts),
        ("paths", 8, Field::Paths),
        ("definitions", 9, Field::Named(schema)),
        ("security", 12, Field::Security),
        ("securityDefinitions", 13, Field::SecurityDefinitions),
    ];
    (FIELDS, 16)
}

fn info() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("title", 1, Field::Text),
        ("version", 2, Field::Text),
        ("description", 3, Field::Text),
    ];
    (FIELDS, 7)
}

fn path_item() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("$ref", 1, Field::Text),
        ("get", 2, Field::One(operation)),
        ("put", 3, Field::One(operation)),
        ("post", 4, Field::One(operation)),
        ("delete", 5, Field::One(operation)),
        ("options", 6, Field::One(operation)),
        ("head", 7, Field::One(operation)),
        ("patch", 8, Field::One(operation)),
        ("parameters", 9, Field::Parameters),
    ];
    (FIELDS, 10)
}

fn operation() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("tags", 1, Field::Texts),
        ("summary", 2, Field::Text),
        ("description", 3, Field::Text),
        ("operationId", 5, Field::Text),
        ("produces", 6, Field::Texts),
        ("consumes", 7, Field::Texts),
        ("parameters", 8, Field::Parameters),
        ("responses", 9, Field::Responses),
        ("schemes", 10, Field::Texts),
        ("deprecated", 11, Field::Flag),
        ("security", 12, Field::Security),
    ];
    (FIELDS, 13)
}

fn response() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("description", 1, Field::Text),
        ("schema", 2, Field::Within(1, schema)),
    ];
    (FIELDS, 5)
}

fn body_parameter() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("description", 1, Field::Text),
        ("name", 2, Field::Text),
        ("in", 3, Field::Text),
        ("required", 4, Field::Flag),
        ("schema", 5, Field::One(schema)),
    ];
    (FIELDS, 6)
}

/// Parameters in queries; those in forms have the same fields.
fn query_parameter() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("required", 1, Field::Flag),
        ("in", 2, Field::Text),
        ("description", 3, Field::Text),
        ("name", 4, Field::Text),
        ("allowEmptyValue", 5, Field::Flag),
        ("type", 6, Field::Text),
        ("format", 7, Field::Text),
        ("default", 10, Field::Any),
        ("maximum", 11, Field::Double),
        ("minimum", 13, Field::Double),
        ("pattern", 17, Field::Text),
        ("uniqueItems", 20, Field::Flag),
        ("enum", 21, Field::Anys),
    ];
    (FIELDS, 23)
}

/// Parameters in paths; those in headers have the same fields.
fn path_parameter() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("required", 1, Field::Flag),
        ("in", 2, Field::Text),
        ("description", 3, Field::Text),
        ("name", 4, Field::Text),
        ("type", 5, Field::Text),
        ("format", 6, Field::Text),
        ("default", 9, Field::Any),
        ("pattern", 16, Field::Text),
        ("uniqueItems", 19, Field::Flag),
        ("enum", 20, Field::Anys),
    ];
    (FIELDS, 22)
}

fn reference() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] =
        &[("$ref", 1, Field::Text), ("description", 2, Field::Text)];
    (FIELDS, 0)
}

fn schema() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("$ref", 1, Field::Text),
        ("format", 2, Field::Text),
        ("title", 3, Field::Text),
        ("description", 4, Field::Text),
        ("default", 5, Field::Any),
        ("multipleOf", 6, Field::Double),
        ("maximum", 7, Field::Double),
        ("exclusiveMaximum", 8, Field::Flag),
        ("minimum", 9, Field::Double),
        ("exclusiveMinimum", 10, Field::Flag),
        ("maxLength", 11, Field::Int),
        ("minLength", 12, Field::Int),
        ("pattern", 13, Field::Text),
        ("maxItems", 14, Field::Int),
        ("minItems", 15, Field::Int),
        ("uniqueItems", 16, Field::Flag),
        ("maxProperties", 17, Field::Int),
        ("minProperties", 18, Field::Int),
        ("required", 19, Field::Texts),
        ("enum", 20, Field::Anys),
        ("additionalProperties", 21, Field::Additional),
        ("type", 22, Field::Type),
        ("items", 23, Field::Within(1, schema)),
        ("allOf", 24, Field::Many(schema)),
        ("properties", 25, Field::Named(schema)),
        ("discriminator", 26, Field::Text),
        ("readOnly", 27, Field::Flag),
        ("example", 30, Field::Any),
    ];
    (FIELDS, 31)
}

fn key_security() -> (&'static [(&'static str, u32, Field)], u32) {
    const FIELDS: &[(&str, u32, Field)] = &[
        ("type", 1, Field::Text),
        ("name", 2, Field::Text),
        ("in", 3, Field::Text),
        ("description", 4, Field::Text),
    ];
    (FIELDS, 5)
}

/// A whole OpenAPI version 2 document.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, document, value);
    out
}

fn nested(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    put_bytes(out, tag, &inner);
}

fn message(out: &mut Vec<u8>, fields: Message, value: &Value) {
    let Some(map) = value.as_object() else { return };
    let (fields, extensions) = fields();
    for (name, tag, kind) in fields {
        if let Some(value) = map.get(*name) {
            field(out, *tag, *kind, value);
        }
    }
    if extensions > 0 {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            named(out, extensions, name, |out| any(out, value));
        }
    }
}

/// An entry `{name, value}`.
fn named(out: &mut Vec<u8>, tag: u32, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    nested(out, tag, |out| {
        put_bytes(out, 1, name.as_bytes());
        nested(out, 2, write);
    });
}

/// The message `Any`: JSON is YAML.
fn any(out: &mut Vec<u8>, value: &Value) {
    put_bytes(out, 2, format!("{value}\n").as_bytes());
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn field(out: &mut Vec<u8>, tag: u32, kind: Field, value: &Value) {
    let list = || value.as_array().into_iter().flatten();
    match kind {
        Field::Text => put_bytes(out, tag, value.as_str().unwrap_or("").as_bytes()),
        Field::Flag => {
            if value.as_bool() == Some(true) {
                put_tag(out, tag, VARINT);
                put_varint(out, 1);
            }
        }
        Field::Int => {
            if let Some(number) = value.as_i64() {
                put_tag(out, tag, VARINT);
                put_varint(out, number as u64);
            }
        }
        Field::Double => {
            if let Some(number) = value.as_f64() {
                put_tag(out, tag, 1);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        Field::Texts => list()
            .filter_map(Value::as_str)
            .for_each(|text| put_bytes(out, tag, text.as_bytes())),
        Field::Any => nested(out, tag, |out| any(out, value)),
        Field::Anys => list().for_each(|value| nested(out, tag, |out| any(out, value))),
        Field::One(inner) => nested(out, tag, |out| message(out, inner, value)),
        Field::Many(inner) => {
            list().for_each(|value| nested(out, tag, |out| message(out, inner, value)));
        }
        Field::Named(inner) => nested(out, tag, |out| {
            for (name, value) in entries(value) {
                named(out, 1, name, |out| message(out, inner, value));
            }
        }),
        Field::Within(number, inner) => nested(out, tag, |out| {
            nested(out, number, |out| message(out, inner, value));
        }),
        Field::Type => nested(out, tag, |out| match value {
            Value::Array(_) => field(out, 1, Field::Texts, value),
            value => field(out, 1, Field::Text, value),
        }),
        Field::Additional => nested(out, tag, |out| match value {
            Value::Bool(flag) => {
                put_tag(out, 2, VARINT);
                put_varint(out, u64::from(*flag));
            }
            value => nested(out, 1, |out| message(out, schema, value)),
        }),
        Field::Paths => nested(out, tag, |out| {
            for (name, value) in entries(value) {
                named(out, 2, name, |out| message(out, path_item, value));
            }
        }),
        Field::Responses => nested(out, tag, |out| {
            for (code, value) in entries(value) {
                named(out, 1, code, |out| {
                    nested(out, 1, |out| message(out, response, value));
                });
            }
        }),
        Field::Parameters => {
            list().for_each(|value| nested(out, tag, |out| parameter(out, value)));
        }
        Field::Security => list().for_each(|requirement| {
            nested(out, tag, |out| {
                for (name, scopes) in entries(requirement) {
                    named(out, 1, name, |out| field(out, 1, Field::Texts, scopes));
                }
            });
        }),
        Field::SecurityDefinitions => nested(out, tag, |out| {
            for (name, value) in entries(value) {
                named(out, 1, name, |out| {
                    nested(out, 2, |out| message(out, key_security, value));
                });
            }
        }),
    }
}

/// A `ParametersItem`.
fn parameter(out: &mut Vec<u8>, value: &Value) {
    if value.get("$ref").is_some() {
        return nested(out, 2, |out| message(out, reference, value));
    }
    let place = value.get("in").and_then(Value::as_str);
    let (number, inner): (u32, Message) = match place {
        Some("body") => {
            return nested(out, 1, |out| {
                nested(out, 1, |out| message(out, body_parameter, value));
            });
        }
        Some("header") => (1, path_parameter),
        Some("formData") => (2, query_parameter),
        Some("path") => (4, path_parameter),
        _ => (3, query_parameter),
    };
    nested(out, 1, |out| {
        nested(out, 2, |out| {
            nested(out, number, |out| message(out, inner, value));
        });
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_written_as_gnostic_reads_it() {
        let value = json!({"swagger": "2.0", "definitions": {"A": {
            "type": "object", "maxItems": 300, "required": ["b"],
            "properties": {"b": {"$ref": "#/definitions/B"}},
            "additionalProperties": false, "x-y": {"a": 1}}}});
        let expected: &[&[u8]] = &[
            b"\x0a\x032.0",
            b"\x4a\x4d\x0a\x4b\x0a\x01A\x12\x46",
            b"\x70\xac\x02",
            b"\x9a\x01\x01b",
            b"\xaa\x01\x02\x10\x00",
            b"\xb2\x01\x08\x0a\x06object",
            b"\xca\x01\x18\x0a\x16\x0a\x01b\x12\x11\x0a\x0f#/definitions/B",
            b"\xfa\x01\x11\x0a\x03x-y\x12\x0a\x12\x08{\"a\":1}\n",
        ];
        assert_eq!(encode(&value), expected.concat());
    }

    #[test]
    fn parameters_are_told_apart_by_their_place() {
        let mut out = Vec::new();
        parameter(
            &mut out,
            &json!({"name": "n", "in": "path", "required": true}),
        );
        assert_eq!(
            out,
            b"\x0a\x0f\x12\x0d\x22\x0b\x08\x01\x12\x04path\x22\x01n"[..].to_vec()
        );
        let mut out = Vec::new();
        parameter(
            &mut out,
            &json!({"name": "b", "in": "body", "schema": {"$ref": "x"}}),
        );
        assert_eq!(
            out,
            b"\x0a\x10\x0a\x0e\x12\x01b\x1a\x04body\x2a\x03\x0a\x01x"[..].to_vec()
        );
    }
}
