//! Reads a table from rows: one field of one type a line, tab-separated, the first line naming the
//! columns (`type field tag wire json required listType listMapKeys patchStrategy patchMergeKey
//! mapType default note presence`).

use std::collections::{BTreeMap, HashMap};

use super::{
    Alias, Either, Field, ListKind, MapKind, PatchStrategy, Presence, Scalar, Shape, Struct, Table,
    Ty, Type, TypeId,
};

/// Why rows make no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A row has too few columns.
    #[error("line {line} of the type table has {found} columns instead of 14")]
    Columns {
        /// Counted from 1.
        line: usize,
        /// Columns found.
        found: usize,
    },
    /// A row names a type that no row defines.
    #[error("field {field} of type {ty} has the unknown type {wanted:?}")]
    UnknownType {
        /// The type whose row it is.
        ty: String,
        /// The field whose row it is.
        field: String,
        /// What is not defined.
        wanted: String,
    },
    /// A column holds something else than it should.
    #[error("field {field} of type {ty}: column {column} has {found:?}")]
    Column {
        /// The type whose row it is.
        ty: String,
        /// The field whose row it is.
        field: String,
        /// Name of the column.
        column: &'static str,
        /// What it holds.
        found: String,
    },
}

struct Row<'a> {
    ty: &'a str,
    field: &'a str,
    columns: Vec<&'a str>,
}

impl Row<'_> {
    fn wire(&self) -> &str {
        self.columns[3]
    }

    fn json(&self) -> &str {
        self.columns[4]
    }

    fn note(&self) -> &str {
        self.columns[12]
    }

    fn error(&self, column: &'static str, found: &str) -> TableError {
        TableError::Column {
            ty: self.ty.to_owned(),
            field: self.field.to_owned(),
            column,
            found: found.to_owned(),
        }
    }

    fn tag(&self) -> Result<Option<u32>, TableError> {
        let text = self.columns[2];
        if text.is_empty() {
            return Ok(None);
        }
        let tag = text.parse().map_err(|_| self.error("tag", text))?;
        Ok(Some(tag))
    }
}

/// Types whose JSON is a form of its own, however protobuf spells them.
fn own_form(name: &str) -> Option<Scalar> {
    Some(match name {
        "Quantity" | "QuantityValue" => Scalar::Quantity,
        "IntOrString" => Scalar::IntOrString,
        "meta.v1.Time" => Scalar::Time,
        "meta.v1.MicroTime" => Scalar::MicroTime,
        "meta.v1.Duration" => Scalar::Duration,
        "meta.v1.FieldsV1"
        | "runtime.RawExtension"
        | "apiextensions.v1.JSON"
        | "apiextensions.v1beta1.JSON" => Scalar::Any,
        _ => return None,
    })
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "string" => Scalar::String,
        "bool" | "boolean" => Scalar::Bool,
        "int32" | "integer:int32" | "uint32" => Scalar::Int32,
        "int64" | "integer:int64" | "integer" => Scalar::Int64,
        "double" | "float" | "number:double" | "number" => Scalar::Double,
        "bytes" | "string:byte" => Scalar::Bytes,
        "object" => Scalar::Any,
        _ => return None,
    })
}

fn ty_of(text: &str, ids: &HashMap<Box<str>, TypeId>) -> Option<Ty> {
    if let Some(element) = text.strip_prefix("repeated ").or(text.strip_prefix("[]")) {
        return Some(Ty::List(Box::new(ty_of(element, ids)?)));
    }
    if let Some(element) = text.strip_prefix("{}") {
        return Some(Ty::Map(Box::new(ty_of(element, ids)?)));
    }
    if let Some(pair) = text.strip_prefix("map<").and_then(|t| t.strip_suffix('>')) {
        let (_, element) = pair.split_once(',')?;
        return Some(Ty::Map(Box::new(ty_of(element, ids)?)));
    }
    match scalar(text).or_else(|| own_form(text)) {
        // Free-form types differ by name in published schemas.
        Some(Scalar::Any) if ids.contains_key(text) => {}
        Some(scalar) => return Some(Ty::Scalar(scalar)),
        None => {}
    }
    ids.get(text).map(|id| Ty::Ref(*id))
}

impl Table {
    /// Reads rows.
    pub fn parse(types_tsv: &str) -> Result<Self, TableError> {
        let mut rows: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
        for (at, line) in types_tsv.lines().enumerate().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            if columns.len() < 14 {
                return Err(TableError::Columns {
                    line: at + 1,
                    found: columns.len(),
                });
            }
            rows.entry(columns[0]).or_default().push(Row {
                ty: columns[0],
                field: columns[1],
                columns,
            });
        }
        let by_name: HashMap<Box<str>, TypeId> = rows
            .keys()
            .enumerate()
            .map(|(place, name)| (Box::from(*name), TypeId(place as u32)))
            .collect();
        let mut types = Vec::with_capacity(rows.len());
        for (name, fields) in &rows {
            types.push(Type {
                name: Box::from(*name),
                shape: shape(name, fields, &rows, &by_name)?,
                atomic: fields
                    .iter()
                    .any(|row| row.field == "-" && row.columns[10] == "atomic"),
            });
        }
        Ok(Self {
            types,
            by_name,
            quantity_form: None,
        })
    }
}

fn shape(
    name: &str,
    fields: &[Row<'_>],
    rows: &BTreeMap<&str, Vec<Row<'_>>>,
    ids: &HashMap<Box<str>, TypeId>,
) -> Result<Shape, TableError> {
    if let Some(scalar) = own_form(name) {
        return Ok(Shape::Scalar(scalar));
    }
    if fields.iter().all(|row| row.note() == "wire-only") {
        return either(fields, ids);
    }
    if let [row] = fields
        && row.field == "items"
        && row.tag()? == Some(1)
        && row.wire() == "repeated string"
    {
        return Ok(Shape::Alias(Alias {
            ty: Ty::List(Box::new(Ty::Scalar(Scalar::String))),
            wrapped: true,
            list: ListKind::Unset,
            map: MapKind::Unset,
            constraints: None,
        }));
    }
    let mut out = Vec::new();
    let mut inlined = Vec::new();
    collect(fields, rows, ids, &[], &mut out, &mut inlined, 0)?;
    Ok(Shape::Struct(Struct::new(out, inlined, false)))
}

fn either(fields: &[Row<'_>], ids: &HashMap<Box<str>, TypeId>) -> Result<Shape, TableError> {
    let mut object = None;
    let mut list = None;
    let mut bool = None;
    for row in fields {
        let tag = row.tag()?.unwrap_or_default();
        match ty_of(row.wire(), ids) {
            Some(Ty::Ref(id)) => object = Some((tag, id)),
            Some(Ty::List(element)) => list = Some((tag, *element)),
            Some(Ty::Scalar(Scalar::Bool)) => bool = Some(tag),
            _ => return Err(row.error("wire", row.wire())),
        }
    }
    match (object, fields) {
        (Some(object), _) => Ok(Shape::Either(Either { object, list, bool })),
        (None, [row, ..]) => Err(row.error("note", row.note())),
        (None, []) => Ok(Shape::Struct(Struct::default())),
    }
}

/// Inlined structs nest at most this deep; deeper means that they inline each other.
const MAX_INLINE: usize = 8;

fn collect(
    fields: &[Row<'_>],
    rows: &BTreeMap<&str, Vec<Row<'_>>>,
    ids: &HashMap<Box<str>, TypeId>,
    way: &[u32],
    out: &mut Vec<Field>,
    inlined: &mut Vec<(u32, TypeId)>,
    depth: usize,
) -> Result<(), TableError> {
    let mut nested = Vec::new();
    for row in fields {
        if row.field == "-" {
            continue;
        }
        let tag = row.tag()?;
        if row.note() == "inline" {
            let (Some(inner), Some(tag)) = (rows.get(row.wire()), tag) else {
                return Err(row.error("wire", row.wire()));
            };
            if depth >= MAX_INLINE {
                return Err(row.error("note", row.note()));
            }
            if way.is_empty()
                && let Some(id) = ids.get(row.wire())
            {
                inlined.push((tag, *id));
            }
            nested.push((tag, inner));
            continue;
        }
        if out.iter().any(|known| *known.name == *row.field) {
            continue;
        }
        out.push(field(row, tag, way, ids)?);
    }
    // Own fields first: they hide fields of the same name in inlined structs.
    for (tag, inner) in nested {
        let mut way = way.to_vec();
        way.push(tag);
        collect(inner, rows, ids, &way, out, inlined, depth + 1)?;
    }
    Ok(())
}

fn field(
    row: &Row<'_>,
    tag: Option<u32>,
    way: &[u32],
    ids: &HashMap<Box<str>, TypeId>,
) -> Result<Field, TableError> {
    // The wire's spelling tells named lists and number sizes apart, which JSON's does not.
    let spelled = if row.wire().is_empty() {
        row.json()
    } else {
        row.wire()
    };
    let ty = ty_of(spelled, ids).ok_or_else(|| TableError::UnknownType {
        ty: row.ty.to_owned(),
        field: row.field.to_owned(),
        wanted: spelled.to_owned(),
    })?;
    let list = match row.columns[6] {
        "" => ListKind::Unset,
        "atomic" => ListKind::Atomic,
        "set" => ListKind::Set,
        "map" => ListKind::Map(row.columns[7].split(',').map(Box::from).collect()),
        other => return Err(row.error("listType", other)),
    };
    let map = match row.columns[10] {
        "" => MapKind::Unset,
        "granular" => MapKind::Granular,
        "atomic" => MapKind::Atomic,
        other => return Err(row.error("mapType", other)),
    };
    let mut patch = PatchStrategy {
        merge_key: Some(row.columns[9])
            .filter(|key| !key.is_empty())
            .map(Box::from),
        ..PatchStrategy::default()
    };
    for strategy in row.columns[8].split(',').filter(|s| !s.is_empty()) {
        match strategy {
            "merge" => patch.merge = true,
            "replace" => patch.replace = true,
            "retainKeys" => patch.retain_keys = true,
            other => return Err(row.error("patchStrategy", other)),
        }
    }
    let default = match row.columns[11] {
        "" => None,
        text => Some(serde_json::from_str(text).map_err(|_| row.error("default", text))?),
    };
    let presence = match row.columns[13] {
        "" | "optional" => Presence::Optional,
        "omitzero" => Presence::OmitZero,
        "always" => Presence::Always,
        other => return Err(row.error("presence", other)),
    };
    Ok(Field {
        name: row.field.into(),
        tag,
        ty,
        required: row.columns[5] == "required",
        presence,
        inline_of: way.to_vec(),
        list,
        map,
        patch,
        default,
        constraints: None,
    })
}
