//! Everything that is served, as documents list it: the built-in kinds, then those that definitions
//! bring.

use std::sync::Arc;

use api::catalog::{Group, version_rank};
use api::discovery::Version;
use api::resource::Resource;
use api::serving::Serving;

use crate::endpoint::{Endpoint, Endpoints};

/// What is served at one time.
pub struct Served {
    builtin: Arc<Serving>,
    /// Which time: [`Endpoints::changes`].
    pub changes: u64,
    groups: Vec<Group>,
    /// By group, version and name.
    pub custom: Vec<Arc<Endpoint>>,
}

impl Served {
    /// What is served now.
    pub fn new(builtin: Arc<Serving>, endpoints: &Endpoints) -> Served {
        let changes = endpoints.changes();
        let custom = endpoints.custom();
        let mut groups = builtin.groups().to_vec();
        for endpoint in &custom {
            let gvk = &endpoint.resource.gvk;
            match groups.iter_mut().find(|group| group.name == gvk.group) {
                Some(group) if group.versions.contains(&gvk.version) => {}
                Some(group) => {
                    group.versions.push(gvk.version.clone());
                    group
                        .versions
                        .sort_by(|a, b| (version_rank(a), a).cmp(&(version_rank(b), b)));
                }
                None => groups.push(Group {
                    name: gvk.group.clone(),
                    versions: vec![gvk.version.clone()],
                }),
            }
        }
        Served {
            builtin,
            changes,
            groups,
            custom,
        }
    }

    /// The groups, in the order in which they are listed.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The resources of a version.
    pub fn resources_of<'a>(&'a self, group: &'a str, version: &'a str) -> Vec<&'a Resource> {
        let builtin = self.builtin.resources_of(group, version);
        let custom = self.custom_of(group, version);
        let builtin = builtin.map(|resource| -> &Resource { resource });
        builtin
            .chain(custom.map(|endpoint| &*endpoint.resource))
            .collect()
    }

    /// The endpoints of a version that definitions bring.
    pub fn custom_of<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        self.custom.iter().filter(move |endpoint| {
            let gvk = &endpoint.resource.gvk;
            *gvk.group == *group && *gvk.version == *version
        })
    }

    /// The aggregated form of `/api` (the core group) or `/apis` (all others).
    pub fn aggregated(&self, core: bool) -> serde_json::Value {
        let groups = self
            .groups
            .iter()
            .filter(|group| group.name.is_empty() == core);
        api::discovery::aggregated(groups.map(|group| {
            let versions = group.versions.iter().map(|version| Version {
                name: version,
                resources: self.resources_of(&group.name, version),
                current: true,
            });
            (&*group.name, versions.collect())
        }))
    }
}
