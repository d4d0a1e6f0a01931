//! The types of expressions, and how error messages write them.

use std::{fmt, sync::Arc};

use crate::declared::Declared;

/// The type of an expression or variable.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything; checked when evaluated.
    Dyn,
    /// What an expression with a reported error has; goes with everything, so that one mistake is
    /// reported once.
    Error,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// 64 bits with sign.
    Int,
    /// 64 bits without sign.
    Uint,
    /// Floating point.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list of these.
    List(Arc<Type>),
    /// A map from these to these.
    Map(Arc<(Type, Type)>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type as a value; of what, where known.
    Type(Option<Arc<Type>>),
    /// Named fields.
    Object(Object),
    /// A kind of value that only functions look into (`net.IP`, `kubernetes.Quantity`).
    Opaque(Opaque),
    /// A type not settled yet, within the checker.
    Var(u32),
    /// A function declaration's type parameter.
    Param(u8),
}

/// An object type: named, with declared fields.
#[derive(Clone, Debug)]
pub struct Object {
    /// The name error messages use; objects of one name are of one type.
    pub name: Arc<str>,
    /// The fields.
    pub fields: Fields,
}

/// What fields an object type has.
#[derive(Clone, Debug)]
pub enum Fields {
    /// As a schema declares them.
    Declared(Arc<Declared>),
    /// These.
    Listed(Arc<[(Box<str>, Type)]>),
    /// Any field; an object field is an object type named after the path (`Object.spec`). What a
    /// mutation constructs.
    Open,
}

/// Kinds of value that only functions look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Opaque {
    Ip,
    Cidr,
    Url,
    Quantity,
    Semver,
    NamedFormat,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
}

impl Opaque {
    /// Every one.
    pub const ALL: [Opaque; 11] = [
        Opaque::Ip,
        Opaque::Cidr,
        Opaque::Url,
        Opaque::Quantity,
        Opaque::Semver,
        Opaque::NamedFormat,
        Opaque::Authorizer,
        Opaque::PathCheck,
        Opaque::GroupCheck,
        Opaque::ResourceCheck,
        Opaque::Decision,
    ];

    /// Upstream's name.
    pub fn name(self) -> &'static str {
        match self {
            Opaque::Ip => "net.IP",
            Opaque::Cidr => "net.CIDR",
            Opaque::Url => "kubernetes.URL",
            Opaque::Quantity => "kubernetes.Quantity",
            Opaque::Semver => "kubernetes.Semver",
            Opaque::NamedFormat => "kubernetes.NamedFormat",
            Opaque::Authorizer => "kubernetes.authorization.Authorizer",
            Opaque::PathCheck => "kubernetes.authorization.PathCheck",
            Opaque::GroupCheck => "kubernetes.authorization.GroupCheck",
            Opaque::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Opaque::Decision => "kubernetes.authorization.Decision",
        }
    }
}

impl Type {
    /// A list of these.
    pub fn list(element: Type) -> Self {
        Type::List(Arc::new(element))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new((key, value)))
    }

    /// A value that may be absent.
    pub fn optional(of: Type) -> Self {
        Type::Optional(Arc::new(of))
    }

    /// The authorizer of policies and match conditions.
    pub fn authorizer() -> Self {
        Type::Opaque(Opaque::Authorizer)
    }

    /// An authorizer already bound to the request's resource.
    pub fn resource_check() -> Self {
        Type::Opaque(Opaque::ResourceCheck)
    }

    /// An object with these fields, as admission's `request` is.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Type)>) -> Self {
        Type::Object(Object {
            name: name.into(),
            fields: Fields::Listed(
                fields
                    .into_iter()
                    .map(|(name, ty)| (name.into(), ty))
                    .collect(),
            ),
        })
    }

    /// An object whose fields are found out later, each with its type (the variables of a policy).
    pub fn record(name: &str, fields: Vec<(Box<str>, Type)>) -> Self {
        Type::Object(Object {
            name: name.into(),
            fields: Fields::Listed(fields.into()),
        })
    }

    /// An object as a schema declares it.
    pub fn declared(declared: &Arc<Declared>) -> Self {
        declared.ty().clone()
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// The same type, parameters and all.
    pub fn same(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, Type::Dyn)
            | (Type::Error, Type::Error)
            | (Type::Null, Type::Null)
            | (Type::Bool, Type::Bool)
            | (Type::Int, Type::Int)
            | (Type::Uint, Type::Uint)
            | (Type::Double, Type::Double)
            | (Type::String, Type::String)
            | (Type::Bytes, Type::Bytes)
            | (Type::Timestamp, Type::Timestamp)
            | (Type::Duration, Type::Duration) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a.same(b),
            (Type::Map(a), Type::Map(b)) => a.0.same(&b.0) && a.1.same(&b.1),
            (Type::Type(a), Type::Type(b)) => match (a, b) {
                (Some(a), Some(b)) => a.same(b),
                (None, None) => true,
                _ => false,
            },
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Var(a), Type::Var(b)) => a == b,
            (Type::Param(a), Type::Param(b)) => a == b,
            _ => false,
        }
    }

    /// The kind's name without parameters, as `type()` gives it and errors at run time name it.
    pub fn kind_name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "error",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Object(object) => &object.name,
            Type::Opaque(opaque) => opaque.name(),
            Type::Var(_) | Type::Param(_) => "dyn",
        }
    }

    /// The field of an object type.
    pub fn field(&self, name: &str) -> Option<Type> {
        let Type::Object(object) = self else {
            return None;
        };
        match &object.fields {
            Fields::Declared(declared) => declared.field(name).map(|field| field.ty().clone()),
            Fields::Listed(fields) => fields
                .iter()
                .find(|(field, _)| **field == *name)
                .map(|(_, ty)| ty.clone()),
            Fields::Open => Some(Type::Dyn),
        }
    }
}

impl fmt::Display for Type {
    /// As cel-go's `FormatCELType`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(element) => write!(f, "list({element})"),
            Type::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Type(Some(of)) => write!(f, "type({of})"),
            Type::Var(id) => write!(f, "_var{id}"),
            other => f.write_str(other.kind_name()),
        }
    }
}
