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

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.gvk.kind)
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
