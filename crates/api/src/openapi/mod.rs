//! OpenAPI documents with paths, as kubectl reads them for `explain`, `diff` and its checks.

pub mod custom;
mod operations;

pub use operations::Form;

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{LazyLock, OnceLock},
};

use schema::{
    Map, Value,
    openapi::{v2_definitions, v3_schemas},
    table::{Type, TypeId},
};
use serde_json::json;

use crate::{
    catalog::{self, Catalog},
    object::Object,
    resource::Gvk,
};

/// The types that every group's operations mention.
const SHARED: [&str; 3] = [
    "meta.v1.DeleteOptions",
    "meta.v1.Status",
    "meta.v1.WatchEvent",
];

/// The definition that stands for a patch's body.
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Which kinds a type is.
fn kinds(catalog: &Catalog) -> HashMap<TypeId, Vec<Gvk>> {
    let mut map: HashMap<TypeId, Vec<Gvk>> = HashMap::new();
    for (gvk, id) in catalog.kinds() {
        map.entry(id).or_default().push(gvk.clone());
    }
    for (kind, ty) in [("DeleteOptions", SHARED[0]), ("WatchEvent", SHARED[2])] {
        let Some(id) = catalog.table.id(ty) else {
            continue;
        };
        for group in catalog.groups() {
            for version in &group.versions {
                map.entry(id)
                    .or_default()
                    .push(Gvk::new(&group.name, version, kind));
            }
        }
    }
    for list in map.values_mut() {
        list.sort();
        list.dedup();
    }
    map
}

fn kinds_value(kinds: &HashMap<TypeId, Vec<Gvk>>, catalog: &Catalog, ty: &Type) -> Option<Value> {
    let list = kinds.get(&catalog.table.id(&ty.name)?)?;
    Some(
        list.iter()
            .map(|gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}))
            .collect(),
    )
}

/// What is said of fields that every object has.
const API_VERSION: &str =
    "APIVersion defines the group and version of the schema that this object is written in.";
const KIND: &str = "Kind is the name of the type of this object, in camel case.";
const CREATED: &str =
    "CreationTimestamp is a timestamp of when the server stored the object first.";

/// Kinds have `apiVersion` and `kind`, which no table row names.
fn complete(definitions: &mut Map<String, Value>) {
    for definition in definitions.values_mut() {
        if definition.get("x-kubernetes-group-version-kind").is_some() {
            for (field, about) in [("apiVersion", API_VERSION), ("kind", KIND)] {
                let path = format!("properties.{field}");
                definition.set_default(&path, json!({"type": "string"}));
                definition.set(&format!("{path}.description"), about);
            }
        }
    }
    let meta = schema::openapi::definition_name("meta.v1.ObjectMeta");
    if let Some(definition) = definitions.get_mut(&meta) {
        definition.set(
            "description",
            "ObjectMeta is metadata that all persisted objects have.",
        );
        definition.set("properties.creationTimestamp.description", CREATED);
    }
    definitions.insert(PATCH.to_owned(), json!({"type": "object"}));
}

fn roots<'a>(
    catalog: &'a Catalog,
    belongs: impl Fn(&Gvk) -> bool + 'a,
) -> impl Iterator<Item = TypeId> + 'a {
    let shared = SHARED.iter().filter_map(|name| catalog.table.id(name));
    let own = catalog
        .kinds()
        .filter(move |(gvk, _)| belongs(gvk))
        .map(|(_, id)| id);
    shared.chain(own)
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": format!("v{}", crate::KUBERNETES_VERSION)})
}

/// `/openapi/v2`.
pub fn v2(catalog: &Catalog) -> Value {
    let kinds = kinds(catalog);
    let served = |gvk: &Gvk| {
        catalog
            .groups()
            .iter()
            .any(|g| g.name == gvk.group && g.versions.contains(&gvk.version))
    };
    let mut definitions = v2_definitions(&catalog.table, roots(catalog, served), &|ty| {
        kinds_value(&kinds, catalog, ty)
    });
    complete(&mut definitions);
    let mut paths = Map::new();
    for resource in catalog.resources() {
        operations::paths(catalog, resource, operations::Form::V2, &mut paths);
    }
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    })
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/GROUP/VERSION`; none when it is not served.
pub fn v3(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    catalog.resources_of(group, version).next()?;
    let kinds = kinds(catalog);
    let mut wanted: Vec<TypeId> = roots(catalog, |gvk| {
        *gvk.group == *group && *gvk.version == *version
    })
    .collect();
    for resource in catalog.resources_of(group, version) {
        for sub in &resource.subresources {
            wanted.extend(catalog.type_of(&sub.body.group, &sub.body.version, &sub.body.kind));
        }
    }
    let mut schemas = v3_schemas(&catalog.table, wanted, &|ty| {
        kinds_value(&kinds, catalog, ty)
    });
    complete(&mut schemas);
    let mut paths = Map::new();
    for resource in catalog.resources_of(group, version) {
        operations::paths(catalog, resource, operations::Form::V3, &mut paths);
    }
    Some(v3_document(paths, schemas))
}

fn v3_document(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
    })
}

/// What the operations on custom resources refer to beside their kinds.
fn shared_schemas(catalog: &Catalog) -> Map<String, Value> {
    let kinds = kinds(catalog);
    let wanted = SHARED
        .iter()
        .chain(&[
            "meta.v1.ObjectMeta",
            "meta.v1.ListMeta",
            "autoscaling.v1.Scale",
        ])
        .filter_map(|name| catalog.table.id(name));
    let mut schemas = v3_schemas(&catalog.table, wanted, &|ty| {
        kinds_value(&kinds, catalog, ty)
    });
    complete(&mut schemas);
    schemas
}

/// The built-in kinds' part of `/openapi/v2`, as the entries of `paths` and of `definitions` without
/// the braces around them: custom resources' entries are put beside them as often as those change.
pub fn builtin_v2_parts() -> &'static (String, String) {
    static PARTS: OnceLock<(String, String)> = OnceLock::new();
    PARTS.get_or_init(|| {
        let mut document = v2(catalog::builtin());
        let mut part = |name: &str| {
            let text = document[name].take().to_string();
            text[1..text.len() - 1].to_owned()
        };
        (part("paths"), part("definitions"))
    })
}

/// `/openapi/v2` of the built-in kinds and of further paths and definitions.
pub fn v2_with(paths: &Map<String, Value>, definitions: &Map<String, Value>) -> String {
    let (own_paths, own_definitions) = builtin_v2_parts();
    let mut out = String::with_capacity(own_paths.len() + own_definitions.len() + 4096);
    out.push_str("{\"swagger\":\"2.0\",\"info\":");
    out.push_str(&info().to_string());
    for (name, own, more) in [
        ("paths", own_paths, paths),
        ("definitions", own_definitions, definitions),
    ] {
        out.push_str(&format!(",\"{name}\":{{{own}"));
        for (key, value) in more {
            out.push_str(&format!(",{}:{value}", Value::from(key.as_str())));
        }
        out.push('}');
    }
    out.push_str(",\"securityDefinitions\":{\"BearerToken\":{\"type\":\"apiKey\",\"name\":\"authorization\",\"in\":\"header\"}},\"security\":[{\"BearerToken\":[]}]}");
    out
}

/// `api/v1` or `apis/GROUP/VERSION`: the path of a version, also below `/openapi/v3`.
pub fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// What changes when any document does.
pub fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        (
            catalog::SOURCES,
            crate::KUBERNETES_VERSION,
            env!("CARGO_PKG_VERSION"),
        )
            .hash(&mut hasher);
        format!("{:016X}", hasher.finish())
    });
    &HASH
}

/// `/openapi/v3`.
pub fn v3_index(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for group in catalog.groups() {
        for version in &group.versions {
            let path = version_path(&group.name, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash());
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// `/openapi/v2` of the built-in kinds, made once.
pub fn builtin_v2() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| v2(catalog::builtin()).to_string().into_bytes())
}

/// A version's document of the built-in kinds, made once when first asked for.
pub fn builtin_v3(group: &str, version: &str) -> Option<&'static [u8]> {
    type Documents = HashMap<String, OnceLock<Vec<u8>>>;
    static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| {
        let groups = catalog::builtin().groups().iter();
        groups
            .flat_map(|group| {
                group
                    .versions
                    .iter()
                    .map(|version| version_path(&group.name, version))
            })
            .map(|path| (path, OnceLock::new()))
            .collect()
    });
    let place = DOCUMENTS.get(&version_path(group, version))?;
    Some(place.get_or_init(|| {
        v3(catalog::builtin(), group, version)
            .map_or_else(Vec::new, |document| document.to_string().into_bytes())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_closed_under_reference() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        if key == "$ref" {
                            found.extend(
                                value
                                    .as_str()
                                    .and_then(|text| text.rsplit('/').next())
                                    .map(str::to_owned),
                            );
                        }
                        references(value, found);
                    }
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let catalog = catalog::builtin();
        let check = |document: &Value, definitions: &Value| {
            let mut found = Vec::new();
            references(document, &mut found);
            assert!(!found.is_empty());
            for name in found {
                assert!(definitions.get(&name).is_some(), "{name}");
            }
        };
        let document = v2(catalog);
        check(&document, &document["definitions"]);
        for group in catalog.groups() {
            for version in &group.versions {
                let document = v3(catalog, &group.name, version).unwrap();
                check(&document, &document["components"]["schemas"]);
            }
        }
    }

    #[test]
    fn a_patch_says_that_it_validates_fields() {
        let document: Value = serde_json::from_slice(builtin_v3("apps", "v1").unwrap()).unwrap();
        let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        let patch = &path["patch"];
        assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
        assert_eq!(
            patch["x-kubernetes-group-version-kind"]["kind"],
            "Deployment"
        );
        let names: Vec<&str> = patch
            .list("parameters")
            .iter()
            .map(|p| p.text("name"))
            .collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"));
        let schema = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(
            schema["x-kubernetes-group-version-kind"][0]["kind"],
            "Deployment"
        );
        assert_eq!(schema["properties"]["apiVersion"]["type"], "string");
    }
}
