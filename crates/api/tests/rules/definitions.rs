//! Definitions of custom resources.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update};

fn definition() -> Value {
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "apples.fruit.example"}, "spec": {"group": "fruit.example", "scope": "Cluster",
            "names": {"plural": "apples", "singular": "apple", "kind": "Apple", "listKind": "AppleList"},
            "versions": [version]}})
}

fn with(change: impl Fn(&mut Value)) -> [(&'static str, Value); 1] {
    let mut versions = definition()["spec"]["versions"].clone();
    change(&mut versions[0]);
    [("spec.versions", versions)]
}

#[test]
fn versions() {
    on_create(
        &definition(),
        &[
            (
                &with(|version| {
                    version["additionalPrinterColumns"] = json!([{"name": "A", "type": "string", "format": "name", "jsonPath": ".spec.a"}]);
                }),
                &[
                    "spec.additionalPrinterColumns[0].format: Invalid value: \"name\": must be one of byte,date,date-time,double,float,int32,int64,password",
                ],
            ),
            (
                &with(|version| version["selectableFields"] = json!([{"jsonPath": ".spec.b"}])),
                &[
                    "spec.selectableFields[0].jsonPath: Invalid value: \".spec.b\": is an invalid path: does not refer to a valid field",
                ],
            ),
            (
                &with(|version| version["selectableFields"] = json!([{"jsonPath": "spec.a"}])),
                &[
                    "spec.selectableFields[0].jsonPath: Invalid value: \"spec.a\": is an invalid path: expected [ or . but got: spec",
                ],
            ),
        ],
    );
    on_create(
        &definition(),
        &[(
            &with(|version| {
                let rules = json!([{"rule": "true", "fieldPath": ".spec.a"},
                    {"rule": "true", "fieldPath": ".spec.b"}]);
                version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = rules;
            }),
            &[
                "spec.validation.openAPIV3Schema.x-kubernetes-validations[1].fieldPath: Invalid value: \".spec.b\": must be a valid path",
            ],
        )],
    );
    let mut old = create(definition()).0;
    old.set("spec.preserveUnknownFields", true);
    old.list_mut("spec.versions")[0].remove("schema");
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
    let mut new = old.clone();
    new.remove("spec.preserveUnknownFields");
    assert_eq!(
        update(Part::Main, new, &old).1,
        [
            "spec.versions[0].schema.openAPIV3Schema: Required value: because otherwise all fields are pruned"
        ]
    );
}

#[test]
fn what_was_there_may_stay() {
    let mut old = create(definition()).0;
    let fields: Vec<Value> = (0..9)
        .map(|index| json!({"jsonPath": format!(".spec.a{index}")}))
        .collect();
    let properties: Value = (0..9)
        .map(|index| (format!("a{index}"), json!({"type": "string"})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let version = &mut old.list_mut("spec.versions")[0];
    version.set(
        "schema.openAPIV3Schema.properties.spec.properties",
        properties,
    );
    version.set("selectableFields", fields);
    old.set(
        "spec.conversion",
        json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v7"],
            "clientConfig": {"url": "https://a.example"}}}),
    );
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
    on_update(
        Part::Main,
        &definition(),
        &[(
            &[("spec.conversion", old.at("spec.conversion").clone())],
            &[
                "spec.conversion.conversionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1",
            ],
        )],
    );
}

#[test]
fn a_status_may_come_with_metadata() {
    let old = create(definition()).0;
    let mut new = old.clone();
    new.set("metadata.labels", json!({"a": "b"}));
    new.remove("status");
    let (made, errors) = update(Part::Status, new, &old);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(made.at("metadata.labels"), &json!({"a": "b"}));
    assert_eq!(made.at("status.storedVersions"), &json!(["v1"]));
}

#[test]
fn services_of_apis() {
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1",
            "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": true,
            "service": {"namespace": "n", "name": "s"}}});
    let named = |name: &str, field: &'static str, value: &str| {
        [("metadata.name", json!(name)), (field, json!(value))]
    };
    on_create(
        &service,
        &[
            (
                &[("spec.service.port", json!(0))],
                &[
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                &named("v2.", "spec.group", ""),
                &[
                    "metadata.name: Invalid value: \"v2.\": must be `spec.version+\".\"+spec.group`: \"v1.\"",
                ],
            ),
            (
                &[
                    ("spec.service", Value::Null),
                    ("spec.caBundle", json!("eA==")),
                ],
                &[
                    "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
        ],
    );
    let old = create(service).0;
    let mut new = old.clone();
    new.set("status.conditions", json!([{"type": "T", "status": "Odd"}]));
    assert_eq!(
        update(Part::Status, new, &old).1,
        [
            "status.conditions[0].status: Unsupported value: \"Odd\": supported values: \"True\", \"False\", \"Unknown\""
        ]
    );
}
