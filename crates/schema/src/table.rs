//! Field tables: what the engine knows of a type. Built-in kinds are read from rows
//! ([`Table::parse`]); a custom resource's structural schema compiles into the same [`Table`].

use std::collections::HashMap;

use crate::{Value, constraint::Constraints};

mod lookup;
mod parse;

pub use lookup::Lookup;
pub use parse::TableError;

/// A type's place in its [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// All types that refer to one another.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) types: Vec<Type>,
    pub(crate) by_name: HashMap<Box<str>, TypeId>,
    pub(crate) quantity_form: Option<crate::text::QuantityForm>,
}

/// A named type.
#[derive(Clone, Debug)]
pub struct Type {
    /// `core.v1.PodSpec`.
    pub name: Box<str>,
    /// What it is made of.
    pub shape: Shape,
    /// Server-side apply replaces values of this type whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

impl Type {
    /// The name without group and version: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// What a type is made of.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Named fields.
    Struct(Struct),
    /// A value of its own form on the wire: `Quantity`, `Time`, `IntOrString`, …
    Scalar(Scalar),
    /// Another type under a name: the element types of custom resources, and named lists.
    Alias(Alias),
    /// An object, a list or a bool in one place (`JSONSchemaPropsOrArray` and its like).
    Either(Either),
}

/// Another type under a name.
#[derive(Clone, Debug)]
pub struct Alias {
    /// What it stands for.
    pub ty: Ty,
    /// Protobuf wraps the list in a message whose field 1 repeats (`meta.v1.Verbs`).
    pub wrapped: bool,
    /// How lists meet.
    pub list: ListKind,
    /// How maps meet.
    pub map: MapKind,
    /// What a custom resource's schema asks of the value.
    pub constraints: Option<Box<Constraints>>,
}

/// An object, or a list, or a bool, in one place of JSON; separate fields in protobuf.
#[derive(Clone, Debug)]
pub struct Either {
    /// Tag and type where JSON has an object.
    pub object: (u32, TypeId),
    /// Tag and element type where JSON has a list.
    pub list: Option<(u32, Ty)>,
    /// Tag where JSON has a bool; an object sets it to true as well.
    pub bool: Option<u32>,
}

/// Named fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    fields: Vec<Field>,
    lookup: Lookup,
    wire: Vec<Wire>,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
    /// Of a custom resource: values of another type are kept, for validation to name them.
    pub custom: bool,
}

/// A field's place on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Protobuf tag.
    pub tag: u32,
    /// What is written under it.
    pub part: Part,
}

/// What protobuf has under one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The field at this place of [`Struct::fields`].
    Field(usize),
    /// A nested message whose fields JSON spreads into the parent.
    Inline(TypeId),
}

/// The leaves of JSON that have a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// UTF-8 text.
    String,
    /// `true` or `false`.
    Bool,
    /// Whole number of 32 bits.
    Int32,
    /// Whole number of 64 bits.
    Int64,
    /// Floating-point number.
    Double,
    /// Base64 in JSON.
    Bytes,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `meta/v1.Time`.
    Time,
    /// `meta/v1.MicroTime`.
    MicroTime,
    /// `meta/v1.Duration`: `1m30s`.
    Duration,
    /// Any JSON: `RawExtension`, `FieldsV1`, `JSON`, preserved unknown fields.
    Any,
}

/// The type of a field or element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ty {
    /// A leaf.
    Scalar(Scalar),
    /// A list.
    List(Box<Ty>),
    /// A map with string keys.
    Map(Box<Ty>),
    /// Another type of the same table.
    Ref(TypeId),
}

/// How two writers' lists meet (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ListKind {
    /// Nothing is said: replaced whole.
    #[default]
    Unset,
    /// Replaced whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects told apart by these keys.
    Map(Vec<Box<str>>),
}

/// How two writers' maps or structs meet (`x-kubernetes-map-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MapKind {
    /// As the type says; key by key where it says nothing.
    #[default]
    Unset,
    /// Key by key, whatever the type says.
    Granular,
    /// Replaced whole.
    Atomic,
}

/// How strategic merge patch treats the field.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists merge, by `merge_key` where the elements are objects.
    pub merge: bool,
    /// The patch's value takes the place of the field's.
    pub replace: bool,
    /// A given object's other keys are dropped (`$retainKeys`).
    pub retain_keys: bool,
    /// The key that tells elements apart.
    pub merge_key: Option<Box<str>>,
}

/// When upstream's encoder writes the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Presence {
    /// A pointer (or a list or map): written when set, also with a zero value.
    #[default]
    Optional,
    /// `omitempty` on a plain value: a zero value is not written in JSON, and is always written in protobuf.
    OmitZero,
    /// Always written.
    Always,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: Box<str>,
    /// Protobuf tag within the message that declares it; none where the field exists only in JSON.
    pub tag: Option<u32>,
    /// Type.
    pub ty: Ty,
    /// Must be set.
    pub required: bool,
    /// When upstream's encoder writes it.
    pub presence: Presence,
    /// For a field that came out of an inlined struct: the tags on the way to it.
    pub inline_of: Vec<u32>,
    /// How lists meet.
    pub list: ListKind,
    /// How maps or structs meet.
    pub map: MapKind,
    /// Strategic merge.
    pub patch: PatchStrategy,
    /// Value given when absent.
    pub default: Option<Value>,
    /// What a custom resource's schema asks of the value.
    pub constraints: Option<Box<Constraints>>,
}

impl Field {
    /// A field with this name and type, optional, not on the wire.
    pub fn new(name: &str, ty: Ty) -> Self {
        Self {
            name: name.into(),
            tag: None,
            ty,
            required: false,
            presence: Presence::Optional,
            inline_of: Vec::new(),
            list: ListKind::Unset,
            map: MapKind::Unset,
            patch: PatchStrategy::default(),
            default: None,
            constraints: None,
        }
    }
}

impl Struct {
    /// A struct of these fields; `inlined` are the nested messages whose fields are among them.
    pub fn new(mut fields: Vec<Field>, inlined: Vec<(u32, TypeId)>, open: bool) -> Self {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let mut wire: Vec<Wire> = inlined
            .into_iter()
            .map(|(tag, id)| Wire {
                tag,
                part: Part::Inline(id),
            })
            .collect();
        for (place, field) in fields.iter().enumerate() {
            if let (Some(tag), true) = (field.tag, field.inline_of.is_empty()) {
                wire.push(Wire {
                    tag,
                    part: Part::Field(place),
                });
            }
        }
        wire.sort_by_key(|w| w.tag);
        let lookup = Lookup::new(fields.iter().map(|f| f.name.as_ref()));
        Self {
            fields,
            lookup,
            wire,
            open,
            custom: false,
        }
    }

    /// The struct as part of a custom resource.
    pub fn of_custom_resource(self) -> Self {
        Self {
            custom: true,
            ..self
        }
    }

    /// The fields, sorted by JSON name. Fields of inlined structs are among them (with
    /// [`Field::inline_of`] set), so that decoding looks a name up once.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.place(name).map(|place| &self.fields[place])
    }

    /// The place in [`Struct::fields`] of this JSON name.
    #[inline]
    pub fn place(&self, name: &str) -> Option<usize> {
        let place = self.lookup.candidate(name)?;
        (*self.fields.get(place)?.name == *name)
            .then_some(place)
            .or_else(|| self.fields.binary_search_by(|f| (*f.name).cmp(name)).ok())
    }

    /// What protobuf has, sorted by tag.
    pub fn wire(&self) -> &[Wire] {
        &self.wire
    }

    /// What protobuf has under this tag.
    pub fn by_tag(&self, tag: u32) -> Option<Part> {
        self.wire
            .binary_search_by_key(&tag, |w| w.tag)
            .ok()
            .map(|place| self.wire[place].part)
    }
}

impl Table {
    /// The type of this name.
    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The rules on a place of this type that the type itself brings: elements of lists and maps.
    pub(crate) fn element_rules(&self, ty: &Ty) -> Option<&Constraints> {
        match ty {
            Ty::Ref(id) => match &self.get(*id).shape {
                Shape::Alias(alias) => alias.constraints.as_deref(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The type at this place.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// Every type with its place.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types
            .iter()
            .enumerate()
            .map(|(place, ty)| (TypeId(place as u32), ty))
    }

    /// Puts a type in, in the place of one of the same name if there is one.
    pub fn insert(&mut self, ty: Type) -> TypeId {
        if let Some(&id) = self.by_name.get(&ty.name) {
            self.types[id.0 as usize] = ty;
            return id;
        }
        let id = TypeId(self.types.len() as u32);
        self.by_name.insert(ty.name.clone(), id);
        self.types.push(ty);
        id
    }

    /// The fields of a struct type; none for any other shape.
    pub fn fields(&self, id: TypeId) -> Option<&Struct> {
        match &self.get(id).shape {
            Shape::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// What the type at this place is; see [`Table::kind`].
    pub fn kind_of(&self, id: TypeId) -> Kind<'_> {
        match &self.get(id).shape {
            Shape::Struct(fields) => Kind::Struct(id, fields),
            Shape::Scalar(scalar) => Kind::Scalar(*scalar),
            Shape::Either(either) => Kind::Either(either),
            Shape::Alias(alias) => self.kind(&alias.ty),
        }
    }

    /// What a type is, with names of scalars and aliases followed to what they stand for.
    pub fn kind<'t>(&'t self, ty: &'t Ty) -> Kind<'t> {
        match ty {
            Ty::Scalar(scalar) => Kind::Scalar(*scalar),
            Ty::List(element) => Kind::List(element),
            Ty::Map(element) => Kind::Map(element),
            Ty::Ref(id) => self.kind_of(*id),
        }
    }
}

/// A type with its name followed; see [`Table::kind`].
#[derive(Clone, Copy, Debug)]
pub enum Kind<'t> {
    /// A leaf.
    Scalar(Scalar),
    /// A list of these.
    List(&'t Ty),
    /// A map from text to these.
    Map(&'t Ty),
    /// Named fields.
    Struct(TypeId, &'t Struct),
    /// An object, a list or a bool.
    Either(&'t Either),
}
