//! Published schemas of custom resources: as their definitions give them, with metadata where
//! upstream puts it. The second version of OpenAPI knows less, and kubectl reads less of it.

use schema::{Map, Value, openapi::definition_name};
use serde_json::json;

use super::{Form, operations, shared_schemas};
use crate::{
    catalog::Catalog,
    custom::dotted,
    object::Object,
    resource::{Gvk, Resource},
};

/// A version of a custom resource and what is published of it.
pub struct Published<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// The version as its definition has it: schema and selectable fields.
    pub version: Value,
}

const META: &str = "meta.v1.ObjectMeta";
const LIST_META: &str = "meta.v1.ListMeta";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

/// `com.example.v1.Foo`: the published name of a kind of the group `example.com`.
pub fn model_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// Paths and definitions of these resources.
pub fn parts(
    catalog: &Catalog,
    published: &[Published<'_>],
    form: Form,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for one in published {
        operations::paths(catalog, one.resource, form, &mut paths);
        define(one, form, &mut definitions);
    }
    (paths, definitions)
}

/// `/openapi/v3/apis/GROUP/VERSION` of a version that only definitions bring.
pub fn v3(catalog: &Catalog, published: &[Published<'_>]) -> Value {
    let (paths, mut schemas) = parts(catalog, published, Form::V3);
    for (name, schema) in shared_schemas(catalog) {
        schemas.entry(name).or_insert(schema);
    }
    super::v3_document(paths, schemas)
}

fn define(one: &Published<'_>, form: Form, out: &mut Map<String, Value>) {
    let gvk = &one.resource.gvk;
    let kind = |kind: &str| json!([{"group": gvk.group, "version": gvk.version, "kind": kind}]);
    let selectable: Vec<Value> = one
        .version
        .list("selectableFields")
        .iter()
        .map(|field| json!({"fieldPath": dotted(field.text("jsonPath"))}))
        .collect();
    let name = model_name(&gvk.group, &gvk.version, &gvk.kind);
    let schema = one.version.at("schema.openAPIV3Schema");
    let mut own = if schema.is_null() || form == Form::V2 && schema.flag(PRESERVE) {
        // Any property here would make kubectl refuse all others.
        json!({"type": "object"})
    } else {
        let mut schema = schema.clone();
        if form == Form::V2 {
            second(&mut schema);
        } else {
            third(&mut schema);
        }
        resource(&mut schema, form, true);
        below(&mut schema, form);
        schema
    };
    let mut list = json!({
        "type": "object",
        "description": format!("{} is a list of {}", one.resource.list_kind, gvk.kind),
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "description": format!("List of {}.", one.resource.plural),
                "items": reference(&name, form),
            },
            "metadata": described(LIST_META, "Standard list metadata.", form),
        },
    });
    types(&mut list);
    for (schema, name) in [
        (&mut own, &*gvk.kind),
        (&mut list, &*one.resource.list_kind),
    ] {
        schema["x-kubernetes-group-version-kind"] = kind(name);
        if !selectable.is_empty() {
            schema["x-kubernetes-selectable-fields"] = Value::Array(selectable.clone());
        }
    }
    let list_name = model_name(&gvk.group, &gvk.version, &one.resource.list_kind);
    out.insert(name, own);
    out.insert(list_name, list);
}

fn reference(name: &str, form: Form) -> Value {
    json!({"$ref": format!("{}{name}", form.prefix())})
}

fn described(name: &str, description: &str, form: Form) -> Value {
    let reference = reference(&definition_name(name), form);
    if form == Form::V2 {
        let mut reference = reference;
        reference["description"] = description.into();
        return reference;
    }
    json!({"description": description, "allOf": [reference]})
}

fn types(schema: &mut Value) {
    schema.set(
        "properties.apiVersion",
        json!({"type": "string", "description": super::API_VERSION}),
    );
    schema.set(
        "properties.kind",
        json!({"type": "string", "description": super::KIND}),
    );
}

/// Gives a resource's schema what all resources have.
fn resource(schema: &mut Value, form: Form, root: bool) {
    types(schema);
    schema.set(
        "properties.metadata",
        described(META, "Standard object's metadata.", form),
    );
    if root {
        return;
    }
    let required = schema.place("required");
    if !required.is_array() {
        *required = json!([]);
    }
    if let Value::Array(list) = required {
        for name in ["kind", "apiVersion"] {
            if !list.iter().any(|known| known == name) {
                list.push(name.into());
            }
        }
    }
}

/// Shows the schemas directly within one; definitions have bounded depth.
fn children(schema: &mut Value, see: &mut dyn FnMut(&mut Value)) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for name in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(name).filter(|child| child.is_object()) {
            see(child);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(see);
    }
}

/// Resources within the resource.
fn below(schema: &mut Value, form: Form) {
    children(schema, &mut |child| {
        below(child, form);
        if child.flag(EMBEDDED) && !(form == Form::V2 && child.flag(PRESERVE)) {
            resource(child, form, false);
        }
    });
}

fn third(schema: &mut Value) {
    if schema.flag("x-kubernetes-int-or-string") && !schema.has("anyOf") && !schema.has("allOf") {
        schema.set("anyOf", json!([{"type": "integer"}, {"type": "string"}]));
    }
    children(schema, &mut third);
}

/// What of a schema the second version of OpenAPI can say, or kubectl can read.
fn second(schema: &mut Value) {
    let nullable: Vec<String> = schema
        .pairs("properties")
        .filter(|(_, property)| property.flag("nullable"))
        .map(|(name, _)| name.to_owned())
        .collect();
    let values_nullable = schema.flag("additionalProperties.nullable");
    let kind = schema.text("type").to_owned();
    let (is_nullable, preserves) = (schema.flag("nullable"), schema.flag(PRESERVE));
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for name in ["allOf", "oneOf", "anyOf", "not"] {
        map.remove(name);
    }
    if is_nullable {
        for name in ["type", "nullable", "items", "properties"] {
            map.remove(name);
        }
    }
    if preserves {
        map.remove("items");
        map.remove("properties");
        if kind == "object" {
            map.remove("type");
        }
    }
    if kind == "array" && !map.contains_key("items") {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| !values_nullable && !nullable.iter().any(|n| name == n));
        if required.is_empty() {
            map.remove("required");
        }
    }
    children(schema, &mut second);
}

/// The published name of a subresource's or resource's body that the catalog does not know.
pub(super) fn body_name(gvk: &Gvk) -> String {
    model_name(&gvk.group, &gvk.version, &gvk.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_says_less() {
        let cases = [
            (
                json!({"type": "object", "required": ["a", "b"], "properties": {
                    "a": {"type": "string", "nullable": true}, "b": {"type": "string"}}, "oneOf": [{}]}),
                json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
            ),
            (
                json!({"type": "object", PRESERVE: true, "properties": {"a": {"type": "string"}}}),
                json!({PRESERVE: true}),
            ),
            (
                json!({"type": "array", "nullable": true, "items": {"type": "string"}, "description": "d"}),
                json!({"description": "d"}),
            ),
            (
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]}),
                json!({"x-kubernetes-int-or-string": true}),
            ),
        ];
        for (mut schema, expected) in cases {
            second(&mut schema);
            assert_eq!(schema, expected);
        }
    }

    #[test]
    fn names_are_turned_round() {
        assert_eq!(
            model_name("a.example.com", "v1", "Foo"),
            "com.example.a.v1.Foo"
        );
    }
}
