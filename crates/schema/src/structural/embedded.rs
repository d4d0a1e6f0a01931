//! Objects within objects (`x-kubernetes-embedded-resource`).

use crate::{
    Path, Value,
    constraint::Constraints,
    table::{Kind, Shape, Table, Ty, TypeId},
};

/// Shows every object within an object of this type, with its place.
pub fn embedded(table: &Table, ty: TypeId, object: &Value, see: &mut dyn FnMut(&Path<'_>, &Value)) {
    walk(table, &Ty::Ref(ty), None, &Path::ROOT, object, see);
}

fn walk(
    table: &Table,
    ty: &Ty,
    rules: Option<&Constraints>,
    path: &Path<'_>,
    value: &Value,
    see: &mut dyn FnMut(&Path<'_>, &Value),
) {
    let (mut ty, mut rules) = (ty, rules);
    while let Ty::Ref(id) = ty
        && let Shape::Alias(alias) = &table.get(*id).shape
    {
        ty = &alias.ty;
        rules = rules.or(alias.constraints.as_deref());
    }
    match (table.kind(ty), value) {
        (Kind::Struct(_, fields), Value::Object(map)) if fields.custom => {
            if rules.is_some_and(|rules| rules.embedded_resource) {
                see(path, value);
            }
            for (name, value) in map {
                if let Some(field) = fields.field(name) {
                    let rules = field.constraints.as_deref();
                    walk(table, &field.ty, rules, &path.field(name), value, see);
                }
            }
        }
        (Kind::Map(element), Value::Object(map)) => {
            for (name, value) in map {
                walk(table, element, None, &path.key(name), value, see);
            }
        }
        (Kind::List(element), Value::Array(items)) => {
            for (at, value) in items.iter().enumerate() {
                walk(table, element, None, &path.index(at), value, see);
            }
        }
        _ => {}
    }
}
