//! OpenAPI documents with paths, as kubectl reads them for `explain`, `diff` and its checks.

pub mod custom;
mod operations;

pub use operations::Form;

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::LazyLock,
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
    serving::Serving,
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
pub fn v2(serving: &Serving) -> Value {
    let catalog = serving.catalog();
    let kinds = kinds(catalog);
    let served = |gvk: &Gvk| serving.has_version(&gvk.group, &gvk.version);
    // Bodies of subresources may be of a version that is not served itself.
    let bodies = serving.resources().flat_map(|resource| {
        let bodies = resource.subresources.iter().map(|sub| &sub.body);
        bodies.filter_map(|body| catalog.type_of(&body.group, &body.version, &body.kind))
    });
    let wanted = roots(catalog, served).chain(bodies);
    let mut definitions = v2_definitions(&catalog.table, wanted, &|ty| {
        kinds_value(&kinds, catalog, ty)
    });
    complete(&mut definitions);
    let mut paths = Map::new();
    for resource in serving.resources() {
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
pub fn v3(serving: &Serving, group: &str, version: &str) -> Option<Value> {
    let catalog = serving.catalog();
    serving.resources_of(group, version).next()?;
    let kinds = kinds(catalog);
    let mut wanted: Vec<TypeId> = roots(catalog, |gvk| {
        *gvk.group == *group && *gvk.version == *version
    })
    .collect();
    for resource in serving.resources_of(group, version) {
        for sub in &resource.subresources {
            wanted.extend(catalog.type_of(&sub.body.group, &sub.body.version, &sub.body.kind));
        }
    }
    let mut schemas = v3_schemas(&catalog.table, wanted, &|ty| {
        kinds_value(&kinds, catalog, ty)
    });
    complete(&mut schemas);
    let mut paths = Map::new();
    for resource in serving.resources_of(group, version) {
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
pub struct V2Parts {
    paths: String,
    definitions: String,
}

impl V2Parts {
    /// Of what is served.
    pub fn new(serving: &Serving) -> V2Parts {
        let mut document = v2(serving);
        let mut part = |name: &str| {
            let text = document[name].take().to_string();
            text[1..text.len() - 1].to_owned()
        };
        V2Parts {
            paths: part("paths"),
            definitions: part("definitions"),
        }
    }

    /// `/openapi/v2` of the built-in kinds and of further paths and definitions.
    pub fn with(&self, paths: &Map<String, Value>, definitions: &Map<String, Value>) -> String {
        let mut out = String::with_capacity(self.paths.len() + self.definitions.len() + 4096);
        out.push_str("{\"swagger\":\"2.0\",\"info\":");
        out.push_str(&info().to_string());
        for (name, own, more) in [
            ("paths", &self.paths, paths),
            ("definitions", &self.definitions, definitions),
        ] {
            out.push_str(&format!(",\"{name}\":{{{own}"));
            let mut first = own.is_empty();
            for (key, value) in more {
                let comma = if std::mem::take(&mut first) { "" } else { "," };
                out.push_str(&format!("{comma}{}:{value}", Value::from(key.as_str())));
            }
            out.push('}');
        }
        out.push_str(",\"securityDefinitions\":{\"BearerToken\":{\"type\":\"apiKey\",\"name\":\"authorization\",\"in\":\"header\"}},\"security\":[{\"BearerToken\":[]}]}");
        out
    }
}

/// `api/v1` or `apis/GROUP/VERSION`: the path of a version, also below `/openapi/v3`.
pub fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// What changes when the documents of built-in kinds do.
pub fn hash(serving: &Serving) -> String {
    static TABLES: LazyLock<u64> = LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        (
            catalog::SOURCES,
            crate::KUBERNETES_VERSION,
            env!("CARGO_PKG_VERSION"),
        )
            .hash(&mut hasher);
        hasher.finish()
    });
    let mut hasher = DefaultHasher::new();
    TABLES.hash(&mut hasher);
    for resource in serving.resources() {
        (&resource.gvk, &resource.plural).hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
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
        let serving = Serving::all(catalog::builtin());
        let check = |document: &Value, definitions: &Value| {
            let mut found = Vec::new();
            references(document, &mut found);
            assert!(!found.is_empty());
            for name in found {
                assert!(definitions.get(&name).is_some(), "{name}");
            }
        };
        let document = v2(&serving);
        check(&document, &document["definitions"]);
        for group in serving.groups() {
            for version in &group.versions {
                let document = v3(&serving, &group.name, version).unwrap();
                check(&document, &document["components"]["schemas"]);
            }
        }
    }

    #[test]
    fn what_is_not_served_is_not_described() {
        let some = Serving::new(catalog::builtin(), ["batch/v1/cronjobs=false"]).unwrap();
        assert_ne!(hash(&some), hash(&Serving::all(catalog::builtin())));
        assert!(v3(&some, "resource.k8s.io", "v1beta1").is_none());
        let document = v2(&some);
        let has = |path: &str| document["paths"].get(path).is_some();
        assert!(has("/apis/batch/v1/jobs") && !has("/apis/batch/v1/cronjobs"));
        let beta = "io.k8s.api.resource.v1beta1.ResourceClaim";
        assert!(document["definitions"].get(beta).is_none());
        let (none, parts) = (Map::new(), V2Parts::new(&some));
        let text = parts.with(&none, &none);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }

    #[test]
    fn a_patch_says_that_it_validates_fields() {
        let document = v3(&Serving::all(catalog::builtin()), "apps", "v1").unwrap();
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
