//! Published schemas: the table's types as OpenAPI v2 definitions and v3 component schemas, with
//! upstream's names and extensions. Paths around them are the caller's.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    Map, Value,
    constraint::Constraints,
    table::{
        Alias, Field, Kind, ListKind, MapKind, Presence, Scalar, Shape, Table, Ty, Type, TypeId,
    },
};

/// What the caller knows of types: the value of `x-kubernetes-group-version-kind`, for those that
/// are kinds.
pub type KindsOf<'a> = &'a dyn Fn(&Type) -> Option<Value>;

/// OpenAPI v2 `definitions` of these types and of all they refer to.
pub fn v2_definitions(
    table: &Table,
    roots: impl IntoIterator<Item = TypeId>,
    kinds_of: KindsOf<'_>,
) -> Map<String, Value> {
    Writer {
        table,
        kinds_of,
        v3: false,
    }
    .all(roots)
}

/// OpenAPI v3 `components.schemas` of these types and of all they refer to.
pub fn v3_schemas(
    table: &Table,
    roots: impl IntoIterator<Item = TypeId>,
    kinds_of: KindsOf<'_>,
) -> Map<String, Value> {
    Writer {
        table,
        kinds_of,
        v3: true,
    }
    .all(roots)
}

/// The published name of a table's type: `core.v1.Pod` is `io.k8s.api.core.v1.Pod`.
pub fn definition_name(name: &str) -> String {
    let package = match name.split_once(['.', '/']).map(|(first, _)| first) {
        None => return format!("io.k8s.apimachinery.pkg.{}", unpackaged(name)),
        // Published under the name the table has: groups of other API servers.
        Some("io" | "com" | "org") => return name.to_owned(),
        Some("meta") => "io.k8s.apimachinery.pkg.apis.",
        Some("runtime" | "version") => "io.k8s.apimachinery.pkg.",
        Some("apiextensions") => "io.k8s.apiextensions-apiserver.pkg.apis.",
        Some("apiregistration") => "io.k8s.kube-aggregator.pkg.apis.",
        Some("metrics") => {
            return format!(
                "io.k8s.metrics.pkg.apis.{}",
                name.trim_start_matches("metrics/")
            );
        }
        Some(_) => "io.k8s.api.",
    };
    format!("{package}{name}")
}

fn unpackaged(name: &str) -> &str {
    match name {
        "Quantity" | "QuantityValue" => "api.resource.Quantity",
        "IntOrString" => "util.intstr.IntOrString",
        other => other,
    }
}

/// The name of a leaf that is published as a definition of its own.
fn scalar_definition(scalar: Scalar) -> Option<&'static str> {
    Some(match scalar {
        Scalar::Quantity => "Quantity",
        Scalar::IntOrString => "IntOrString",
        Scalar::Time => "meta.v1.Time",
        Scalar::MicroTime => "meta.v1.MicroTime",
        Scalar::Duration => "meta.v1.Duration",
        _ => return None,
    })
}

struct Writer<'a> {
    table: &'a Table,
    kinds_of: KindsOf<'a>,
    v3: bool,
}

impl Writer<'_> {
    fn all(&self, roots: impl IntoIterator<Item = TypeId>) -> Map<String, Value> {
        let mut seen: BTreeSet<TypeId> = BTreeSet::new();
        let mut open: Vec<TypeId> = roots.into_iter().collect();
        let mut out = Map::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let ty = self.table.get(id);
            self.reach(&ty.shape, &mut open);
            if !matches!(ty.shape, Shape::Alias(_)) {
                out.insert(definition_name(&ty.name), self.definition(ty));
            }
        }
        out
    }

    /// The types a shape refers to.
    fn reach(&self, shape: &Shape, open: &mut Vec<TypeId>) {
        match shape {
            Shape::Struct(fields) => {
                for field in fields.fields() {
                    self.reach_ty(&field.ty, open);
                }
            }
            Shape::Alias(alias) => self.reach_ty(&alias.ty, open),
            Shape::Either(_) | Shape::Scalar(_) => {}
        }
    }

    fn reach_ty(&self, ty: &Ty, open: &mut Vec<TypeId>) {
        match ty {
            Ty::Ref(id) => open.push(*id),
            Ty::List(element) | Ty::Map(element) => self.reach_ty(element, open),
            Ty::Scalar(scalar) => {
                open.extend(scalar_definition(*scalar).and_then(|name| self.table.id(name)));
            }
        }
    }

    fn definition(&self, ty: &Type) -> Value {
        let mut out = match &ty.shape {
            Shape::Scalar(scalar) => self.own_form(*scalar, &ty.name),
            // A schema's place that takes several forms says nothing of its type.
            Shape::Either(_) => Map::new(),
            Shape::Alias(alias) => self.alias(alias),
            Shape::Struct(fields) => {
                let mut out = object([("type", json!("object"))]);
                let mut properties = Map::new();
                let mut required = Vec::new();
                for field in fields.fields() {
                    properties.insert(field.name.to_string(), self.property(field));
                    if field.required {
                        required.push(json!(field.name));
                    }
                }
                if !properties.is_empty() {
                    out.insert("properties".to_owned(), Value::Object(properties));
                }
                if !required.is_empty() {
                    out.insert("required".to_owned(), Value::Array(required));
                }
                if fields.open {
                    out.insert(
                        "x-kubernetes-preserve-unknown-fields".to_owned(),
                        json!(true),
                    );
                }
                out
            }
        };
        if ty.atomic {
            out.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        if let Some(kinds) = (self.kinds_of)(ty) {
            out.insert("x-kubernetes-group-version-kind".to_owned(), kinds);
        }
        Value::Object(out)
    }

    fn own_form(&self, scalar: Scalar, name: &str) -> Map<String, Value> {
        match scalar {
            Scalar::Quantity if self.v3 => {
                object([("oneOf", json!([{"type": "string"}, {"type": "number"}]))])
            }
            Scalar::IntOrString if self.v3 => object([
                ("format", json!("int-or-string")),
                ("oneOf", json!([{"type": "integer"}, {"type": "string"}])),
            ]),
            Scalar::IntOrString => object([
                ("format", json!("int-or-string")),
                ("type", json!("string")),
            ]),
            Scalar::Time | Scalar::MicroTime => {
                object([("format", json!("date-time")), ("type", json!("string"))])
            }
            Scalar::Any if name.ends_with(".JSON") => Map::new(),
            Scalar::Any => object([("type", json!("object"))]),
            Scalar::Quantity | Scalar::Duration => object([("type", json!("string"))]),
            leaf => self.leaf(leaf),
        }
    }

    fn leaf(&self, scalar: Scalar) -> Map<String, Value> {
        let (kind, format) = match scalar {
            Scalar::Bool => ("boolean", None),
            Scalar::Int32 => ("integer", Some("int32")),
            Scalar::Int64 => ("integer", Some("int64")),
            Scalar::Double => ("number", Some("double")),
            Scalar::Bytes => ("string", Some("byte")),
            Scalar::Any => return Map::new(),
            _ => ("string", None),
        };
        let mut out = object([("type", json!(kind))]);
        if let Some(format) = format {
            out.insert("format".to_owned(), json!(format));
        }
        out
    }

    fn reference(&self, name: &str) -> Map<String, Value> {
        let place = if self.v3 {
            "#/components/schemas/"
        } else {
            "#/definitions/"
        };
        object([("$ref", json!(format!("{place}{}", definition_name(name))))])
    }

    fn ty(&self, ty: &Ty) -> Map<String, Value> {
        match ty {
            Ty::Scalar(scalar) => match scalar_definition(*scalar) {
                Some(name) if self.table.id(name).is_some() => self.reference(name),
                Some(name) => self.own_form(*scalar, name),
                None => self.leaf(*scalar),
            },
            Ty::List(element) => object([
                ("type", json!("array")),
                ("items", Value::Object(self.ty(element))),
            ]),
            Ty::Map(element) => object([
                ("type", json!("object")),
                ("additionalProperties", Value::Object(self.ty(element))),
            ]),
            Ty::Ref(id) => {
                let ty = self.table.get(*id);
                match &ty.shape {
                    Shape::Alias(alias) => self.alias(alias),
                    _ => self.reference(&ty.name),
                }
            }
        }
    }

    fn alias(&self, alias: &Alias) -> Map<String, Value> {
        let mut out = self.ty(&alias.ty);
        merging(&mut out, &alias.list, alias.map);
        if let Some(constraints) = &alias.constraints {
            constrain(&mut out, constraints, self.v3);
        }
        out
    }

    fn property(&self, field: &Field) -> Value {
        let mut out = self.ty(&field.ty);
        // A reference takes nothing beside it in v3, so what is beside it goes around it.
        if self.v3
            && let Some(reference) = out.remove("$ref")
        {
            out.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        }
        merging(&mut out, &field.list, field.map);
        if let Some(key) = &field.patch.merge_key {
            out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
        }
        let strategies: Vec<&str> = [
            (field.patch.merge, "merge"),
            (field.patch.replace, "replace"),
            (field.patch.retain_keys, "retainKeys"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if !strategies.is_empty() {
            out.insert(
                "x-kubernetes-patch-strategy".to_owned(),
                json!(strategies.join(",")),
            );
        }
        if self.v3
            && let Some(default) = self.default(field)
        {
            out.insert("default".to_owned(), default);
        }
        if let Some(constraints) = &field.constraints {
            constrain(&mut out, constraints, self.v3);
        }
        Value::Object(out)
    }

    fn default(&self, field: &Field) -> Option<Value> {
        if field.default.is_some() {
            return field.default.clone();
        }
        if field.presence != Presence::Always {
            return None;
        }
        match self.table.kind(&field.ty) {
            Kind::Struct(..) => Some(json!({})),
            Kind::Scalar(
                scalar @ (Scalar::String | Scalar::Bool | Scalar::Int32 | Scalar::Int64),
            ) => crate::default::zero(scalar),
            Kind::Scalar(Scalar::Double) => Some(json!(0)),
            _ => None,
        }
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn merging(out: &mut Map<String, Value>, list: &ListKind, map: MapKind) {
    let kind = match list {
        ListKind::Unset => None,
        ListKind::Atomic => Some("atomic"),
        ListKind::Set => Some("set"),
        ListKind::Map(keys) => {
            out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
            Some("map")
        }
    };
    if let Some(kind) = kind {
        out.insert("x-kubernetes-list-type".to_owned(), json!(kind));
    }
    let kind = match map {
        MapKind::Unset => return,
        MapKind::Granular => "granular",
        MapKind::Atomic => "atomic",
    };
    out.insert("x-kubernetes-map-type".to_owned(), json!(kind));
}

fn constrain(out: &mut Map<String, Value>, rules: &Constraints, v3: bool) {
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    let flag = |set: bool| set.then_some(json!(true));
    let number = |value: Option<u64>| value.map(Value::from);
    let float = |value: Option<f64>| value.map(Value::from);
    if v3 {
        put("nullable", flag(rules.nullable));
    }
    put(
        "x-kubernetes-embedded-resource",
        flag(rules.embedded_resource),
    );
    put(
        "enum",
        (!rules.allowed.is_empty()).then(|| Value::Array(rules.allowed.clone())),
    );
    put("pattern", rules.pattern.as_ref().map(|p| json!(p.as_str())));
    put("format", rules.format.as_ref().map(|f| json!(f)));
    put("minimum", float(rules.minimum));
    put("maximum", float(rules.maximum));
    put("exclusiveMinimum", flag(rules.exclusive_minimum));
    put("exclusiveMaximum", flag(rules.exclusive_maximum));
    put("multipleOf", float(rules.multiple_of));
    put("minLength", number(rules.min_length));
    put("maxLength", number(rules.max_length));
    put("minItems", number(rules.min_items));
    put("maxItems", number(rules.max_items));
    put("minProperties", number(rules.min_properties));
    put("maxProperties", number(rules.max_properties));
}
