//! What an expression may use: variables, and libraries of functions and macros.

use std::collections::BTreeMap;

use crate::{functions, types::Type};

/// A group of functions and macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Library {
    /// What every CEL has.
    Standard,
    Optional,
    /// cel-go's strings extension, as far as Kubernetes has it.
    Strings,
    /// cel-go's lists extension.
    Lists,
    Sets,
    TwoVariables,
    KubernetesLists,
    Regex,
    Url,
    Ip,
    Cidr,
    Quantity,
    Semver,
    Format,
    Authorizer,
    /// `JSONPatch{}`, `Object{}` and `jsonpatch.escapeKey`, for mutations.
    Mutation,
    /// `cel.bind`, which device selectors have.
    Bindings,
}

impl Library {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Variables and libraries. Built once per kind of expression.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<Box<str>, Type>,
    libraries: u32,
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment {
    /// The libraries every expression of Kubernetes 1.36 has; no variables.
    pub fn new() -> Self {
        let libraries = [
            Library::Standard,
            Library::Optional,
            Library::Strings,
            Library::Lists,
            Library::Sets,
            Library::TwoVariables,
            Library::KubernetesLists,
            Library::Regex,
            Library::Url,
            Library::Ip,
            Library::Cidr,
            Library::Quantity,
            Library::Semver,
            Library::Format,
            Library::Authorizer,
        ];
        Self {
            variables: BTreeMap::new(),
            libraries: libraries.iter().fold(0, |bits, l| bits | l.bit()),
        }
    }

    /// With a variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.declare(name, ty);
        self
    }

    /// With a library.
    #[must_use]
    pub fn with_library(mut self, library: Library) -> Self {
        self.libraries |= library.bit();
        self
    }

    /// Declares a variable, or changes its type.
    pub fn declare(&mut self, name: &str, ty: Type) {
        self.variables.insert(name.into(), ty);
    }

    /// Has it this library?
    pub fn has(&self, library: Library) -> bool {
        self.libraries & library.bit() != 0
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    pub(crate) fn function(&self, name: &str) -> Option<functions::Found<'_>> {
        functions::find(name, self)
    }
}
