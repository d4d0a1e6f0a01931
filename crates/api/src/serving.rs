//! Which of the catalog's resources a server serves: stable versions, unless it is told otherwise.
//!
//! The rules are those of upstream's `--runtime-config`: `api/all`, `api/ga`, `api/beta` and `api/alpha`
//! speak of versions by their stage, `GROUP/VERSION` of one version, `GROUP/VERSION/RESOURCE` of one
//! resource; whoever says it more exactly is right. A version that is not served is not there at
//! all: no path, no discovery, no OpenAPI.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    catalog::{Catalog, Group, version_rank},
    resource::{Gvk, Resource},
};

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServingError {
    /// Nothing has this form.
    #[error(
        "{0:?} is neither api/all, api/ga, api/beta, api/alpha, GROUP/VERSION nor GROUP/VERSION/RESOURCE \
         (/v1 stands for the core group)"
    )]
    Key(String),
    /// What follows the equals sign is no truth value.
    #[error("{key}={value}: the value has to be true or false")]
    Value {
        /// What is set.
        key: String,
        /// To what.
        value: String,
    },
    /// There is no such group.
    #[error("{0}: there is no such API group")]
    Group(String),
    /// The group has no such version.
    #[error("{key}: the group has no such version; it has {known}")]
    Version {
        /// What is set.
        key: String,
        /// Its versions.
        known: String,
    },
    /// The version has no such resource.
    #[error("{0}: the version has no such resource")]
    Resource(String),
    /// Nothing would be left.
    #[error("api/all=false alone leaves nothing to serve")]
    Nothing,
}

/// What is served of a catalog.
pub struct Serving {
    catalog: &'static Catalog,
    /// Resources that are not, by group, version and plural.
    off: HashSet<(Box<str>, Box<str>, Box<str>)>,
    groups: Vec<Group>,
}

/// The stage of a version, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Stable,
    Beta,
    Alpha,
}

impl Stage {
    fn of(version: &str) -> Option<Stage> {
        match version_rank(version).0 {
            0 => Some(Stage::Stable),
            1 => Some(Stage::Beta),
            2 => Some(Stage::Alpha),
            _ => None,
        }
    }
}

/// Settings for all versions of a stage, in the order in which they count.
const STAGES: [(&str, Option<Stage>); 4] = [
    ("api/all", None),
    ("api/ga", Some(Stage::Stable)),
    ("api/beta", Some(Stage::Beta)),
    ("api/alpha", Some(Stage::Alpha)),
];

/// What Go reads as a truth value; nothing at all is true.
fn truth(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Serving {
    /// What these settings (`KEY=VALUE` each) make of the catalog; a later one of the same key counts.
    pub fn new(
        catalog: &'static Catalog,
        settings: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Serving, ServingError> {
        let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
        for setting in settings {
            let setting = setting.as_ref().trim();
            if setting.is_empty() {
                continue;
            }
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            let (key, value) = (key.trim(), value.trim());
            let on = truth(value).ok_or_else(|| ServingError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
            })?;
            check(catalog, key)?;
            wanted.insert(key.to_owned(), on);
        }
        if wanted.len() == 1 && wanted.get("api/all") == Some(&false) {
            return Err(ServingError::Nothing);
        }
        let off = catalog
            .resources()
            .filter(|resource| !served(resource, &wanted))
            .map(|resource| {
                let gvk = &resource.gvk;
                let plural = resource.plural.clone();
                (gvk.group.clone(), gvk.version.clone(), plural)
            })
            .collect();
        Ok(Serving::without(catalog, off))
    }

    /// Everything there is.
    pub fn all(catalog: &'static Catalog) -> Serving {
        Serving::without(catalog, HashSet::new())
    }

    fn without(catalog: &'static Catalog, off: HashSet<(Box<str>, Box<str>, Box<str>)>) -> Serving {
        let mut serving = Serving {
            catalog,
            off,
            groups: Vec::new(),
        };
        let left: BTreeSet<(&str, &str)> = serving
            .resources()
            .map(|resource| (&*resource.gvk.group, &*resource.gvk.version))
            .collect();
        let mut groups = catalog.groups().to_vec();
        for group in &mut groups {
            let name = &*group.name;
            group
                .versions
                .retain(|version| left.contains(&(name, &**version)));
        }
        groups.retain(|group| !group.versions.is_empty());
        serving.groups = groups;
        serving
    }

    /// The catalog it is of.
    pub fn catalog(&self) -> &'static Catalog {
        self.catalog
    }

    /// Is the resource served?
    pub fn has(&self, resource: &Resource) -> bool {
        let Gvk { group, version, .. } = &resource.gvk;
        // Most servers leave out a few dozen of them; the tuple is only made for those.
        self.off.is_empty()
            || !self
                .off
                .contains(&(group.clone(), version.clone(), resource.plural.clone()))
    }

    /// All that are, by group and version and name.
    pub fn resources(&self) -> impl Iterator<Item = &'static Resource> {
        self.catalog
            .resources()
            .filter(|resource| self.has(resource))
    }

    /// Those of one version, by name.
    pub fn resources_of(
        &self,
        group: &str,
        version: &str,
    ) -> impl Iterator<Item = &'static Resource> {
        self.catalog
            .resources_of(group, version)
            .filter(|resource| self.has(resource))
    }

    /// Groups with something to serve, in discovery order, the core group first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Is anything of this version served?
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups
            .iter()
            .any(|g| *g.name == *group && g.versions.iter().any(|v| **v == *version))
    }
}

fn check(catalog: &Catalog, key: &str) -> Result<(), ServingError> {
    if STAGES.iter().any(|(known, _)| *known == key) {
        return Ok(());
    }
    let (group, version, resource) = match key.split('/').collect::<Vec<_>>()[..] {
        [group, version] => (group, version, None),
        [group, version, resource] => (group, version, Some(resource)),
        _ => return Err(ServingError::Key(key.to_owned())),
    };
    let known = catalog.groups().iter().find(|known| *known.name == *group);
    let known = known.ok_or_else(|| ServingError::Group(key.to_owned()))?;
    if !known.versions.iter().any(|known| **known == *version) {
        return Err(ServingError::Version {
            key: key.to_owned(),
            known: known.versions.join(", "),
        });
    }
    match resource {
        Some(plural) if catalog.resource(group, version, plural).is_none() => {
            Err(ServingError::Resource(key.to_owned()))
        }
        _ => Ok(()),
    }
}

fn served(resource: &Resource, wanted: &BTreeMap<String, bool>) -> bool {
    let Gvk { group, version, .. } = &resource.gvk;
    let exact = wanted
        .get(&format!("{group}/{version}/{}", resource.plural))
        .or_else(|| wanted.get(&format!("{group}/{version}")));
    if let Some(on) = exact {
        return *on;
    }
    let stage = Stage::of(version);
    let mut on = stage == Some(Stage::Stable);
    for (key, about) in STAGES {
        if let Some(setting) = wanted.get(key)
            && (about.is_none() || about == stage)
        {
            on = *setting;
        }
    }
    on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    fn serving(settings: &[&str]) -> Result<Serving, ServingError> {
        Serving::new(catalog::builtin(), settings)
    }

    #[test]
    fn stable_versions_are_served_unless_told_otherwise() {
        let plain = serving(&[]).unwrap();
        assert!(
            plain
                .resources()
                .all(|r| version_rank(&r.gvk.version).0 == 0)
        );
        assert!(plain.has_version("", "v1") && plain.has_version("resource.k8s.io", "v1"));
        assert!(!plain.has_version("resource.k8s.io", "v1beta1"));
        // A group without a version left is no group.
        assert!(
            plain
                .groups()
                .iter()
                .all(|g| &*g.name != "internal.apiserver.k8s.io")
        );
        let all = serving(&["api/all=true"]).unwrap();
        assert_eq!(all.groups(), catalog::builtin().groups());
        assert_eq!(
            all.resources().count(),
            catalog::builtin().resources().count()
        );
    }

    #[test]
    fn the_more_exact_setting_counts() {
        let some = serving(&[
            "api/beta=true",
            "resource.k8s.io/v1beta1=false",
            "batch/v1/cronjobs=0",
        ]);
        let some = some.unwrap();
        assert!(some.has_version("resource.k8s.io", "v1beta2"));
        assert!(!some.has_version("resource.k8s.io", "v1beta1"));
        assert!(!some.has_version("resource.k8s.io", "v1alpha3"));
        let jobs: Vec<_> = some
            .resources_of("batch", "v1")
            .map(|r| &*r.plural)
            .collect();
        assert_eq!(jobs, ["jobs"]);
        let one = serving(&["certificates.k8s.io/v1beta1/clustertrustbundles"]).unwrap();
        let plurals = one.resources_of("certificates.k8s.io", "v1beta1");
        assert_eq!(
            plurals.map(|r| &*r.plural).collect::<Vec<_>>(),
            ["clustertrustbundles"]
        );
        // By stage, `api/all` is the weakest, wherever it stands.
        let few = serving(&["api/ga=true", "api/all=false"]).unwrap();
        assert!(few.has_version("apps", "v1"));
        assert!(!serving(&["/v1=false"]).unwrap().has_version("", "v1"));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        use ServingError::{Group, Key, Nothing, Resource, Value, Version};
        let refused = |setting: &str| serving(&[setting]).err().unwrap();
        assert_eq!(refused("v1=true"), Key("v1".into()));
        assert_eq!(refused("a/b/c/d"), Key("a/b/c/d".into()));
        assert_eq!(
            refused("example.com/v1=true"),
            Group("example.com/v1".into())
        );
        assert!(matches!(refused("apps/v1beta1=true"), Version { known, .. } if known == "v1"));
        assert_eq!(
            refused("apps/v1/pods=true"),
            Resource("apps/v1/pods".into())
        );
        assert!(matches!(refused("apps/v1=maybe"), Value { .. }));
        assert_eq!(refused("api/all=false"), Nothing);
    }
}
