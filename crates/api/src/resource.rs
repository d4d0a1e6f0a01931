//! A resource as a row: what is served under which name, with which verbs.

use schema::table::TypeId;

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
    /// The object's type in [`crate::catalog::Catalog::table`]; none for a custom resource without schema.
    pub ty: TypeId,
    /// The version in which the store keeps these objects.
    pub storage_version: Box<str>,
    /// The group and plural under which the store keeps them: `events` of both groups share one place.
    pub storage_group: Box<str>,
    /// See `storage_group`.
    pub storage_plural: Box<str>,
    /// Values are encrypted at rest.
    pub secret: bool,
    /// What this kind does specially.
    pub strategy: &'static dyn Strategy,
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
