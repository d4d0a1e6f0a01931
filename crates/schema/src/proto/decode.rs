//! Messages to objects. Zero values of fields that JSON leaves out are left out here too, so that
//! an object is the same value whichever way it came.

use std::borrow::Cow;

use super::{
    MAX_DEPTH, ProtoError,
    wire::{Content, Reader},
};
use crate::{
    Map, Path, Value,
    table::{Field, Kind, Part, Presence, Scalar, Shape, Struct, Table, Ty, TypeId},
    text,
};

type Result<T> = std::result::Result<T, ProtoError>;

pub(super) fn message(table: &Table, ty: TypeId, bytes: &[u8]) -> Result<Value> {
    let Some(fields) = table.fields(ty) else {
        return Err(ProtoError::NoMessage(table.get(ty).name.to_string()));
    };
    let mut out = Map::new();
    Decoder { table, depth: 0 }.object(&mut out, fields, bytes, &Path::ROOT)?;
    Ok(Value::Object(out))
}

struct Decoder<'t> {
    table: &'t Table,
    depth: usize,
}

fn wrong_wire(path: &Path<'_>, content: &Content<'_>) -> ProtoError {
    ProtoError::WireType {
        path: path.to_string(),
        found: content.wire_type(),
    }
}

fn bytes_of<'a>(content: &Content<'a>, path: &Path<'_>) -> Result<&'a [u8]> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        other => Err(wrong_wire(path, other)),
    }
}

fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl<'t> Decoder<'t> {
    fn object(
        &mut self,
        out: &mut Map<String, Value>,
        fields: &'t Struct,
        bytes: &[u8],
        path: &Path<'_>,
    ) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ProtoError::Depth);
        }
        let mut reader = Reader::new(bytes);
        while let Some((tag, content)) = reader.field()? {
            match fields.by_tag(tag) {
                // A newer client's field: ignored, as upstream's generated code does.
                None => {}
                Some(Part::Inline(id)) => {
                    if let Some(inner) = self.table.fields(id) {
                        self.object(out, inner, bytes_of(&content, path)?, path)?;
                    }
                }
                Some(Part::Field(place)) => {
                    let field = &fields.fields()[place];
                    self.field(out, field, content, &path.field(&field.name))?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(
        &mut self,
        out: &mut Map<String, Value>,
        field: &'t Field,
        content: Content<'_>,
        path: &Path<'_>,
    ) -> Result<()> {
        let wrapped = matches!(&field.ty, Ty::Ref(id)
            if matches!(&self.table.get(*id).shape, Shape::Alias(alias) if alias.wrapped));
        match self.table.kind(&field.ty) {
            Kind::List(element) if !wrapped => {
                let list = out
                    .entry(String::from(&*field.name))
                    .or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else {
                    return Ok(());
                };
                self.elements(list, element, content, path)
            }
            Kind::Map(element) => {
                let bytes = bytes_of(&content, path)?;
                let map = out
                    .entry(String::from(&*field.name))
                    .or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else {
                    return Ok(());
                };
                let (key, value) = self.entry(element, bytes, path)?;
                map.insert(key, value);
                Ok(())
            }
            kind => {
                let value = self.value(&field.ty, content, path)?;
                if let Some(value) = value
                    && !leaves_out(field, &kind, &value)
                {
                    out.insert(String::from(&*field.name), value);
                }
                Ok(())
            }
        }
    }

    /// One occurrence of a repeated field: one element, or packed numbers.
    fn elements(
        &mut self,
        list: &mut Vec<Value>,
        element: &'t Ty,
        content: Content<'_>,
        path: &Path<'_>,
    ) -> Result<()> {
        let kind = self.table.kind(element);
        if let (
            Kind::Scalar(scalar @ (Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double)),
            Content::Bytes(packed),
        ) = (kind, content)
        {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                let number = if scalar == Scalar::Double {
                    Content::Fixed64(reader.fixed64()?)
                } else {
                    Content::Varint(reader.varint()?)
                };
                list.extend(self.scalar(scalar, number, path)?);
            }
            return Ok(());
        }
        let path = &path.index(list.len());
        let value = self.value(element, content, path)?;
        list.push(value.unwrap_or(Value::Null));
        Ok(())
    }

    fn entry(&mut self, element: &'t Ty, bytes: &[u8], path: &Path<'_>) -> Result<(String, Value)> {
        let mut key = String::new();
        let mut value = None;
        let mut reader = Reader::new(bytes);
        while let Some((tag, content)) = reader.field()? {
            match tag {
                1 => key = text_of(bytes_of(&content, path)?).into_owned(),
                2 => value = self.value(element, content, path)?,
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => match self.table.kind(element) {
                Kind::Scalar(scalar) => crate::default::zero(scalar).unwrap_or(Value::Null),
                Kind::List(_) => Value::Array(Vec::new()),
                _ => Value::Object(Map::new()),
            },
        };
        Ok((key, value))
    }

    fn value(
        &mut self,
        ty: &'t Ty,
        content: Content<'_>,
        path: &Path<'_>,
    ) -> Result<Option<Value>> {
        if let Ty::Ref(id) = ty
            && let Shape::Alias(alias) = &self.table.get(*id).shape
            && alias.wrapped
            && let Kind::List(element) = self.table.kind(&alias.ty)
        {
            let mut list = Vec::new();
            let mut reader = Reader::new(bytes_of(&content, path)?);
            while let Some((tag, content)) = reader.field()? {
                if tag == 1 {
                    self.elements(&mut list, element, content, path)?;
                }
            }
            return Ok(Some(Value::Array(list)));
        }
        match self.table.kind(ty) {
            Kind::Scalar(scalar) => self.scalar(scalar, content, path),
            Kind::Struct(_, fields) => {
                let mut out = Map::new();
                self.object(&mut out, fields, bytes_of(&content, path)?, path)?;
                Ok(Some(Value::Object(out)))
            }
            Kind::Either(either) => {
                let mut reader = Reader::new(bytes_of(&content, path)?);
                let mut found = either.bool.map(|_| Value::Bool(false));
                let mut object = None;
                let mut list = Vec::new();
                while let Some((tag, content)) = reader.field()? {
                    if tag == either.object.0 {
                        // The object decides; what else is set says the same less exactly.
                        if let Some(fields) = self.table.fields(either.object.1) {
                            let mut out = Map::new();
                            self.object(&mut out, fields, bytes_of(&content, path)?, path)?;
                            object = Some(Value::Object(out));
                        }
                    } else if Some(tag) == either.bool {
                        if let Content::Varint(set) = content {
                            found = Some(Value::Bool(set != 0));
                        }
                    } else if let Some((list_tag, element)) = &either.list
                        && tag == *list_tag
                    {
                        self.elements(&mut list, element, content, path)?;
                    }
                }
                Ok(object.or(found).or(Some(Value::Array(list))))
            }
            // Lists of lists and maps of maps have no form in protobuf.
            Kind::List(_) | Kind::Map(_) => Err(wrong_wire(path, &content)),
        }
    }

    fn scalar(
        &mut self,
        scalar: Scalar,
        content: Content<'_>,
        path: &Path<'_>,
    ) -> Result<Option<Value>> {
        let number = || match content {
            Content::Varint(number) => Ok(number as i64),
            other => Err(wrong_wire(path, &other)),
        };
        let bytes = || bytes_of(&content, path);
        Ok(Some(match scalar {
            Scalar::String => Value::String(text_of(bytes()?).into_owned()),
            Scalar::Bool => Value::Bool(number()? != 0),
            Scalar::Int32 => Value::from(number()? as i32),
            Scalar::Int64 => Value::from(number()?),
            Scalar::Double => match content {
                Content::Fixed64(bits) => Value::from(f64::from_bits(bits)),
                other => return Err(wrong_wire(path, &other)),
            },
            Scalar::Bytes => Value::String(text::to_base64(bytes()?)),
            Scalar::Quantity => {
                let parts = parts(bytes()?)?;
                let text = parts.text(1);
                let shown = if text.is_empty() { "0" } else { &text };
                let fixed = self
                    .table
                    .quantity(shown)
                    .map_err(|reason| ProtoError::Value {
                        path: path.to_string(),
                        reason,
                    })?;
                Value::String(fixed.into_owned())
            }
            Scalar::IntOrString => {
                let parts = parts(bytes()?)?;
                if parts.number(1) == 0 {
                    Value::from(parts.number(2) as i32)
                } else {
                    Value::String(parts.text(3).into_owned())
                }
            }
            Scalar::Time | Scalar::MicroTime => {
                let bytes = bytes()?;
                // A time that is not set.
                if bytes.is_empty() {
                    return Ok(None);
                }
                let parts = parts(bytes)?;
                Value::String(if scalar == Scalar::Time {
                    text::seconds_form(parts.number(1))
                } else {
                    text::micros_form(parts.number(1), parts.number(2) as i32)
                })
            }
            Scalar::Duration => Value::String(text::duration(parts(bytes()?)?.number(1))),
            Scalar::Any => {
                let parts = parts(bytes()?)?;
                let raw = parts.raw(1);
                if raw.is_empty() {
                    return Ok(None);
                }
                serde_json::from_slice(raw).map_err(|error| ProtoError::Value {
                    path: path.to_string(),
                    reason: error.to_string(),
                })?
            }
        }))
    }
}

/// The few fields of the messages that JSON has a form of its own for.
struct Parts<'a>([Option<Content<'a>>; 3]);

fn parts(bytes: &[u8]) -> Result<Parts<'_>> {
    let mut out = Parts([None; 3]);
    let mut reader = Reader::new(bytes);
    while let Some((tag, content)) = reader.field()? {
        if let Some(slot) = out.0.get_mut(tag as usize - 1) {
            *slot = Some(content);
        }
    }
    Ok(out)
}

impl<'a> Parts<'a> {
    fn number(&self, tag: usize) -> i64 {
        match self.0[tag - 1] {
            Some(Content::Varint(number)) => number as i64,
            _ => 0,
        }
    }

    fn raw(&self, tag: usize) -> &'a [u8] {
        match self.0[tag - 1] {
            Some(Content::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    fn text(&self, tag: usize) -> Cow<'a, str> {
        text_of(self.raw(tag))
    }
}

/// Whether JSON leaves the field out: upstream's encoder writes every plain value, set or not.
fn leaves_out(field: &Field, kind: &Kind<'_>, value: &Value) -> bool {
    match field.presence {
        Presence::Optional => false,
        Presence::Always => {
            matches!(kind, Kind::Scalar(Scalar::IntOrString)) && value.as_i64() == Some(0)
        }
        Presence::OmitZero => match value {
            Value::String(text) => text.is_empty(),
            Value::Bool(set) => !set,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null => true,
        },
    }
}
