//! A definition's versions as resources.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use schema::{Value, structural};

use super::{BASE, CustomKind, columns::Printer, conditions, dotted, root, storage_version};
use crate::{
    catalog::version_rank,
    jsonpath::Template,
    object::Object,
    resource::{Behaviour, Gvk, LateTable, Resource, ScalePaths, Subresource, Types},
};

/// One version of a definition, as it is served.
pub struct Version {
    /// The resource.
    pub resource: Resource,
    /// Requests may name it; the version objects rest in may be one they may not.
    pub served: bool,
    /// What requests are told when the version is deprecated.
    pub deprecated: Option<String>,
    /// Its behaviour, to be extended by what this crate cannot do.
    pub kind: Arc<CustomKind>,
}

/// Has the definition names under which it can be served?
pub fn served(definition: &Value) -> bool {
    (conditions::is_true(definition, "NamesAccepted")
        || conditions::is_true(definition, "Established"))
        && !definition.text("status.acceptedNames.plural").is_empty()
        && !definition.text("status.acceptedNames.kind").is_empty()
}

/// The versions of a definition. `schema_of` finds a version's schema again when its table is
/// first needed; until then nothing is kept of it.
pub fn resources(
    definition: &Value,
    schema_of: impl Fn(&str) -> Option<Value> + Send + Sync + 'static,
) -> Vec<Version> {
    let schema_of = Arc::new(schema_of);
    let versions = definition.list("spec.versions").iter();
    let mut selectable: Vec<_> = versions.flat_map(selectable).collect();
    selectable.sort_by_key(|(name, _)| *name);
    selectable.dedup_by_key(|(name, _)| *name);
    let selectable = Arc::new(selectable);
    definition
        .list("spec.versions")
        .iter()
        .map(|version| {
            let schema_of = schema_of.clone();
            one(definition, version, selectable.clone(), move |name| {
                schema_of(name)
            })
        })
        .collect()
}

fn words(list: &Value, path: &str) -> Vec<Box<str>> {
    list.texts(path).map(Box::from).collect()
}

fn one(
    definition: &Value,
    version: &Value,
    indexed: Arc<Vec<(&'static str, Template)>>,
    schema_of: impl Fn(&str) -> Option<Value> + Send + Sync + 'static,
) -> Version {
    let names = definition.at("status.acceptedNames");
    let group = definition.text("spec.group");
    let name = version.text("name");
    let gvk = Gvk::new(group, name, names.text("kind"));
    let types = {
        let (kind, name) = (gvk.kind.clone(), name.to_owned());
        LateTable::new(move || {
            let schema = schema_of(&name);
            structural::compile(&BASE, &kind, schema.as_ref()).0
        })
    };
    let types = Arc::new(types);
    let scale = scale(version);
    let has_status = version.at("subresources").get("status").is_some();
    let kind = Arc::new(CustomKind {
        types: types.clone(),
        ty: root(),
        has_status,
        scale: scale.clone(),
        printer: Printer::new(version),
        selectable_names: selectable(version).map(|(name, _)| name).collect(),
        selectable: indexed,
    });
    let parts: &[&str] = &["get", "patch", "update"];
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(Subresource {
            name: "status".into(),
            body: gvk.clone(),
            verbs: parts.iter().map(|verb| Box::from(*verb)).collect(),
        });
    }
    if scale.is_some() {
        subresources.push(Subresource {
            name: "scale".into(),
            body: Gvk::new("autoscaling", "v1", "Scale"),
            verbs: parts.iter().map(|verb| Box::from(*verb)).collect(),
        });
    }
    // A definition that is going takes nothing new.
    let verbs: &[&str] = if conditions::is_true(definition, "Terminating") {
        &[
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
    } else {
        &[
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ]
    };
    let resource = Resource {
        plural: names.text("plural").into(),
        singular: names.text("singular").into(),
        namespaced: definition.text("spec.scope") == "Namespaced",
        verbs: verbs.iter().map(|verb| Box::from(*verb)).collect(),
        short_names: words(names, "shortNames"),
        categories: words(names, "categories"),
        subresources,
        list_kind: names.text("listKind").into(),
        types: Types::Own(types),
        ty: root(),
        storage_version: storage_version(definition).into(),
        storage_group: group.into(),
        storage_plural: names.text("plural").into(),
        secret: false,
        scale,
        strategy: Behaviour::Shared(kind.clone()),
        gvk,
    };
    Version {
        resource,
        served: version.flag("served"),
        deprecated: version
            .flag("deprecated")
            .then(|| deprecation(definition, version)),
        kind,
    }
}

fn selectable(version: &Value) -> impl Iterator<Item = (&'static str, Template)> {
    version.list("selectableFields").iter().filter_map(|field| {
        let path = field.text("jsonPath");
        let template = Template::parse(&format!("{{{path}}}")).ok()?;
        Some((lasting(dotted(path))?, template))
    })
}

fn scale(version: &Value) -> Option<ScalePaths> {
    let scale = version.at("subresources").get("scale")?;
    let selector = dotted(scale.text("labelSelectorPath"));
    Some(ScalePaths {
        replicas: dotted(scale.text("specReplicasPath")).into(),
        status_replicas: dotted(scale.text("statusReplicasPath")).into(),
        selector: (!selector.is_empty()).then(|| selector.into()),
    })
}

/// What a request for a deprecated version is told: the definition's words, or upstream's.
fn deprecation(definition: &Value, version: &Value) -> String {
    if version.has("deprecationWarning") {
        return version.text("deprecationWarning").to_owned();
    }
    let (group, kind) = (
        definition.text("spec.group"),
        definition.text("spec.names.kind"),
    );
    let name = version.text("name");
    let mut text = format!("{group}/{name} {kind} is deprecated");
    let mut better: Vec<&str> = definition
        .list("spec.versions")
        .iter()
        .filter(|other| other.flag("served") && !other.flag("deprecated"))
        .map(|other| other.text("name"))
        .filter(|other| version_rank(other) < version_rank(name))
        .collect();
    better.sort_by_key(|version| version_rank(version));
    if let Some(better) = better.first() {
        text.push_str(&format!("; use {group}/{better} {kind}"));
    }
    text
}

/// Distinct names of selectable fields that are kept at most; further ones select nothing. A
/// definition has eight at most, so this many are reached by somebody who makes them up.
const MAX_NAMES: usize = 10_000;

/// The name for as long as the program runs: the store's attributes hold such names.
fn lasting(name: &str) -> Option<&'static str> {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    Some(kept)
}
