//! Descriptions of given objects. Each `NAME.yaml` holds an object and, behind it, what stands
//! around it; `NAME.txt` is what kubectl 1.36 prints of it on 20 November 2026, in UTC.

use std::{fs, path::Path};

use jiff::tz::TimeZone;
use kubectl::{
    describe::{Answers, asks, describe, page::Moment},
    error::Error,
    mapping::Resource,
};
use serde_json::{Value, json};

/// Answers a path from the objects beside the described one: the object of that name, or all of the
/// kind. Events are told apart by what they are about, as the API does.
fn answer(path: &str, around: &[Value]) -> Result<Value, Error> {
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = place.trim_start_matches('/').split('/').collect();
    let (version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_string(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => panic!("no API path: {path}"),
    };
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
        [plural] => (None, *plural, None),
        [plural, name] => (None, *plural, Some(*name)),
        _ => panic!("no object's path: {path}"),
    };
    let here = |o: &&Value| {
        let kind = o["kind"].as_str().unwrap().to_lowercase();
        o["apiVersion"] == version.as_str()
            && (kind == plural || format!("{kind}s") == plural)
            && namespace.is_none_or(|n| o["metadata"]["namespace"] == n)
    };
    let about = |o: &&Value| {
        let query = query.replace("%3D", "=").replace("%2C", ",");
        let pairs = query
            .split(',')
            .filter_map(|f| f.rsplit_once("involvedObject."));
        pairs
            .filter_map(|(_, f)| f.split_once('='))
            .all(|(field, value)| o["involvedObject"][field].as_str().unwrap_or_default() == value)
    };
    let mut all = around.iter().filter(here);
    match name {
        Some(name) => all
            .find(|o| o["metadata"]["name"] == name)
            .cloned()
            .ok_or_else(|| {
                let group = version.split_once('/').map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                let status = json!({"code": 404, "reason": "NotFound", "message": format!("{plural}{dot}{group} \"{name}\" not found")});
                Error::Server(Box::new(serde_json::from_value(status).unwrap()))
            }),
        None => Ok(json!({"items": all.filter(about).collect::<Vec<_>>()})),
    }
}

fn described(yaml: &str) -> String {
    let documents = serde_saphyr::from_multiple::<Value>(yaml).unwrap();
    let object = &documents[0];
    let (group, version) = object["apiVersion"]
        .as_str()
        .unwrap()
        .rsplit_once('/')
        .unwrap_or(("", object["apiVersion"].as_str().unwrap()));
    let kind = object["kind"].as_str().unwrap();
    let resource = Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        ..Resource::default()
    };
    let mut answers = Answers::default();
    for ask in asks(&resource.group, &resource.kind, object, true) {
        answers
            .take(&ask, answer(&ask.path, &documents[1..]))
            .unwrap();
    }
    let moment = Moment {
        now: "2026-11-20T17:00:00Z".parse().unwrap(),
        zone: TimeZone::UTC,
    };
    describe(&resource.group, &resource.kind, object, answers, moment)
}

#[test]
fn objects_are_described_as_kubectl_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/describe");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let got = described(&fs::read_to_string(&path).unwrap());
        let want = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        if got != want {
            let at = got.lines().zip(want.lines()).position(|(g, w)| g != w);
            let line = |text: &str| at.and_then(|at| text.lines().nth(at)).map(str::to_string);
            wrong.push(format!(
                "{}: line {:?}: got {:?}, kubectl prints {:?}",
                path.file_stem().unwrap().display(),
                at.map(|at| at + 1),
                line(&got),
                line(&want)
            ));
        }
    }
    assert!(seen > 40, "only {seen} objects");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
