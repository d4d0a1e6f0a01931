//! Published schemas.

use schema::{openapi, table::Type};
use serde_json::{Value, json};

use crate::{TABLE, thing};

fn kinds_of(ty: &Type) -> Option<Value> {
    (ty.short_name() == "Thing")
        .then(|| json!([{"group": "test", "kind": "Thing", "version": "v1"}]))
}

#[test]
fn names_are_upstreams() {
    for (name, expected) in [
        ("core.v1.Pod", "io.k8s.api.core.v1.Pod"),
        (
            "meta.v1.ObjectMeta",
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        ),
        ("Quantity", "io.k8s.apimachinery.pkg.api.resource.Quantity"),
        (
            "IntOrString",
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        ),
        (
            "runtime.RawExtension",
            "io.k8s.apimachinery.pkg.runtime.RawExtension",
        ),
        ("version.Info", "io.k8s.apimachinery.pkg.version.Info"),
        (
            "apiextensions.v1.JSON",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        ),
        (
            "apiregistration.v1.APIService",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        ),
        ("com.example.v1.Custom", "com.example.v1.Custom"),
    ] {
        assert_eq!(openapi::definition_name(name), expected);
    }
}

#[test]
fn v2_definitions_hold_all_that_is_referred_to() {
    let definitions = openapi::v2_definitions(&TABLE, [thing()], &kinds_of);
    let names: Vec<&String> = definitions.keys().collect();
    assert_eq!(
        names,
        [
            "io.k8s.api.test.v1.Inner",
            "io.k8s.api.test.v1.Item",
            "io.k8s.api.test.v1.PropsOrBool",
            "io.k8s.api.test.v1.Thing",
            "io.k8s.api.test.v1.ThingSpec",
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        ]
    );
    assert_eq!(
        definitions["io.k8s.api.test.v1.Thing"],
        json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                "spec": {"$ref": "#/definitions/io.k8s.api.test.v1.ThingSpec"},
            },
            "x-kubernetes-group-version-kind": [{"group": "test", "kind": "Thing", "version": "v1"}],
        })
    );
    let spec = &definitions["io.k8s.api.test.v1.ThingSpec"]["properties"];
    assert_eq!(
        spec["items"],
        json!({
            "type": "array",
            "items": {"$ref": "#/definitions/io.k8s.api.test.v1.Item"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "name",
        })
    );
    assert_eq!(
        spec["replicas"],
        json!({"type": "integer", "format": "int32"})
    );
    assert_eq!(spec["hostPath"], json!({"type": "string"}));
    assert_eq!(
        spec["data"],
        json!({"type": "object", "additionalProperties": {"type": "string", "format": "byte"}})
    );
    assert_eq!(
        spec["extra"],
        json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}})
    );
    assert_eq!(
        definitions["io.k8s.api.test.v1.Item"]["required"],
        json!(["name"])
    );
}

#[test]
fn v3_schemas_give_defaults() {
    let schemas = openapi::v3_schemas(&TABLE, [thing()], &kinds_of);
    let spec = &schemas["io.k8s.api.test.v1.ThingSpec"]["properties"];
    assert_eq!(
        spec["inner"],
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.test.v1.Inner"}], "default": {}})
    );
    assert_eq!(spec["note"], json!({"type": "string", "default": "none"}));
    let item = &schemas["io.k8s.api.test.v1.Item"]["properties"];
    assert_eq!(
        item["protocol"],
        json!({"type": "string", "default": "TCP"})
    );
    assert_eq!(item["name"], json!({"type": "string", "default": ""}));
}
