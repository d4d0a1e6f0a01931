//! Upstream's round-trip data: one object of each kind with every field set, as JSON and as
//! protobuf.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use schema::{Table, TypeId, Value, decode, default, proto};

/// Groups whose kinds the release's round-trip data has and no server serves; the tables spell
/// their types by protobuf package.
const PACKAGES: [(&str, &str); 6] = [
    ("admission.k8s.io", "admission"),
    ("imagepolicy.k8s.io", "imagepolicy"),
    ("internal.apiserver.k8s.io", "apiserverinternal"),
    ("flowcontrol.apiserver.k8s.io", "flowcontrol"),
    ("rbac.authorization.k8s.io", "rbac"),
    ("apidiscovery.k8s.io", "apidiscovery"),
];

pub static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../tables/types.tsv")).unwrap());

pub struct Sample {
    pub name: String,
    pub ty: TypeId,
    pub json: Vec<u8>,
    pub pb: Vec<u8>,
}

impl Sample {
    pub fn object(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap()
    }
}

pub fn samples() -> Vec<Sample> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roundtrip");
    let mut files: BTreeMap<String, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let slot = files.entry(name).or_default();
        match path.extension().unwrap().to_str().unwrap() {
            "json" => slot.0 = bytes,
            _ => slot.1 = bytes,
        }
    }
    files
        .into_iter()
        .map(|(name, (json, pb))| {
            let mut parts = name.rsplitn(3, '.');
            let (kind, version, group) = (
                parts.next().unwrap(),
                parts.next().unwrap(),
                parts.next().unwrap(),
            );
            let package = PACKAGES
                .iter()
                .find(|(known, _)| *known == group)
                .map_or_else(|| group.split('.').next().unwrap(), |(_, package)| package);
            let ty = TABLE
                .id(&format!("{package}.{version}.{kind}"))
                .or_else(|| TABLE.id(&format!("meta.v1.{kind}")))
                .unwrap_or_else(|| panic!("no type for {name}"));
            Sample { name, ty, json, pb }
        })
        .collect()
}

#[test]
fn every_field_of_every_kind_is_known() {
    for sample in samples() {
        let decoded = decode::json(&TABLE, sample.ty, &sample.json)
            .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert_eq!(decoded.strict, Vec::<String>::new(), "{}", sample.name);
        assert_eq!(decoded.value, sample.object(), "{}", sample.name);
    }
}

#[test]
fn full_objects_change_neither_by_defaults_nor_by_normalizing() {
    for sample in samples() {
        let mut object = sample.object();
        default::apply(&TABLE, sample.ty, &mut object);
        decode::normalize(&TABLE, sample.ty, &mut object);
        let mut expected = sample.object();
        decode::normalize(&TABLE, sample.ty, &mut expected);
        default::apply(&TABLE, sample.ty, &mut expected);
        decode::normalize(&TABLE, sample.ty, &mut expected);
        assert_eq!(object, expected, "{}", sample.name);
    }
}

fn pb_of(sample: &Sample, object: &Value) -> Vec<u8> {
    let raw = proto::encode(&TABLE, sample.ty, object)
        .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    proto::envelope::wrap(&text("apiVersion"), &text("kind"), &raw)
}

fn object_of(sample: &Sample, pb: &[u8]) -> Value {
    let envelope = proto::envelope::unwrap(pb).unwrap();
    let mut object = proto::decode(&TABLE, sample.ty, envelope.raw)
        .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
    // A WatchEvent names no type.
    if !envelope.kind.is_empty() {
        object["apiVersion"] = envelope.api_version.into();
        object["kind"] = envelope.kind.into();
    }
    object
}

#[test]
fn protobuf_becomes_the_same_json() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let mut expected = sample.object();
        decode::normalize(&TABLE, sample.ty, &mut expected);
        let found = object_of(&sample, &sample.pb);
        if found != expected {
            wrong.push(sample.name.clone());
            if std::env::var_os("SHOW").is_some() {
                println!("{}\n{found:#}\n{expected:#}", sample.name);
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn json_becomes_the_same_protobuf() {
    let mut wrong = Vec::new();
    for sample in samples() {
        if pb_of(&sample, &sample.object()) != sample.pb {
            wrong.push(sample.name.clone());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn protobuf_of_protobuf_is_unchanged() {
    for sample in samples() {
        let object = object_of(&sample, &sample.pb);
        let again = object_of(&sample, &pb_of(&sample, &object));
        assert_eq!(again, object, "{}", sample.name);
    }
}
