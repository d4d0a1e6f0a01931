//! A resource as a row: what is served under which name, with which verbs. Rows come from the
//! catalog's tables or, at run time, from definitions of custom resources.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use schema::table::{Table, TypeId};

use crate::strategy::Strategy;

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: Box<str>,
    /// `v1`.
    pub version: Box<str>,
    /// `Pod`.
    pub kind: Box<str>,
}

/// One served version of one resource.
pub struct Resource {
    /// Group (empty for core), version and kind of the objects.
    pub gvk: Gvk,
    /// Plural name in paths: `pods`.
    pub plural: Box<str>,
    /// `pod`.
    pub singular: Box<str>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// `get`, `list`, … as discovery lists them.
    pub verbs: Vec<Box<str>>,
    /// `po`.
    pub short_names: Vec<Box<str>>,
    /// `all`.
    pub categories: Vec<Box<str>>,
    /// Subresources by name.
    pub subresources: Vec<Subresource>,
    /// `PodList`.
    pub list_kind: Box<str>,
    /// Where [`Resource::ty`] is.
    pub types: Types,
    /// The object's type.
    pub ty: TypeId,
    /// The version in which the store keeps these objects.
    pub storage_version: Box<str>,
    /// The group and plural under which the store keeps them: `events` of both groups share one place.
    pub storage_group: Box<str>,
    /// See `storage_group`.
    pub storage_plural: Box<str>,
    /// Values are encrypted at rest.
    pub secret: bool,
    /// Where the scale of an object is; none for the places built-in kinds have it at.
    pub scale: Option<ScalePaths>,
    /// What this kind does specially.
    pub strategy: Behaviour,
}

/// What a kind does specially: part of the program, or made from a definition.
pub enum Behaviour {
    /// Part of the program.
    Static(&'static dyn Strategy),
    /// Made at run time.
    Shared(Arc<dyn Strategy>),
}

impl Deref for Behaviour {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Behaviour::Static(strategy) => *strategy,
            Behaviour::Shared(strategy) => &**strategy,
        }
    }
}

/// Where the types of a resource are.
#[derive(Clone)]
pub enum Types {
    /// In the built-in catalog.
    Builtin,
    /// In a table of its own, made when first asked for: most of many custom resources are idle.
    Own(Arc<LateTable>),
}

impl Types {
    /// The table.
    pub fn table(&self) -> &Table {
        match self {
            Types::Builtin => &crate::catalog::builtin().table,
            Types::Own(late) => late.table(),
        }
    }

    /// Are they the program's own, with a protobuf form and patch strategies?
    pub fn is_builtin(&self) -> bool {
        matches!(self, Types::Builtin)
    }
}

/// A table that is made when it is first looked into.
pub struct LateTable {
    make: Box<dyn Fn() -> Table + Send + Sync>,
    table: OnceLock<Table>,
}

impl LateTable {
    /// The table that `make` makes.
    pub fn new(make: impl Fn() -> Table + Send + Sync + 'static) -> Self {
        LateTable {
            make: Box::new(make),
            table: OnceLock::new(),
        }
    }

    /// The table, made now if it has not been.
    pub fn table(&self) -> &Table {
        self.table.get_or_init(|| (self.make)())
    }
}

/// Where the parts of an `autoscaling/v1 Scale` are in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `spec.replicas`.
    pub replicas: Box<str>,
    /// `status.replicas`.
    pub status_replicas: Box<str>,
    /// A selector as text: `status.selector`.
    pub selector: Option<Box<str>>,
}

/// One subresource of a [`Resource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`.
    pub name: Box<str>,
    /// Group, version and kind of its body.
    pub body: Gvk,
    /// Verbs.
    pub verbs: Vec<Box<str>>,
}

impl Gvk {
    /// From its parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Gvk {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        crate::meta::join_api_version(&self.group, &self.version)
    }
}

impl Resource {
    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources
            .iter()
            .find(|subresource| &*subresource.name == name)
    }

    /// Has the kind a status that is written apart?
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Is this one of its verbs?
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| &**known == verb)
    }

    /// Where its types are.
    pub fn table(&self) -> &Table {
        self.types.table()
    }

    /// `deployments.apps`, or `pods`: how messages name the resource.
    pub fn qualified(&self) -> String {
        qualify(&self.plural, &self.gvk.group)
    }

    /// `Deployment.apps`, or `Pod`: how messages name the kind.
    pub fn qualified_kind(&self) -> String {
        qualify(&self.gvk.kind, &self.gvk.group)
    }
}

/// `name.group`, or `name` for the core group.
pub fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}
