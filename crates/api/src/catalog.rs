//! All that is served, read once from the tables that are part of the program: kinds and their
//! types, resources and their subresources, groups and their versions.

use std::{collections::HashMap, sync::LazyLock};

use schema::table::{Table, TypeId};

use crate::{
    quantity, registry,
    resource::{Behaviour, Gvk, Resource, Subresource, Types},
};

const TYPES: &str = include_str!("../tables/types.tsv");
const KINDS: &str = include_str!("../tables/kinds.tsv");
const RESOURCES: &str = include_str!("../tables/resources.tsv");

/// The text of all tables: what changes when anything about the kinds does.
pub const SOURCES: [&str; 3] = [TYPES, KINDS, RESOURCES];

/// Groups in the order in which discovery lists them.
const GROUP_ORDER: [&str; 22] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
];

/// Kinds whose objects rest in another version than the one asked for: group, kind, version.
const STORAGE_VERSIONS: [(&str, &str, &str); 11] = [
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicy",
        "v1beta1",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
        "v1beta1",
    ),
    ("autoscaling", "HorizontalPodAutoscaler", "v2"),
    ("certificates.k8s.io", "ClusterTrustBundle", "v1beta1"),
    ("coordination.k8s.io", "LeaseCandidate", "v1beta1"),
    ("resource.k8s.io", "DeviceClass", "v1"),
    ("resource.k8s.io", "DeviceTaintRule", "v1alpha3"),
    ("resource.k8s.io", "ResourceClaim", "v1"),
    ("resource.k8s.io", "ResourceClaimTemplate", "v1"),
    ("resource.k8s.io", "ResourceSlice", "v1"),
    ("storage.k8s.io", "VolumeAttributesClass", "v1"),
];

/// Kinds on the wire that are no resources: group, version, kind, type. A star stands for any.
const WIRE_KINDS: [(&str, &str, &str, &str); 23] = [
    ("*", "*", "CreateOptions", "meta.v1.CreateOptions"),
    ("*", "*", "DeleteOptions", "meta.v1.DeleteOptions"),
    ("*", "*", "GetOptions", "meta.v1.GetOptions"),
    ("*", "*", "ListOptions", "meta.v1.ListOptions"),
    ("*", "*", "PatchOptions", "meta.v1.PatchOptions"),
    ("*", "*", "UpdateOptions", "meta.v1.UpdateOptions"),
    ("*", "*", "WatchEvent", "meta.v1.WatchEvent"),
    ("", "v1", "List", "meta.v1.List"),
    ("", "v1", "NodeProxyOptions", "core.v1.NodeProxyOptions"),
    ("", "v1", "PodAttachOptions", "core.v1.PodAttachOptions"),
    ("", "v1", "PodExecOptions", "core.v1.PodExecOptions"),
    ("", "v1", "PodLogOptions", "core.v1.PodLogOptions"),
    (
        "",
        "v1",
        "PodPortForwardOptions",
        "core.v1.PodPortForwardOptions",
    ),
    ("", "v1", "PodProxyOptions", "core.v1.PodProxyOptions"),
    ("", "v1", "RangeAllocation", "core.v1.RangeAllocation"),
    (
        "",
        "v1",
        "SerializedReference",
        "core.v1.SerializedReference",
    ),
    (
        "",
        "v1",
        "ServiceProxyOptions",
        "core.v1.ServiceProxyOptions",
    ),
    (
        "admission.k8s.io",
        "v1",
        "AdmissionReview",
        "admission.v1.AdmissionReview",
    ),
    (
        "apidiscovery.k8s.io",
        "v2",
        "APIGroupDiscoveryList",
        "apidiscovery.v2.APIGroupDiscoveryList",
    ),
    (
        "apidiscovery.k8s.io",
        "v2beta1",
        "APIGroupDiscoveryList",
        "apidiscovery.v2beta1.APIGroupDiscoveryList",
    ),
    (
        "meta.k8s.io",
        "v1",
        "PartialObjectMetadata",
        "meta.v1.PartialObjectMetadata",
    ),
    (
        "meta.k8s.io",
        "v1",
        "PartialObjectMetadataList",
        "meta.v1.PartialObjectMetadataList",
    ),
    (
        "meta.k8s.io",
        "v1beta1",
        "PartialObjectMetadataList",
        "meta.v1beta1.PartialObjectMetadataList",
    ),
];

/// Why the tables cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The table of types is bad.
    #[error("types.tsv: {0}")]
    Types(#[from] schema::table::TableError),
    /// A row has too few columns.
    #[error("{table}.tsv: row {row:?} has too few columns")]
    Columns {
        /// Which table.
        table: &'static str,
        /// The row.
        row: String,
    },
    /// A kind names a type that is not there.
    #[error("kind {kind} of {group}/{version} has no type")]
    NoType {
        /// Group.
        group: String,
        /// Version.
        version: String,
        /// Kind.
        kind: String,
    },
    /// A subresource without its resource.
    #[error("resources.tsv: {0} comes before its resource")]
    Orphan(String),
}

/// One API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Empty for core.
    pub name: Box<str>,
    /// Best first: the first one is preferred.
    pub versions: Vec<Box<str>>,
}

/// All that is served.
pub struct Catalog {
    /// The types of all kinds.
    pub table: Table,
    /// Where objects hold quantities.
    pub quantities: quantity::Paths,
    resources: Vec<Resource>,
    groups: Vec<Group>,
    by_plural: HashMap<Box<str>, Vec<usize>>,
    by_kind: HashMap<Box<str>, Vec<usize>>,
    kinds: HashMap<Box<str>, Vec<(Gvk, TypeId)>>,
    meta_kinds: HashMap<Box<str>, TypeId>,
}

static BUILTIN: LazyLock<Catalog> =
    LazyLock::new(|| match Catalog::parse(TYPES, KINDS, RESOURCES) {
        Ok(catalog) => catalog,
        // The tables are part of the program and a test reads them.
        Err(error) => panic!("built-in tables: {error}"),
    });

/// What a server of this release serves.
pub fn builtin() -> &'static Catalog {
    &BUILTIN
}

fn columns<'a, const N: usize>(
    table: &'static str,
    row: &'a str,
) -> Result<[&'a str; N], CatalogError> {
    let mut cells = row.split('\t');
    let mut result = [""; N];
    for (index, cell) in result.iter_mut().enumerate() {
        match cells.next() {
            Some(text) => *cell = text,
            // Trailing empty columns may be missing.
            None if index >= 4 => {}
            None => {
                return Err(CatalogError::Columns {
                    table,
                    row: row.to_owned(),
                });
            }
        }
    }
    Ok(result)
}

fn words(text: &str) -> Vec<Box<str>> {
    text.split(',')
        .filter(|word| !word.is_empty())
        .map(Into::into)
        .collect()
}

fn core_is_empty(group: &str) -> &str {
    if group == "-" { "" } else { group }
}

/// Sorts `v2` before `v1` before `v1beta2` before `v1alpha1`.
pub fn version_rank(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let parsed = || -> Option<(u8, u32, u32)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        if tail.is_empty() {
            return Some((0, major, 0));
        }
        let (stage, minor) = match tail.strip_prefix("beta") {
            Some(minor) => (1, minor),
            None => (2, tail.strip_prefix("alpha")?),
        };
        Some((stage, major, minor.parse().ok()?))
    };
    let (stage, major, minor) = parsed().unwrap_or((3, 0, 0));
    (stage, std::cmp::Reverse(major), std::cmp::Reverse(minor))
}

impl Catalog {
    /// Reads the three tables.
    pub fn parse(types: &str, kinds: &str, resources: &str) -> Result<Self, CatalogError> {
        let table = Table::parse(types)?;
        let quantities = quantity::Paths::new(&table);
        let mut catalog = Catalog {
            table,
            quantities,
            resources: Vec::new(),
            groups: Vec::new(),
            by_plural: HashMap::new(),
            by_kind: HashMap::new(),
            kinds: HashMap::new(),
            meta_kinds: HashMap::new(),
        };
        catalog.read_kinds(kinds)?;
        catalog.read_resources(resources)?;
        catalog.make_groups();
        Ok(catalog)
    }

    fn no_type(group: &str, version: &str, kind: &str) -> CatalogError {
        CatalogError::NoType {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    fn read_kinds(&mut self, rows: &str) -> Result<(), CatalogError> {
        for row in rows.lines().skip(1) {
            let [ty, group, version, kind] = columns::<4>("kinds", row)?;
            let group = core_is_empty(group);
            let id = self
                .table
                .id(ty)
                .ok_or_else(|| Self::no_type(group, version, kind))?;
            self.kinds
                .entry(kind.into())
                .or_default()
                .push((Gvk::new(group, version, kind), id));
        }
        for (group, version, kind, ty) in WIRE_KINDS {
            let id = self
                .table
                .id(ty)
                .ok_or_else(|| Self::no_type(group, version, kind))?;
            if group == "*" {
                self.meta_kinds.insert(kind.into(), id);
            } else {
                self.kinds
                    .entry(kind.into())
                    .or_default()
                    .push((Gvk::new(group, version, kind), id));
            }
        }
        Ok(())
    }

    fn read_resources(&mut self, rows: &str) -> Result<(), CatalogError> {
        for row in rows.lines().skip(1) {
            let [
                group,
                version,
                name,
                singular,
                body_group,
                body_version,
                kind,
                scope,
                verbs,
                short,
                categories,
            ] = columns::<11>("resources", row)?;
            let group = core_is_empty(group);
            let verbs = words(verbs);
            if let Some((plural, subresource)) = name.split_once('/') {
                let body = if body_version.is_empty() {
                    Gvk::new(group, version, kind)
                } else {
                    Gvk::new(core_is_empty(body_group), body_version, kind)
                };
                let parent = self
                    .resources
                    .iter_mut()
                    .rev()
                    .find(|r| {
                        *r.plural == *plural && *r.gvk.group == *group && *r.gvk.version == *version
                    })
                    .ok_or_else(|| CatalogError::Orphan(name.to_owned()))?;
                parent.subresources.push(Subresource {
                    name: subresource.into(),
                    body,
                    verbs,
                });
                continue;
            }
            let ty = self
                .type_of(group, version, kind)
                .ok_or_else(|| Self::no_type(group, version, kind))?;
            let storage_version = STORAGE_VERSIONS
                .iter()
                .find(|(g, k, _)| *g == group && *k == kind)
                .map_or_else(
                    || {
                        if group == "networking.k8s.io" {
                            "v1"
                        } else {
                            version
                        }
                    },
                    |(_, _, version)| version,
                );
            let event = group == "events.k8s.io" && kind == "Event";
            let index = self.resources.len();
            self.by_plural.entry(name.into()).or_default().push(index);
            self.by_kind.entry(kind.into()).or_default().push(index);
            self.resources.push(Resource {
                gvk: Gvk::new(group, version, kind),
                plural: name.into(),
                singular: singular.into(),
                namespaced: scope == "namespaced",
                verbs,
                short_names: words(short),
                categories: words(categories),
                subresources: Vec::new(),
                list_kind: format!("{kind}List").into(),
                types: Types::Builtin,
                ty,
                storage_version: if event { "v1" } else { storage_version }.into(),
                storage_group: if event { "" } else { group }.into(),
                storage_plural: name.into(),
                secret: group.is_empty() && kind == "Secret",
                scale: None,
                strategy: Behaviour::Static(registry::strategy(group, kind)),
            });
        }
        Ok(())
    }

    fn make_groups(&mut self) {
        for resource in &self.resources {
            let (name, version) = (&resource.gvk.group, &resource.gvk.version);
            match self.groups.iter_mut().find(|group| group.name == *name) {
                Some(group) if group.versions.contains(version) => {}
                Some(group) => group.versions.push(version.clone()),
                None => self.groups.push(Group {
                    name: name.clone(),
                    versions: vec![version.clone()],
                }),
            }
        }
        for group in &mut self.groups {
            group.versions.sort_by_key(|version| version_rank(version));
        }
        let rank = |name: &str| {
            GROUP_ORDER
                .iter()
                .position(|group| *group == name)
                .unwrap_or(GROUP_ORDER.len())
        };
        self.groups.sort_by(|a, b| {
            rank(&a.name)
                .cmp(&rank(&b.name))
                .then_with(|| a.name.cmp(&b.name))
        });
    }

    /// The resource of this plural name.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.pick(&self.by_plural, group, version, plural)
    }

    /// The resource of this kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.pick(&self.by_kind, group, version, kind)
    }

    fn pick(
        &self,
        index: &HashMap<Box<str>, Vec<usize>>,
        group: &str,
        version: &str,
        key: &str,
    ) -> Option<&Resource> {
        index
            .get(key)?
            .iter()
            .map(|&at| &self.resources[at])
            .find(|resource| *resource.gvk.version == *version && *resource.gvk.group == *group)
    }

    /// All resources, by group and version and name.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    /// The resources of one version, by name.
    pub fn resources_of(&self, group: &str, version: &str) -> impl Iterator<Item = &Resource> {
        self.resources
            .iter()
            .filter(move |r| *r.gvk.group == *group && *r.gvk.version == *version)
    }

    /// Every version in which this resource's objects are served, itself included.
    pub fn versions_of<'a>(&'a self, resource: &'a Resource) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |r| {
            r.storage_group == resource.storage_group && r.storage_plural == resource.storage_plural
        })
    }

    /// All groups in discovery order, the core group first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The type of a kind on the wire, resource or not.
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        self.kinds
            .get(kind)
            .into_iter()
            .flatten()
            .find(|(gvk, _)| *gvk.group == *group && *gvk.version == *version)
            .map(|(_, id)| *id)
            .or_else(|| self.meta_kinds.get(kind).copied())
    }

    /// Every kind with its type (resources, lists and what else is on the wire).
    pub fn kinds(&self) -> impl Iterator<Item = (&Gvk, TypeId)> {
        self.kinds.values().flatten().map(|(gvk, id)| (gvk, *id))
    }

    /// The type of the resource's list.
    pub fn list_type(&self, resource: &Resource) -> Option<TypeId> {
        self.type_of(
            &resource.gvk.group,
            &resource.gvk.version,
            &resource.list_kind,
        )
    }

    /// The type that holds what the store keeps of this resource.
    pub fn storage_type(&self, resource: &Resource) -> TypeId {
        self.type_of(
            &resource.storage_group,
            &resource.storage_version,
            &resource.gvk.kind,
        )
        .unwrap_or(resource.ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_and_subresource_has_a_type() {
        let catalog = builtin();
        assert!(catalog.resources().count() > 90);
        for resource in catalog.resources() {
            let gvk = &resource.gvk;
            assert_eq!(
                catalog
                    .by_kind(&gvk.group, &gvk.version, &gvk.kind)
                    .map(|r| &r.plural),
                Some(&resource.plural)
            );
            if resource.verbs.iter().any(|verb| &**verb == "list") {
                assert!(catalog.list_type(resource).is_some(), "{gvk:?}");
            }
            for sub in &resource.subresources {
                let body = &sub.body;
                assert!(
                    catalog
                        .type_of(&body.group, &body.version, &body.kind)
                        .is_some(),
                    "{gvk:?}/{}",
                    sub.name
                );
            }
        }
    }

    #[test]
    fn lookups() {
        let catalog = builtin();
        let pods = catalog.resource("", "v1", "pods").unwrap();
        assert_eq!(&*pods.gvk.kind, "Pod");
        assert!(pods.subresource("status").is_some() && pods.subresource("nothing").is_none());
        assert!(catalog.resource("apps", "v1beta1", "deployments").is_none());
        let hpa = catalog
            .resource("autoscaling", "v1", "horizontalpodautoscalers")
            .unwrap();
        assert_eq!(&*hpa.storage_version, "v2");
        assert_eq!(catalog.versions_of(hpa).count(), 2);
        let events = catalog.resource("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(
            (&*events.storage_group, &*events.storage_version),
            ("", "v1")
        );
        assert!(catalog.type_of("apps", "v1", "DeleteOptions").is_some());
    }

    #[test]
    fn versions_are_ranked() {
        let mut versions = vec!["v1alpha1", "v1", "v1beta2", "v2", "v1beta1", "foo"];
        versions.sort_by_key(|version| version_rank(version));
        assert_eq!(
            versions,
            ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
        );
    }
}
