//! Field tables: what the engine knows of a type. Built-in kinds are read from rows (TSV); a
//! custom resource's structural schema compiles into the same [`Table`].

use std::collections::HashMap;

use crate::Value;

/// A type's place in its [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// All types that refer to one another.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) types: Vec<Type>,
    pub(crate) by_name: HashMap<Box<str>, TypeId>,
}

/// A named type.
#[derive(Clone, Debug)]
pub struct Type {
    /// `core.v1.PodSpec`.
    pub name: Box<str>,
    /// What it is made of.
    pub shape: Shape,
}

/// What a type is made of.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Named fields.
    Struct(Struct),
    /// A value of its own form on the wire: `Quantity`, `Time`, `IntOrString`, …
    Scalar(Scalar),
}

/// Named fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// Sorted by JSON name. Fields of inlined structs are listed here too (with
    /// [`Field::inline_of`] set), so that decoding looks a name up once.
    pub fields: Vec<Field>,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
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
    /// Replaced whole.
    #[default]
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects told apart by these keys.
    Map(Vec<Box<str>>),
}

/// How strategic merge patch treats the field.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists merge, by `merge_key` where the elements are objects.
    pub merge: bool,
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
    /// Protobuf tag; none where the field exists only in JSON.
    pub tag: Option<u32>,
    /// Type.
    pub ty: Ty,
    /// Must be set.
    pub required: bool,
    /// When upstream's encoder writes it.
    pub presence: Presence,
    /// The protobuf message nests this struct while JSON spreads its fields.
    pub inline: bool,
    /// For a field that came out of an inlined struct: the path of tags to it.
    pub inline_of: Vec<u32>,
    /// How lists meet.
    pub list: ListKind,
    /// The map or struct is replaced whole by server-side apply.
    pub atomic_map: bool,
    /// Strategic merge.
    pub patch: PatchStrategy,
    /// Value given when absent.
    pub default: Option<Value>,
}

impl Table {
    /// The type of this name.
    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The type at this place.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }
}
