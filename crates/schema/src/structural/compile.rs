//! From a structural schema to a table. Compiling cannot fail: what [`super::check`] would refuse is
//! left out.

use super::{
    EMBEDDED, INT_OR_STRING, LIST_TYPE, MAP_KEYS, MAP_TYPE, PRESERVE, flag, list, named, sub, text,
};
use crate::{
    Value,
    constraint::{Constraints, JsonKind, Logic, Rules},
    pattern::Pattern,
    table::{Alias, Field, ListKind, MapKind, Scalar, Shape, Struct, Table, Ty, Type, TypeId},
};

/// The type of metadata, and all it refers to, under the places they have in every compiled table.
const META: &str = "meta.v1.ObjectMeta";
/// The kind itself.
const ROOT: &str = "resource";
/// Any value: what a schema that preserves unknown fields says no more of.
const ANY: &str = "any";

/// The types every custom resource has, taken out of the table of built-in kinds.
pub fn base(builtin: &Table) -> Table {
    let mut out = Table::default();
    if let Some(id) = builtin.id(META) {
        copy(builtin, id, &mut out);
    }
    // Its place is the same in every table; [`compile`] fills it.
    out.insert(Type {
        name: ROOT.into(),
        shape: Shape::Scalar(Scalar::Any),
        atomic: false,
    });
    out.insert(Type {
        name: ANY.into(),
        shape: Shape::Struct(Struct::new(Vec::new(), Vec::new(), true).of_custom_resource()),
        atomic: false,
    });
    out
}

/// The type of the objects in every compiled table.
pub fn root(base: &Table) -> TypeId {
    base.id(ROOT).unwrap_or(TypeId(0))
}

fn copy(from: &Table, id: TypeId, to: &mut Table) -> TypeId {
    let ty = from.get(id);
    if let Some(known) = to.id(&ty.name) {
        return known;
    }
    // The place is taken first, since types refer to one another.
    let place = to.insert(Type {
        name: ty.name.clone(),
        shape: Shape::Scalar(Scalar::Any),
        atomic: ty.atomic,
    });
    let shape = match &ty.shape {
        Shape::Struct(fields) => {
            let fields = fields
                .fields()
                .iter()
                .map(|field| Field {
                    ty: copy_ty(from, &field.ty, to),
                    ..field.clone()
                })
                .collect();
            Shape::Struct(Struct::new(fields, Vec::new(), false))
        }
        other => other.clone(),
    };
    to.insert(Type {
        shape,
        ..ty.clone()
    });
    place
}

fn copy_ty(from: &Table, ty: &Ty, to: &mut Table) -> Ty {
    match ty {
        Ty::Scalar(scalar) => Ty::Scalar(*scalar),
        Ty::List(element) => Ty::List(Box::new(copy_ty(from, element, to))),
        Ty::Map(element) => Ty::Map(Box::new(copy_ty(from, element, to))),
        Ty::Ref(id) => Ty::Ref(copy(from, *id, to)),
    }
}

/// The table of a kind with this schema, and the kind's type. Without schema every field is kept.
pub fn compile(base: &Table, kind: &str, schema: Option<&Value>) -> (Table, TypeId) {
    let mut compiler = Compiler {
        table: base.clone(),
    };
    let everything = serde_json::json!({"type": "object", PRESERVE: true});
    let mut root = compiler.place(schema.unwrap_or(&everything), kind, true);
    if let Some(constraints) = &mut root.constraints {
        constraints.nullable = false;
    }
    let id = compiler.named(ROOT, root);
    (compiler.table, id)
}

/// What a schema says of the place it is at.
struct Place {
    ty: Ty,
    list: ListKind,
    map: MapKind,
    default: Option<Value>,
    constraints: Option<Box<Constraints>>,
}

struct Compiler {
    table: Table,
}

impl Compiler {
    fn any(&self) -> Ty {
        match self.table.id(ANY) {
            Some(id) => Ty::Ref(id),
            None => Ty::Scalar(Scalar::Any),
        }
    }

    fn place(&mut self, schema: &Value, name: &str, root: bool) -> Place {
        let mut constraints = constraints(schema);
        let ty = self.ty(schema, name, root, &mut constraints);
        let is_some = is_set(&constraints);
        Place {
            ty,
            list: match text(schema, LIST_TYPE) {
                "atomic" => ListKind::Atomic,
                "set" => ListKind::Set,
                "map" => ListKind::Map(
                    list(schema, MAP_KEYS)
                        .iter()
                        .filter_map(Value::as_str)
                        .map(Box::from)
                        .collect(),
                ),
                _ => ListKind::Unset,
            },
            map: match text(schema, MAP_TYPE) {
                "atomic" => MapKind::Atomic,
                "granular" => MapKind::Granular,
                _ => MapKind::Unset,
            },
            default: schema.get("default").cloned(),
            constraints: is_some.then(|| Box::new(constraints)),
        }
    }

    fn ty(&mut self, schema: &Value, name: &str, root: bool, constraints: &mut Constraints) -> Ty {
        if flag(schema, INT_OR_STRING) {
            return Ty::Scalar(Scalar::IntOrString);
        }
        let preserve = flag(schema, PRESERVE);
        let embedded = root || flag(schema, EMBEDDED);
        let fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|map| !map.is_empty());
        match text(schema, "type") {
            "object" if fields || embedded => {
                self.object(schema, name, embedded, preserve, constraints)
            }
            "object" => match (sub(schema, "additionalProperties"), preserve) {
                (Some(element), _) => {
                    Ty::Map(Box::new(self.element(element, &format!("{name}.*"))))
                }
                (None, true) => self.any(),
                (None, false) if flag(schema, "additionalProperties") => {
                    Ty::Map(Box::new(self.any()))
                }
                (None, false) => self.object(schema, name, false, false, constraints),
            },
            "array" => match sub(schema, "items") {
                Some(items) => Ty::List(Box::new(self.element(items, &format!("{name}[]")))),
                None => Ty::List(Box::new(self.any())),
            },
            "string" => Ty::Scalar(Scalar::String),
            "integer" => Ty::Scalar(Scalar::Int64),
            "number" => Ty::Scalar(Scalar::Double),
            "boolean" => Ty::Scalar(Scalar::Bool),
            _ => {
                constraints.untyped = true;
                if fields || embedded {
                    self.object(schema, name, embedded, true, constraints)
                } else {
                    self.any()
                }
            }
        }
    }

    fn object(
        &mut self,
        schema: &Value,
        name: &str,
        embedded: bool,
        open: bool,
        constraints: &mut Constraints,
    ) -> Ty {
        let mut fields = Vec::new();
        for (field, schema) in named(schema, "properties") {
            if embedded && field == "metadata" {
                // What it asks of name and generateName is kept as a rule.
                let own = Rules {
                    properties: vec![(field.into(), rules(schema))],
                    ..Rules::default()
                };
                logic(constraints).own = Some(own);
                continue;
            }
            let place = self.place(schema, &format!("{name}.{field}"), false);
            fields.push(Field {
                list: place.list,
                map: place.map,
                default: place.default,
                constraints: place.constraints,
                ..Field::new(field, place.ty)
            });
        }
        if embedded {
            for name in ["apiVersion", "kind"] {
                if !fields.iter().any(|field| &*field.name == name) {
                    fields.push(Field::new(name, Ty::Scalar(Scalar::String)));
                }
            }
            if let Some(id) = self.table.id(META) {
                fields.push(Field::new("metadata", Ty::Ref(id)));
            }
        }
        let id = self.table.insert(Type {
            name: name.into(),
            shape: Shape::Struct(Struct::new(fields, Vec::new(), open).of_custom_resource()),
            atomic: false,
        });
        Ty::Ref(id)
    }

    /// The type of a list's items or a map's values: under a name where more is said of them.
    fn element(&mut self, schema: &Value, name: &str) -> Ty {
        let mut place = self.place(schema, name, false);
        if let Some(default) = place.default.take() {
            place.constraints.get_or_insert_default().default = Some(default);
        }
        if place.constraints.is_none()
            && place.list == ListKind::Unset
            && place.map == MapKind::Unset
        {
            return place.ty;
        }
        Ty::Ref(self.named(&format!("{name} element"), place))
    }

    fn named(&mut self, name: &str, place: Place) -> TypeId {
        self.table.insert(Type {
            name: name.into(),
            shape: Shape::Alias(Alias {
                ty: place.ty,
                wrapped: false,
                list: place.list,
                map: place.map,
                constraints: place.constraints,
            }),
            atomic: false,
        })
    }
}

fn logic(constraints: &mut Constraints) -> &mut Logic {
    constraints.logic.get_or_insert_default()
}

fn is_set(c: &Constraints) -> bool {
    c.nullable
        || c.untyped
        || c.embedded_resource
        || !c.allowed.is_empty()
        || c.pattern.is_some()
        || c.format.is_some()
        || c.minimum.is_some()
        || c.maximum.is_some()
        || c.multiple_of.is_some()
        || c.min_length.is_some()
        || c.max_length.is_some()
        || c.min_items.is_some()
        || c.max_items.is_some()
        || c.min_properties.is_some()
        || c.max_properties.is_some()
        || !c.required.is_empty()
        || c.default.is_some()
        || c.logic.is_some()
}

fn number(schema: &Value, name: &str) -> Option<f64> {
    schema.get(name).and_then(Value::as_f64)
}

fn count(schema: &Value, name: &str) -> Option<u64> {
    let value = schema.get(name)?;
    // A negative count is met by everything, or nothing: as upstream compares signed numbers.
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|number| number.max(0.0) as u64))
}

fn constraints(schema: &Value) -> Constraints {
    let mut out = Constraints {
        nullable: flag(schema, "nullable"),
        embedded_resource: flag(schema, EMBEDDED),
        allowed: list(schema, "enum").to_vec(),
        pattern: Some(text(schema, "pattern"))
            .filter(|text| !text.is_empty())
            .map(Pattern::new),
        format: Some(text(schema, "format"))
            .filter(|format| super::format::is_known(format, text(schema, "type")))
            .map(Box::from),
        minimum: number(schema, "minimum"),
        maximum: number(schema, "maximum"),
        exclusive_minimum: flag(schema, "exclusiveMinimum"),
        exclusive_maximum: flag(schema, "exclusiveMaximum"),
        multiple_of: number(schema, "multipleOf"),
        min_length: count(schema, "minLength"),
        max_length: count(schema, "maxLength"),
        min_items: count(schema, "minItems"),
        max_items: count(schema, "maxItems"),
        min_properties: count(schema, "minProperties"),
        max_properties: count(schema, "maxProperties"),
        required: list(schema, "required")
            .iter()
            .filter_map(Value::as_str)
            .map(Box::from)
            .collect(),
        ..Constraints::default()
    };
    for (name, into) in [("allOf", 0), ("anyOf", 1), ("oneOf", 2)] {
        let list: Vec<Rules> = list(schema, name).iter().map(rules).collect();
        if !list.is_empty() {
            let logic = logic(&mut out);
            match into {
                0 => logic.all_of = list,
                1 => logic.any_of = list,
                _ => logic.one_of = list,
            }
        }
    }
    if let Some(not) = sub(schema, "not") {
        logic(&mut out).not = Some(rules(not));
    }
    out
}

fn rules(schema: &Value) -> Rules {
    Rules {
        kind: JsonKind::parse(text(schema, "type")),
        own: constraints(schema),
        properties: named(schema, "properties")
            .map(|(name, schema)| (name.into(), rules(schema)))
            .collect(),
        items: sub(schema, "items").map(|items| Box::new(rules(items))),
    }
}
