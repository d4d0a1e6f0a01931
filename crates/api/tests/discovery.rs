//! Discovery against what upstream's own server answers.

use std::fs;

use api::{catalog, discovery};
use serde_json::{Value, json};

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/discovery/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn legacy_documents() {
    let catalog = catalog::builtin();
    assert_eq!(
        discovery::core_versions("10.10.10.10:8050"),
        recorded("api")
    );
    assert_eq!(discovery::groups(catalog.groups()), recorded("apis"));
    for group in catalog.groups() {
        if !group.name.is_empty() {
            assert_eq!(
                discovery::group(group),
                recorded(&format!("apis__{}", group.name))
            );
        }
        for version in &group.versions {
            let name = match &*group.name {
                "" => format!("api__{version}"),
                group => format!("apis__{group}__{version}"),
            };
            let document = discovery::resources(
                &group.name,
                version,
                catalog.resources_of(&group.name, version),
            );
            assert_eq!(document, recorded(&name), "{name}");
        }
    }
}

#[test]
fn aggregated_document() {
    let document = discovery::aggregated_builtin(catalog::builtin(), false);
    let expected = recorded("aggregated_v2");
    for (ours, theirs) in document["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected["items"].as_array().unwrap())
    {
        assert_eq!(ours, theirs);
    }
    assert_eq!(document, expected);
    let core = discovery::aggregated_builtin(catalog::builtin(), true);
    assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(core["items"][0]["versions"][0]["version"], json!("v1"));
}
