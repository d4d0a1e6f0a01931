//! The functions of all libraries: how they are declared, found, and picked among by the values they
//! are called with. One file per library; each declares its rows in [`Row`] form.

use std::{collections::HashMap, sync::OnceLock};

use regex::Regex;

use crate::{
    environment::{Environment, Library},
    types::{Opaque, Type},
    value::{Fault, List, Map, OpaqueValue, Outcome, Value},
};

mod authorizer;
mod conversion;
pub(crate) mod format;
pub(crate) mod ip;
mod kubernetes_lists;
mod lists;
mod mutation;
mod operators;
mod optional;
pub(crate) mod printf;
mod quantity;
pub(crate) mod regexp;
pub(crate) mod semver;
mod sets;
mod signature;
mod strings;
mod times;
pub(crate) mod two_variables;
pub(crate) mod url;

/// A function's code.
pub(crate) type Function = for<'x, 'a> fn(Args<'x, 'a>) -> Outcome<'a>;

/// A function as a library declares it: name, overload, signature, code.
type Row = (&'static str, &'static str, &'static str, Function);

/// One signature of a function.
pub(crate) struct Overload {
    pub id: &'static str,
    pub library: Library,
    /// The first parameter stands before the dot.
    pub member: bool,
    pub params: Vec<Type>,
    pub result: Type,
    /// Has type parameters.
    pub generic: bool,
    pub code: Function,
}

/// A function an environment has.
pub(crate) struct Found<'e> {
    overloads: &'static [Overload],
    environment: &'e Environment,
}

impl Found<'_> {
    pub fn overloads(&self) -> impl Iterator<Item = &'static Overload> {
        self.overloads
            .iter()
            .filter(|overload| self.environment.has(overload.library))
    }
}

/// What a function is called with.
#[derive(Clone, Copy)]
pub(crate) struct Args<'x, 'a> {
    pub values: &'x [Value<'a>],
    /// The pattern, where it is constant and was compiled with the program.
    pub regex: Option<&'x Regex>,
}

const LIBRARIES: [(Library, &[Row]); 19] = [
    (Library::Standard, operators::ROWS),
    (Library::Standard, conversion::ROWS),
    (Library::Standard, times::ROWS),
    (Library::Standard, strings::STANDARD),
    (Library::Optional, optional::ROWS),
    (Library::Strings, strings::ROWS),
    (Library::Lists, lists::ROWS),
    (Library::Sets, sets::ROWS),
    (Library::TwoVariables, two_variables::ROWS),
    (Library::KubernetesLists, kubernetes_lists::ROWS),
    (Library::Regex, regexp::ROWS),
    (Library::Url, url::ROWS),
    (Library::Ip, ip::IP),
    (Library::Cidr, ip::CIDR),
    (Library::Quantity, quantity::ROWS),
    (Library::Semver, semver::ROWS),
    (Library::Format, format::ROWS),
    (Library::Authorizer, authorizer::ROWS),
    (Library::Mutation, mutation::ROWS),
];

fn registry() -> &'static HashMap<&'static str, Vec<Overload>> {
    static REGISTRY: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        for (library, rows) in LIBRARIES {
            for (function, id, signature, code) in rows.iter().copied() {
                functions
                    .entry(function)
                    .or_default()
                    .extend(signature::overloads(id, signature, library, code));
            }
        }
        functions
    })
}

/// The function of this name, if any overload of it is in the environment.
pub(crate) fn find<'e>(name: &str, environment: &'e Environment) -> Option<Found<'e>> {
    let overloads = registry().get(name)?;
    overloads
        .iter()
        .any(|overload| environment.has(overload.library))
        .then_some(Found {
            overloads,
            environment,
        })
}

impl Overload {
    /// Do values of these kinds go with the parameters?
    pub fn takes(&self, values: &[Value<'_>]) -> bool {
        self.params.len() == values.len()
            && self
                .params
                .iter()
                .zip(values)
                .all(|(param, value)| goes_with(param, value))
    }
}

fn goes_with(param: &Type, value: &Value<'_>) -> bool {
    match (param, value) {
        (Type::Dyn | Type::Param(_) | Type::Var(_), _) => true,
        (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Map(_), Value::Map(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::List(element), Value::List(list)) => {
            // As upstream: the first element tells what the list holds.
            list.is_empty() || list.get(0).is_ok_and(|first| goes_with(element, &first))
        }
        (Type::Opaque(kind), Value::Opaque(opaque)) => *kind == opaque.kind(),
        _ => false,
    }
}

impl<'x, 'a> Args<'x, 'a> {
    pub fn len(self) -> usize {
        self.values.len()
    }

    pub fn value(self, place: usize) -> Result<&'x Value<'a>, Fault> {
        self.values.get(place).ok_or_else(Fault::no_such_overload)
    }

    pub fn text(self, place: usize) -> Result<&'x str, Fault> {
        self.value(place)?
            .as_str()
            .ok_or_else(Fault::no_such_overload)
    }

    pub fn int(self, place: usize) -> Result<i64, Fault> {
        match self.value(place)? {
            Value::Int(value) => Ok(*value),
            _ => Err(Fault::no_such_overload()),
        }
    }

    pub fn list(self, place: usize) -> Result<&'x List<'a>, Fault> {
        match self.value(place)? {
            Value::List(list) => Ok(list),
            _ => Err(Fault::no_such_overload()),
        }
    }

    pub fn map(self, place: usize) -> Result<&'x Map<'a>, Fault> {
        match self.value(place)? {
            Value::Map(map) => Ok(map),
            _ => Err(Fault::no_such_overload()),
        }
    }

    pub fn opaque(self, place: usize) -> Result<&'x OpaqueValue<'a>, Fault> {
        match self.value(place)? {
            Value::Opaque(opaque) => Ok(opaque),
            _ => Err(Fault::no_such_overload()),
        }
    }
}

/// What operators have in the place of code: evaluation knows them by name.
fn built_in<'a>(_: Args<'_, 'a>) -> Outcome<'a> {
    Err(Fault::no_such_overload())
}

/// The types that are values under a name.
pub(crate) fn type_named(name: &str, environment: &Environment) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(None),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP" if environment.has(Library::Ip) => Type::Opaque(Opaque::Ip),
        "net.CIDR" if environment.has(Library::Cidr) => Type::Opaque(Opaque::Cidr),
        _ if environment.has(Library::Mutation) => return mutation::type_named(name),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_well_formed_and_every_overload_is_declared_once() {
        let mut seen = std::collections::HashSet::new();
        for (function, overloads) in registry() {
            assert!(!overloads.is_empty(), "{function}");
            for overload in overloads {
                assert!(seen.insert(overload.id), "{} twice", overload.id);
                let types = overload.params.iter().chain([&overload.result]);
                for ty in types {
                    assert!(!ty.to_string().contains("!error!"), "{}: {ty}", overload.id);
                }
            }
        }
        let declared: usize = LIBRARIES.iter().map(|(_, rows)| rows.len()).sum();
        assert!(seen.len() >= declared, "{} of {declared}", seen.len());
    }
}
