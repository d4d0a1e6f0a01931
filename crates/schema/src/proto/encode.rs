//! Objects to messages, fields in the order of their tags, as upstream's generated code writes
//! them: what is no pointer there is written even when zero.

use super::{
    MAX_DEPTH, ProtoError,
    wire::{BYTES, FIXED64, put_bytes, put_int, put_message, put_tag, put_varint},
};
use crate::{
    Map, Path, Value,
    table::{Field, Kind, Part, Presence, Scalar, Shape, Struct, Table, Ty, TypeId},
    text,
};

type Result<T = ()> = std::result::Result<T, ProtoError>;

pub(super) fn message(table: &Table, ty: TypeId, object: &Value) -> Result<Vec<u8>> {
    let (Some(fields), Value::Object(map)) = (table.fields(ty), object) else {
        return Err(ProtoError::NoMessage(table.get(ty).name.to_string()));
    };
    let mut out = Vec::with_capacity(512);
    Encoder { table, depth: 0 }.object(&mut out, fields, map, &Path::ROOT)?;
    Ok(out)
}

struct Encoder<'t> {
    table: &'t Table,
    depth: usize,
}

fn wrong(path: &Path<'_>, reason: impl Into<String>) -> ProtoError {
    ProtoError::Value {
        path: path.to_string(),
        reason: reason.into(),
    }
}

impl<'t> Encoder<'t> {
    fn object(
        &mut self,
        out: &mut Vec<u8>,
        fields: &'t Struct,
        map: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Result {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ProtoError::Depth);
        }
        for wire in fields.wire() {
            match wire.part {
                Part::Inline(id) => {
                    if let Some(inner) = self.table.fields(id) {
                        put_message(out, wire.tag, |out| self.object(out, inner, map, path))?;
                    }
                }
                Part::Field(place) => {
                    let field = &fields.fields()[place];
                    match map.get(&*field.name) {
                        None | Some(Value::Null) => self.absent(out, wire.tag, field, path)?,
                        Some(value) => {
                            self.value(out, wire.tag, &field.ty, value, &path.field(&field.name))?;
                        }
                    }
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn absent(&mut self, out: &mut Vec<u8>, tag: u32, field: &'t Field, path: &Path<'_>) -> Result {
        if field.presence == Presence::Optional {
            return Ok(());
        }
        match self.table.kind(&field.ty) {
            Kind::Struct(_, fields) => {
                put_message(out, tag, |out| self.object(out, fields, &Map::new(), path))
            }
            Kind::Scalar(Scalar::String) => {
                put_bytes(out, tag, b"");
                Ok(())
            }
            Kind::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64) => {
                put_int(out, tag, 0);
                Ok(())
            }
            Kind::Scalar(Scalar::Double) => {
                put_tag(out, tag, FIXED64);
                out.extend_from_slice(&0f64.to_le_bytes());
                Ok(())
            }
            Kind::Scalar(scalar @ (Scalar::Quantity | Scalar::IntOrString)) => {
                match crate::default::zero(scalar) {
                    Some(zero) => self.scalar(out, tag, scalar, &zero, path),
                    None => Ok(()),
                }
            }
            Kind::Scalar(Scalar::Duration) => put_message(out, tag, |out| {
                put_int(out, 1, 0);
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// Writes a value under a tag: lists as repeated fields, maps as entries.
    fn value(
        &mut self,
        out: &mut Vec<u8>,
        tag: u32,
        ty: &'t Ty,
        value: &Value,
        path: &Path<'_>,
    ) -> Result {
        if let Ty::Ref(id) = ty
            && let Shape::Alias(alias) = &self.table.get(*id).shape
            && alias.wrapped
        {
            return put_message(out, tag, |out| self.value(out, 1, &alias.ty, value, path));
        }
        match (self.table.kind(ty), value) {
            (Kind::Scalar(scalar), value) => self.scalar(out, tag, scalar, value, path),
            (Kind::Struct(_, fields), Value::Object(map)) => {
                put_message(out, tag, |out| self.object(out, fields, map, path))
            }
            (Kind::Struct(_, fields), Value::Null) => {
                put_message(out, tag, |out| self.object(out, fields, &Map::new(), path))
            }
            (Kind::List(element), Value::Array(list)) => {
                for (i, value) in list.iter().enumerate() {
                    self.value(out, tag, element, value, &path.index(i))?;
                }
                Ok(())
            }
            (Kind::Map(element), Value::Object(map)) => {
                for (key, value) in map {
                    put_message(out, tag, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        self.value(out, 2, element, value, &path.field(key))
                    })?;
                }
                Ok(())
            }
            (Kind::Either(either), value) => put_message(out, tag, |out| match value {
                Value::Bool(set) => {
                    if let Some(tag) = either.bool {
                        put_int(out, tag, i64::from(*set));
                    }
                    Ok(())
                }
                Value::Array(list) => {
                    if let Some((tag, element)) = &either.list {
                        for (i, value) in list.iter().enumerate() {
                            self.value(out, *tag, element, value, &path.index(i))?;
                        }
                    }
                    Ok(())
                }
                Value::Object(map) => {
                    if let Some(tag) = either.bool {
                        put_int(out, tag, 1);
                    }
                    let (tag, id) = either.object;
                    match self.table.fields(id) {
                        Some(fields) => {
                            put_message(out, tag, |out| self.object(out, fields, map, path))
                        }
                        None => Ok(()),
                    }
                }
                _ => Err(wrong(path, "expected an object, a list or a bool")),
            }),
            (Kind::List(_), _) => Err(wrong(path, "expected a list")),
            (Kind::Map(_) | Kind::Struct(..), _) => Err(wrong(path, "expected an object")),
        }
    }

    fn scalar(
        &mut self,
        out: &mut Vec<u8>,
        tag: u32,
        scalar: Scalar,
        value: &Value,
        path: &Path<'_>,
    ) -> Result {
        // Null as an element is the zero value; a time or a free-form value has an empty message.
        if value.is_null() {
            return match crate::default::zero(scalar) {
                Some(zero) => self.scalar(out, tag, scalar, &zero, path),
                None => {
                    put_bytes(out, tag, b"");
                    Ok(())
                }
            };
        }
        let text = || value.as_str().ok_or_else(|| wrong(path, "expected a text"));
        let unreadable = |reason| wrong(path, reason);
        match scalar {
            Scalar::String => put_bytes(out, tag, text()?.as_bytes()),
            Scalar::Bool => {
                let set = value
                    .as_bool()
                    .ok_or_else(|| wrong(path, "expected a bool"))?;
                put_int(out, tag, i64::from(set));
            }
            Scalar::Int32 | Scalar::Int64 => {
                let number = value
                    .as_i64()
                    .ok_or_else(|| wrong(path, "expected a whole number"))?;
                put_int(out, tag, number);
            }
            Scalar::Double => {
                let number = value
                    .as_f64()
                    .ok_or_else(|| wrong(path, "expected a number"))?;
                put_tag(out, tag, FIXED64);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Scalar::Bytes => {
                let bytes = text::base64_bytes(text()?)
                    .ok_or_else(|| wrong(path, "illegal base64 data"))?;
                put_bytes(out, tag, &bytes);
            }
            Scalar::Quantity => put_message(out, tag, |out| {
                put_bytes(out, 1, text()?.as_bytes());
                Ok(())
            })?,
            Scalar::IntOrString => put_message(out, tag, |out| {
                let (kind, number, text) = match value {
                    Value::String(text) => (1, 0, text.as_str()),
                    Value::Number(number) => (0, number.as_i64().unwrap_or_default(), ""),
                    _ => return Err(wrong(path, "expected a whole number or a text")),
                };
                put_int(out, 1, kind);
                put_int(out, 2, number);
                put_bytes(out, 3, text.as_bytes());
                Ok(())
            })?,
            Scalar::Time | Scalar::MicroTime => {
                let (seconds, nanos) = text::instant(text()?).map_err(unreadable)?;
                let nanos = if scalar == Scalar::Time {
                    0
                } else {
                    nanos / 1000 * 1000
                };
                put_message(out, tag, |out| {
                    put_int(out, 1, seconds);
                    put_int(out, 2, i64::from(nanos));
                    Ok::<(), ProtoError>(())
                })?;
            }
            Scalar::Duration => {
                let nanos = text::parse_duration(text()?).map_err(unreadable)?;
                put_message(out, tag, |out| {
                    put_int(out, 1, nanos);
                    Ok::<(), ProtoError>(())
                })?;
            }
            Scalar::Any => {
                let raw = serde_json::to_vec(value).map_err(|e| wrong(path, e.to_string()))?;
                put_message(out, tag, |out| {
                    put_tag(out, 1, BYTES);
                    put_varint(out, raw.len() as u64);
                    out.extend_from_slice(&raw);
                    Ok::<(), ProtoError>(())
                })?;
            }
        }
        Ok(())
    }
}
