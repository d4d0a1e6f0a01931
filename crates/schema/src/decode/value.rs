//! The visitor that every text form goes through: it knows from the table what belongs at each
//! place, and keeps on after a wrong type so that all unknown fields are found.

use std::{borrow::Cow, fmt};

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::{DecodeError, Decoded, MAX_STRICT_ERRORS};
use crate::{
    Map, Path, Value,
    field_error::quote,
    table::{Field, Kind, Scalar, Struct, Table, Ty, TypeId},
    text,
};

/// What was found on the way.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) strict: Vec<String>,
    wrong: Option<String>,
    /// The object is a custom resource, of which upstream tells in another order.
    custom: bool,
}

impl Findings {
    pub(super) fn finish(mut self, value: Value) -> Result<Decoded, DecodeError> {
        if self.custom {
            // Doubles, then metadata, then what the schema does not name, sorted.
            self.strict.sort_by_cached_key(|text| {
                let unknown = text.strip_prefix("unknown field ");
                let rank = unknown.map(|path| !path.starts_with("\"metadata."));
                (rank, unknown.unwrap_or_default().to_owned())
            });
        }
        match self.wrong {
            Some(wrong) => Err(DecodeError::Type(wrong)),
            None => Ok(Decoded {
                value,
                strict: self.strict,
            }),
        }
    }

    fn add(&mut self, what: &str, path: &Path<'_>) {
        if self.strict.len() < MAX_STRICT_ERRORS {
            let text = format!("{what} {}", quote(&path.to_string()));
            if !self.strict.contains(&text) {
                self.strict.push(text);
            }
        }
    }

    fn unknown(&mut self, path: &Path<'_>) {
        self.add("unknown field", path);
    }

    pub(super) fn duplicate(&mut self, path: &Path<'_>) {
        self.add("duplicate field", path);
    }

    fn wrong(&mut self, text: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(text());
        }
    }
}

pub(super) fn decode(table: &Table, ty: TypeId, object: Value) -> Result<Decoded, DecodeError> {
    let mut findings = Findings::default();
    let value = Node::root(table, ty, &mut findings, &Path::ROOT)
        .deserialize(object)
        .map_err(|error| DecodeError::Json(error.to_string()))?;
    findings.finish(value)
}

/// One place: what belongs there, and where it is.
pub(super) struct Node<'a, 't> {
    table: &'t Table,
    kind: Kind<'t>,
    /// The struct type that has the field, as Go's messages name it.
    owner: Option<TypeId>,
    /// Part of a custom resource: what has the wrong type stays, for validation to name.
    custom: bool,
    findings: &'a mut Findings,
    path: &'a Path<'a>,
}

impl<'a, 't> Node<'a, 't> {
    pub(super) fn root(
        table: &'t Table,
        ty: TypeId,
        findings: &'a mut Findings,
        path: &'a Path<'a>,
    ) -> Self {
        let kind = table.kind_of(ty);
        findings.custom = matches!(kind, Kind::Struct(_, fields) if fields.custom);
        Self {
            table,
            kind,
            owner: None,
            custom: false,
            findings,
            path,
        }
    }

    fn child<'b>(&'b mut self, ty: &'t Ty, path: &'b Path<'b>) -> Node<'b, 't> {
        let kind = self.table.kind(ty);
        Node {
            table: self.table,
            kind,
            owner: self.owner,
            // Metadata is typed wherever it is.
            custom: self.custom && !matches!(kind, Kind::Struct(_, fields) if !fields.custom),
            findings: self.findings,
            path,
        }
    }

    fn wrong(&mut self, found: &str) -> Value {
        let (table, kind, owner, path) = (self.table, self.kind, self.owner, self.path);
        self.findings.wrong(|| {
            let wanted = go_name(table, &kind);
            match owner {
                Some(owner) => format!(
                    "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
                    table.get(owner).short_name(),
                    path.fields_only()
                ),
                None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
            }
        });
        Value::Null
    }

    fn unreadable(&mut self, text: String) -> Value {
        self.findings.wrong(|| text);
        Value::Null
    }

    fn number(mut self, shown: impl fmt::Display, number: serde_json::Number) -> Value {
        if self.custom {
            return Value::Number(number);
        }
        match self.kind {
            Kind::Scalar(Scalar::Int32) => {
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) {
                    return Value::Number(number);
                }
            }
            Kind::Scalar(Scalar::Int64) => {
                if number.as_i64().is_some() {
                    return Value::Number(number);
                }
            }
            Kind::Scalar(Scalar::Double | Scalar::Any) => return Value::Number(number),
            Kind::Scalar(Scalar::Quantity) => return self.quantity(&shown.to_string()),
            Kind::Scalar(Scalar::IntOrString) => {
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) {
                    return Value::Number(number);
                }
                return self.unreadable(format!(
                    "json: cannot unmarshal number {shown} into Go value of type int32"
                ));
            }
            _ => return self.wrong_type("number"),
        }
        self.wrong(&format!("number {shown}"))
    }

    fn quantity(&mut self, text: &str) -> Value {
        match self.table.quantity(text) {
            Ok(text) => Value::String(text.into_owned()),
            Err(reason) => self.unreadable(reason),
        }
    }

    fn text(mut self, text: Cow<'_, str>) -> Value {
        if self.custom {
            return Value::String(text.into_owned());
        }
        let fixed = match self.kind {
            Kind::Scalar(Scalar::String | Scalar::IntOrString | Scalar::Any) => {
                return Value::String(text.into_owned());
            }
            Kind::Scalar(Scalar::Quantity) => return self.quantity(&text),
            Kind::Scalar(Scalar::Time) => text::time(&text),
            Kind::Scalar(Scalar::MicroTime) => text::micro_time(&text),
            Kind::Scalar(Scalar::Duration) => {
                text::parse_duration(&text).map(|nanos| Some(text::duration(nanos)))
            }
            Kind::Scalar(Scalar::Bytes) => text::base64(&text).map(|()| None),
            _ => return self.wrong_type("string"),
        };
        match fixed {
            Ok(Some(fixed)) => Value::String(fixed),
            Ok(None) => Value::String(text.into_owned()),
            Err(reason) => self.unreadable(reason),
        }
    }

    fn wrong_type(mut self, found: &str) -> Value {
        match self.kind {
            Kind::Scalar(Scalar::Quantity) => self.unreadable(text::QUANTITY_FORM.to_owned()),
            Kind::Scalar(Scalar::Time | Scalar::MicroTime | Scalar::Duration) => self.unreadable(
                format!("json: cannot unmarshal {found} into Go value of type string"),
            ),
            Kind::Scalar(Scalar::IntOrString) => self.unreadable(format!(
                "json: cannot unmarshal {found} into Go value of type int32"
            )),
            _ => self.wrong(found),
        }
    }

    fn object<'de, A: MapAccess<'de>>(
        mut self,
        id: TypeId,
        fields: &'t Struct,
        mut access: A,
    ) -> Result<Value, A::Error> {
        self.owner = Some(id);
        self.custom = fields.custom;
        let mut out = Map::new();
        let mut seen = 0u128;
        while let Some(key) = access.next_key_seed(KeyOf(fields))? {
            match key {
                Key::Field(place) => {
                    let field: &'t Field = &fields.fields()[place];
                    let path = self.path.field(&field.name);
                    // Structs have far fewer fields than 128; a later one is not watched.
                    let bit = 1u128.checked_shl(place as u32).unwrap_or(0);
                    if seen & bit != 0 {
                        self.findings.duplicate(&path);
                    }
                    seen |= bit;
                    let nullable = field.constraints.as_ref().is_some_and(|c| c.nullable);
                    let value = access.next_value_seed(self.child(&field.ty, &path))?;
                    if !value.is_null() || nullable {
                        out.insert(String::from(&*field.name), value);
                    }
                }
                Key::Unknown(name) if fields.open => {
                    let path = self.path.field(&name);
                    let value = access.next_value_seed(self.child(&ANY, &path))?;
                    if out.contains_key(&name) {
                        self.findings.duplicate(&path);
                    }
                    out.insert(name, value);
                }
                Key::Unknown(name) => {
                    self.findings.unknown(&self.path.field(&name));
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(out))
    }

    fn map<'de, A: MapAccess<'de>>(
        mut self,
        element: &'t Ty,
        mut access: A,
    ) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(KeyText(key)) = access.next_key()? {
            let path = self.path.field(&key);
            let mut value = access.next_value_seed(self.child(element, &path))?;
            if value.is_null() && !self.custom {
                value = zero(&self.table.kind(element));
            } else if value.is_null() && *element != ANY {
                match self.table.element_rules(element) {
                    Some(rules) if rules.nullable => {}
                    Some(rules) if rules.default.is_some() => {
                        value = rules.default.clone().unwrap_or_default();
                    }
                    _ => continue,
                }
            }
            let duplicate = out.contains_key(&key);
            if duplicate {
                self.findings.duplicate(&path);
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }

    fn list<'de, A: SeqAccess<'de>>(
        mut self,
        element: &'t Ty,
        mut access: A,
    ) -> Result<Value, A::Error> {
        // The size is a hint from untrusted input: start small whatever it says.
        let mut out = Vec::with_capacity(access.size_hint().unwrap_or(0).min(64));
        loop {
            let path = self.path.index(out.len());
            let Some(mut value) = access.next_element_seed(self.child(element, &path))? else {
                return Ok(Value::Array(out));
            };
            if value.is_null() && !self.custom {
                value = zero(&self.table.kind(element));
            } else if value.is_null()
                && let Some(rules) = self.table.element_rules(element)
                && let (false, Some(default)) = (rules.nullable, &rules.default)
            {
                value = default.clone();
            }
            out.push(value);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(match self.kind {
            _ if self.custom => Value::Bool(value),
            Kind::Scalar(Scalar::Bool | Scalar::Any) => Value::Bool(value),
            Kind::Either(either) if either.bool.is_some() => Value::Bool(value),
            _ => self.wrong_type("bool"),
        })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.number(value, value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.number(value, value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => Ok(self.number(value, number)),
            None => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.text(Cow::Borrowed(value)))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(self.text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        match self.kind {
            Kind::List(element) => self.list(element, access),
            Kind::Either(either) if either.list.is_some() => match &either.list {
                Some((_, element)) => self.list(element, access),
                None => Ok(Value::Null),
            },
            _ if self.custom => self.list(&ANY, access),
            Kind::Scalar(Scalar::Any) => {
                Value::deserialize(de::value::SeqAccessDeserializer::new(access))
            }
            _ => {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(self.wrong_type("array"))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        match self.kind {
            Kind::Struct(id, fields) => self.object(id, fields, access),
            Kind::Map(element) => self.map(element, access),
            Kind::Either(either) => {
                let id = either.object.1;
                match self.table.fields(id) {
                    Some(fields) => self.object(id, fields, access),
                    None => Ok(self.wrong_type("object")),
                }
            }
            _ if self.custom => self.map(&ANY, access),
            Kind::Scalar(Scalar::Any) => {
                Value::deserialize(de::value::MapAccessDeserializer::new(access))
            }
            _ => {
                while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.wrong_type("object"))
            }
        }
    }
}

/// What nothing is known of.
static ANY: Ty = Ty::Scalar(Scalar::Any);

enum Key {
    Field(usize),
    Unknown(String),
}

/// Reads a key as the place of a field, so that no text is copied for known ones.
struct KeyOf<'t>(&'t Struct);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Key, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyOf<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<Key, E> {
        Ok(match self.0.place(value) {
            Some(place) => Key::Field(place),
            None => Key::Unknown(value.to_owned()),
        })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Key, E> {
        Ok(Key::Unknown(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Key, E> {
        Ok(Key::Unknown(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Key, E> {
        Ok(Key::Unknown(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Key, E> {
        Ok(Key::Unknown(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key::Unknown("null".to_owned()))
    }
}

/// A key of a map: YAML's numbers and bools become text.
struct KeyText(String);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct AsText;
        impl Visitor<'_> for AsText {
            type Value = KeyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, value: &str) -> Result<KeyText, E> {
                Ok(KeyText(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<KeyText, E> {
                Ok(KeyText(value))
            }

            fn visit_bool<E>(self, value: bool) -> Result<KeyText, E> {
                Ok(KeyText(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<KeyText, E> {
                Ok(KeyText(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<KeyText, E> {
                Ok(KeyText(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<KeyText, E> {
                Ok(KeyText(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<KeyText, E> {
                Ok(KeyText("null".to_owned()))
            }
        }
        reader.deserialize_any(AsText)
    }
}

/// What Go has where JSON has `null` as an element.
fn zero(kind: &Kind<'_>) -> Value {
    match kind {
        Kind::Struct(..) | Kind::Map(_) => Value::Object(Map::new()),
        Kind::List(_) => Value::Array(Vec::new()),
        Kind::Scalar(scalar) => crate::default::zero(*scalar).unwrap_or(Value::Null),
        Kind::Either(_) => Value::Null,
    }
}

/// How Go's decoder names a type in its messages.
fn go_name(table: &Table, kind: &Kind<'_>) -> String {
    match kind {
        Kind::Struct(id, _) => {
            let name = &*table.get(*id).name;
            let mut parts = name.rsplit('.');
            match (parts.next(), parts.next()) {
                (Some(short), Some(package)) => format!("{package}.{short}"),
                _ => name.to_owned(),
            }
        }
        Kind::List(element) => format!("[]{}", go_name(table, &table.kind(element))),
        Kind::Map(element) => format!("map[string]{}", go_name(table, &table.kind(element))),
        Kind::Either(either) => go_name(table, &table.kind(&Ty::Ref(either.object.1))),
        Kind::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Bytes => "[]uint8",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
            Scalar::Any => "runtime.RawExtension",
        }
        .to_owned(),
    }
}
