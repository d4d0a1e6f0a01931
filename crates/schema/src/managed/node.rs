//! How a place's values meet, read from the table: leaf, list told apart by keys or values, or map
//! key by key. Also the field set of a value.

use std::{collections::BTreeSet, sync::LazyLock};

use super::{
    element::{Element, Leaf},
    set::{Node, Set},
};
use crate::{
    Map, Value,
    table::{Field, Kind, ListKind, MapKind, Presence, Scalar, Shape, Struct, Table, Ty, TypeId},
};

/// A place's type, with what the field that leads to it says of merging.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'t> {
    table: &'t Table,
    ty: Of<'t>,
    list: &'t ListKind,
    map: MapKind,
}

#[derive(Clone, Copy, Debug)]
enum Of<'t> {
    Ty(&'t Ty),
    Root(TypeId),
    /// No type: merged by what the value is.
    Free,
}

/// How values meet here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meeting<'t> {
    /// Replaced whole.
    Leaf,
    /// Element by element.
    List {
        kind: &'t ListKind,
        element: Place<'t>,
    },
    /// Key by key.
    Map(Keys<'t>),
    /// Maps key by key, all else whole.
    Free,
}

/// What is known of a map's keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'t> {
    /// Named fields.
    Struct(&'t Struct),
    /// Any key.
    Any(Place<'t>),
}

static UNSET: ListKind = ListKind::Unset;

impl<'t> Place<'t> {
    pub(super) fn root(table: &'t Table, ty: TypeId) -> Self {
        Self {
            table,
            ty: Of::Root(ty),
            list: &UNSET,
            map: MapKind::Unset,
        }
    }

    fn of(self, ty: &'t Ty) -> Self {
        Self {
            ty: Of::Ty(ty),
            list: &UNSET,
            map: MapKind::Unset,
            ..self
        }
    }

    fn free(self) -> Self {
        Self {
            ty: Of::Free,
            ..self
        }
    }

    fn field(self, field: &'t Field) -> Self {
        Self {
            ty: Of::Ty(&field.ty),
            list: &field.list,
            map: field.map,
            ..self
        }
    }

    /// The place below a key: its field, if it is one, and whether the key is a named field.
    pub(super) fn below(self, keys: Keys<'t>, key: &str) -> (Self, Option<&'t Field>) {
        match keys {
            Keys::Struct(fields) => match fields.field(key) {
                Some(field) => (self.field(field), Some(field)),
                None => (self.free(), None),
            },
            Keys::Any(element) => (element, None),
        }
    }

    pub(super) fn meeting(self) -> Meeting<'t> {
        let ty = match self.ty {
            Of::Free => return Meeting::Free,
            Of::Root(id) => return self.named(id),
            Of::Ty(ty) => ty,
        };
        match ty {
            Ty::Scalar(_) => Meeting::Leaf,
            Ty::List(element) => match self.list {
                ListKind::Unset | ListKind::Atomic => Meeting::Leaf,
                kind => Meeting::List {
                    kind,
                    element: self.of(element),
                },
            },
            Ty::Map(_) if self.map == MapKind::Atomic => Meeting::Leaf,
            Ty::Map(element) => Meeting::Map(Keys::Any(self.of(element))),
            Ty::Ref(id) => self.named(*id),
        }
    }

    fn named(self, id: TypeId) -> Meeting<'t> {
        let ty = self.table.get(id);
        let atomic = match self.map {
            MapKind::Atomic => true,
            MapKind::Granular => false,
            MapKind::Unset => ty.atomic,
        };
        match &ty.shape {
            Shape::Struct(_) if atomic => Meeting::Leaf,
            // Nothing is known of it: it merges by what it is.
            Shape::Struct(fields) if fields.open && fields.fields().is_empty() => Meeting::Free,
            Shape::Struct(fields) => Meeting::Map(Keys::Struct(fields)),
            Shape::Scalar(_) => Meeting::Leaf,
            Shape::Either(_) => Meeting::Free,
            Shape::Alias(alias) => Place {
                ty: Of::Ty(&alias.ty),
                list: match self.list {
                    ListKind::Unset => &alias.list,
                    kind => kind,
                },
                map: match self.map {
                    MapKind::Unset => alias.map,
                    kind => kind,
                },
                ..self
            }
            .meeting(),
        }
    }

    /// What tells an element of a list from the others.
    pub(super) fn identity(self, kind: &ListKind, element: &Value) -> Result<Element, String> {
        match (kind, element) {
            (ListKind::Map(keys), Value::Object(map)) => self.key(keys, map),
            (ListKind::Map(_), Value::Null) => {
                Err("associative list with keys may not have a null element".to_owned())
            }
            (ListKind::Map(_), _) => {
                Err("associative list with keys may not have non-map elements".to_owned())
            }
            (_, Value::Object(_)) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            (_, Value::Array(_)) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            (_, Value::Null) => Err(
                "associative list without keys has an element that's an explicit null".to_owned(),
            ),
            (_, leaf) => Ok(Element::Value(Leaf(leaf.clone()))),
        }
    }

    fn key(self, keys: &[Box<str>], element: &Map<String, Value>) -> Result<Element, String> {
        let fields = match self.ty {
            Of::Ty(ty) => match self.table.kind(ty) {
                Kind::Struct(_, fields) => Some(fields),
                _ => None,
            },
            _ => None,
        };
        let mut out: Vec<(Box<str>, Leaf)> = Vec::with_capacity(keys.len());
        for key in keys {
            let value = match element.get(&**key) {
                Some(value) => Some(value.clone()),
                None => fields
                    .and_then(|fields| fields.field(key))
                    .and_then(|field| self.default(field)),
            };
            if let Some(value) = value {
                out.push((key.clone(), Leaf(value)));
            }
        }
        if out.is_empty() {
            return Err(format!(
                "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have default values for any key fields)"
            ));
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Element::Key(out))
    }

    /// What a key that is not given counts as.
    fn default(self, field: &Field) -> Option<Value> {
        if let Some(default) = &field.default {
            return Some(default.clone());
        }
        match self.table.kind(&field.ty) {
            Kind::Scalar(scalar) if field.presence == Presence::Always => {
                crate::default::zero(scalar)
            }
            _ => None,
        }
    }

    /// The fields a value has, and whether it is a field itself as far as its type says.
    pub(super) fn fields_of(self, value: &Value) -> Node {
        match (self.meeting(), value) {
            (Meeting::List { kind, element }, Value::Array(list)) => {
                let mut seen = BTreeSet::new();
                let mut twice = BTreeSet::new();
                let mut below = Set::default();
                let identities: Vec<Element> = list
                    .iter()
                    .filter_map(|item| element.identity(kind, item).ok())
                    .collect();
                for identity in &identities {
                    if !seen.insert(identity) {
                        twice.insert(identity.clone());
                    }
                }
                for item in list {
                    let Ok(identity) = element.identity(kind, item) else {
                        continue;
                    };
                    let mut node = if twice.contains(&identity) {
                        Node::default()
                    } else {
                        element.fields_of(item)
                    };
                    node.member = true;
                    below.put(identity, node);
                }
                Node {
                    member: false,
                    below,
                }
            }
            (Meeting::Map(keys), Value::Object(map)) => self.fields_of_map(keys, map),
            (Meeting::Free, Value::Object(map)) => self.fields_of_map(Keys::Any(self), map),
            (Meeting::List { .. } | Meeting::Map(_), Value::Null) => Node::default(),
            _ => Node::leaf(),
        }
    }

    fn fields_of_map(self, keys: Keys<'t>, map: &Map<String, Value>) -> Node {
        let mut below = Set::default();
        for (key, value) in map {
            let (place, field) = self.below(keys, key);
            let mut node = place.fields_of(value);
            let is_empty = match value {
                Value::Null => true,
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            node.member |= is_empty || field.is_none();
            below.put(Element::field(key), node);
        }
        Node {
            member: false,
            below,
        }
    }

    /// What upstream's typed objects have where ours have nothing: an empty struct, a zero value,
    /// a null list. Without it, such a field would count as added when it is first set.
    pub(super) fn implied(self, field: &Field) -> Option<&'static Value> {
        static NULL: Value = Value::Null;
        static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
        static FALSE: Value = Value::Bool(false);
        static TEXT: Value = Value::String(String::new());
        match (self.table.kind(&field.ty), field.presence) {
            (Kind::Struct(..), Presence::Always) => Some(&EMPTY),
            (Kind::Scalar(Scalar::Bool), Presence::Always) => Some(&FALSE),
            (Kind::Scalar(Scalar::String), Presence::Always) => Some(&TEXT),
            (Kind::Scalar(_), Presence::Always) => Some(&NULL),
            // Lists and maps that upstream writes as null when they are not set.
            (Kind::List(_) | Kind::Map(_), Presence::Optional) if field.tag.is_some() => {
                Some(&NULL)
            }
            _ => None,
        }
    }

    /// The set with the named fields on the way to its members put in.
    pub(super) fn with_named(self, set: &Set) -> Set {
        let meeting = self.meeting();
        let mut out = Set::default();
        for (element, node) in set.iter() {
            let (place, named) = match (element, meeting) {
                (Element::Field(name), Meeting::Map(keys)) => {
                    let (place, field) = self.below(keys, name);
                    (place, field.is_some())
                }
                (Element::Field(_), Meeting::Free) => (self, false),
                (Element::Key(_), Meeting::List { element, .. }) => (element, false),
                _ => (self.free(), false),
            };
            out.put(
                element.clone(),
                Node {
                    member: node.member || (named && !node.below.is_empty()),
                    below: place.with_named(&node.below),
                },
            );
        }
        out
    }
}
