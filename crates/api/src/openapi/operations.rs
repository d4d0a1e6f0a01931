//! The operations of a resource, in both forms of OpenAPI.

use schema::{Map, Value, openapi::definition_name};
use serde_json::json;

use super::PATCH;
use crate::{
    catalog::Catalog,
    resource::{Gvk, Resource},
};

/// Which OpenAPI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Form {
    /// Where definitions are.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Form::V2 => "#/definitions/",
            Form::V3 => "#/components/schemas/",
        }
    }
}

const ANSWERS: [&str; 4] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];
const LISTS: [&str; 6] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const LIST_PARAMETERS: [(&str, &str); 12] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("pretty", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE_PARAMETERS: [(&str, &str); 3] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const PATCH_PARAMETERS: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
const DELETE_PARAMETERS: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// What the operations of one path have in common.
struct Context<'a> {
    catalog: &'a Catalog,
    resource: &'a Resource,
    form: Form,
    /// The kind that the path is about.
    gvk: &'a Gvk,
    /// The published name of its type.
    body: String,
    /// `AppsV1`.
    prefix: String,
    /// `apps_v1`.
    tag: String,
    /// `NamespacedDeployment`, `NamespacedDeploymentStatus`.
    suffix: String,
}

/// Adds the paths of a resource.
pub fn paths(catalog: &Catalog, resource: &Resource, form: Form, paths: &mut Map<String, Value>) {
    let gvk = &resource.gvk;
    let base = format!("/{}", super::version_path(&gvk.group, &gvk.version));
    let root = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{base}/{}", resource.plural)
    };
    let namespaced = if resource.namespaced {
        "Namespaced"
    } else {
        ""
    };
    let (prefix, tag) = group_names(&gvk.group, &gvk.version);
    let context = Context {
        catalog,
        resource,
        form,
        gvk,
        body: body_name(catalog, gvk),
        prefix,
        tag,
        suffix: format!("{namespaced}{}", gvk.kind),
    };
    let mut collection = Map::new();
    if resource.has_verb("list") {
        collection.insert("get".to_owned(), context.list(&context.suffix));
    }
    if resource.has_verb("create") {
        collection.insert("post".to_owned(), context.write("create", "post"));
    }
    if resource.has_verb("deletecollection") {
        collection.insert("delete".to_owned(), context.delete_collection());
    }
    if !collection.is_empty() {
        collection.insert("parameters".to_owned(), context.path_parameters(false));
        paths.insert(root.clone(), Value::Object(collection));
    }
    if resource.namespaced && resource.has_verb("list") {
        let suffix = format!("{}ForAllNamespaces", gvk.kind);
        paths.insert(
            format!("{base}/{}", resource.plural),
            json!({"get": context.list(&suffix)}),
        );
    }
    let mut item = Map::new();
    context.item(&resource.verbs, &mut item);
    if resource.has_verb("delete") {
        item.insert("delete".to_owned(), context.delete());
    }
    if !item.is_empty() {
        item.insert("parameters".to_owned(), context.path_parameters(true));
        paths.insert(format!("{root}/{{name}}"), Value::Object(item));
    }
    for sub in &resource.subresources {
        let mut name = sub.name.to_string();
        name[..1].make_ascii_uppercase();
        let context = Context {
            gvk: &sub.body,
            body: body_name(catalog, &sub.body),
            suffix: format!("{namespaced}{}{name}", gvk.kind),
            prefix: context.prefix.clone(),
            tag: context.tag.clone(),
            ..context
        };
        let mut item = Map::new();
        if sub.body.kind.ends_with("Options") {
            for verb in &sub.verbs {
                let (method, action) = match &**verb {
                    "get" => ("get", "Get"),
                    "create" => ("post", "Post"),
                    "update" => ("put", "Put"),
                    "patch" => ("patch", "Patch"),
                    _ => ("delete", "Delete"),
                };
                let id = format!("connect{}{action}{}", context.prefix, context.suffix);
                item.insert(method.to_owned(), context.connect(id));
            }
        } else {
            context.item(&sub.verbs, &mut item);
            if sub.verbs.iter().any(|verb| &**verb == "create") {
                item.insert("post".to_owned(), context.write("create", "post"));
            }
        }
        item.insert("parameters".to_owned(), context.path_parameters(true));
        paths.insert(format!("{root}/{{name}}/{}", sub.name), Value::Object(item));
    }
}

/// `RbacAuthorizationV1` and `rbacAuthorization_v1`.
fn group_names(group: &str, version: &str) -> (String, String) {
    let group = if group.is_empty() {
        "core"
    } else {
        group.strip_suffix(".k8s.io").unwrap_or(group)
    };
    let mut camel = String::new();
    for part in group.split('.') {
        let mut part = part.to_owned();
        if let Some(first) = part.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        camel.push_str(&part);
    }
    let capital = version.replacen('v', "V", 1);
    let mut lower = camel.clone();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    (format!("{camel}{capital}"), format!("{lower}_{version}"))
}

fn body_name(catalog: &Catalog, gvk: &Gvk) -> String {
    catalog
        .type_of(&gvk.group, &gvk.version, &gvk.kind)
        .map_or_else(
            || super::custom::body_name(gvk),
            |id| definition_name(&catalog.table.get(id).name),
        )
}

impl Context<'_> {
    fn schema(&self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.form.prefix())})
    }

    fn parameter(&self, name: &str, kind: &str, place: &str) -> Value {
        let mut value = json!({"name": name, "in": place});
        if place == "path" {
            value["required"] = true.into();
        }
        if self.form == Form::V2 {
            value["type"] = kind.into();
            value["uniqueItems"] = true.into();
        } else {
            value["schema"] = json!({"type": kind, "uniqueItems": true});
        }
        value
    }

    fn path_parameters(&self, named: bool) -> Value {
        let mut list = Vec::new();
        if named {
            list.push(self.parameter("name", "string", "path"));
        }
        if self.resource.namespaced {
            list.push(self.parameter("namespace", "string", "path"));
        }
        list.push(self.parameter("pretty", "string", "query"));
        Value::Array(list)
    }

    /// An operation without a body.
    fn operation(
        &self,
        id: String,
        action: &str,
        parameters: &[(&str, &str)],
        codes: &[&str],
        answer: &str,
        answers: &[&str],
    ) -> Value {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, kind)| self.parameter(name, kind, "query"))
            .collect();
        let mut responses = json!({"401": {"description": "Unauthorized"}});
        for code in codes {
            let description = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let mut response = json!({"description": description});
            if self.form == Form::V2 {
                response["schema"] = self.schema(answer);
            } else {
                response["content"] = self.content(answers, answer);
            }
            responses[*code] = response;
        }
        let mut value = json!({
            "operationId": id,
            "tags": [self.tag],
            "responses": responses,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind":
                {"group": self.gvk.group, "version": self.gvk.version, "kind": self.gvk.kind},
        });
        if !parameters.is_empty() {
            value["parameters"] = Value::Array(parameters);
        }
        if self.form == Form::V2 {
            value["consumes"] = json!(["*/*"]);
            value["produces"] = json!(answers);
            value["schemes"] = json!(["https"]);
        }
        value
    }

    fn content(&self, types: &[&str], schema: &str) -> Value {
        let entry = || json!({"schema": self.schema(schema)});
        Value::Object(
            types
                .iter()
                .map(|kind| ((*kind).to_owned(), entry()))
                .collect(),
        )
    }

    fn with_body(
        &self,
        mut operation: Value,
        schema: &str,
        types: &[&str],
        required: bool,
    ) -> Value {
        if self.form == Form::V2 {
            let body = json!({"name": "body", "in": "body", "required": required, "schema": self.schema(schema)});
            match &mut operation["parameters"] {
                Value::Array(list) => list.insert(0, body),
                place => *place = json!([body]),
            }
            if types[0] != "*/*" {
                operation["consumes"] = json!(types);
            }
        } else {
            operation["requestBody"] = json!({"content": self.content(types, schema)});
            if required {
                operation["requestBody"]["required"] = true.into();
            }
        }
        operation
    }

    fn item(&self, verbs: &[Box<str>], item: &mut Map<String, Value>) {
        for verb in verbs {
            match &**verb {
                "get" => {
                    let id = format!("read{}{}", self.prefix, self.suffix);
                    item.insert(
                        "get".to_owned(),
                        self.operation(id, "get", &[], &["200"], &self.body, &ANSWERS),
                    );
                }
                "update" => {
                    item.insert("put".to_owned(), self.write("replace", "put"));
                }
                "patch" => {
                    let id = format!("patch{}{}", self.prefix, self.suffix);
                    let operation = self.operation(
                        id,
                        "patch",
                        &PATCH_PARAMETERS,
                        &["200", "201"],
                        &self.body,
                        &ANSWERS,
                    );
                    item.insert(
                        "patch".to_owned(),
                        self.with_body(operation, PATCH, self.patches(), true),
                    );
                }
                _ => {}
            }
        }
    }

    /// The forms of patches: types made at run time have no patch strategies.
    fn patches(&self) -> &'static [&'static str] {
        if self.resource.types.is_builtin() {
            &PATCHES
        } else {
            &[PATCHES[0], PATCHES[1], PATCHES[3]]
        }
    }

    fn list(&self, suffix: &str) -> Value {
        let list = self.catalog.list_type(self.resource);
        let gvk = &self.resource.gvk;
        let name = list.map_or_else(
            || super::custom::model_name(&gvk.group, &gvk.version, &self.resource.list_kind),
            |id| definition_name(&self.catalog.table.get(id).name),
        );
        let id = format!("list{}{suffix}", self.prefix);
        self.operation(id, "list", &LIST_PARAMETERS, &["200"], &name, &LISTS)
    }

    fn write(&self, verb: &str, action: &str) -> Value {
        let id = format!("{verb}{}{}", self.prefix, self.suffix);
        let codes: &[&str] = if action == "post" {
            &["200", "201", "202"]
        } else {
            &["200", "201"]
        };
        let operation = self.operation(id, action, &WRITE_PARAMETERS, codes, &self.body, &ANSWERS);
        self.with_body(operation, &self.body, &["*/*"], true)
    }

    fn delete(&self) -> Value {
        let id = format!("delete{}{}", self.prefix, self.suffix);
        let status = definition_name("meta.v1.Status");
        let operation = self.operation(
            id,
            "delete",
            &DELETE_PARAMETERS,
            &["200", "202"],
            &status,
            &ANSWERS,
        );
        self.with_body(
            operation,
            &definition_name("meta.v1.DeleteOptions"),
            &["*/*"],
            false,
        )
    }

    fn delete_collection(&self) -> Value {
        let id = format!("delete{}Collection{}", self.prefix, self.suffix);
        let mut parameters = DELETE_PARAMETERS.to_vec();
        parameters.extend(
            LIST_PARAMETERS
                .iter()
                .filter(|(name, _)| !matches!(*name, "watch" | "allowWatchBookmarks" | "pretty")),
        );
        let status = definition_name("meta.v1.Status");
        let operation = self.operation(
            id,
            "deletecollection",
            &parameters,
            &["200"],
            &status,
            &ANSWERS,
        );
        self.with_body(
            operation,
            &definition_name("meta.v1.DeleteOptions"),
            &["*/*"],
            false,
        )
    }

    fn connect(&self, id: String) -> Value {
        let mut operation = self.operation(id, "connect", &[], &[], "", &["*/*"]);
        operation["responses"]["200"] = if self.form == Form::V2 {
            json!({"description": "OK", "schema": {"type": "string"}})
        } else {
            json!({"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}})
        };
        operation
    }
}
