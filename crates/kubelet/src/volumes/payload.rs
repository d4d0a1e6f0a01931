//! The files of a volume before they are written, built from API objects. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Secret};

use super::VolumeError;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, when it is not the kubelet's own.
    pub uid: Option<u32>,
}

/// Files by path within the volume.
pub type Payload = BTreeMap<String, File>;

/// A mode from the API as permission bits.
pub fn mode(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |m| (m as u32) & 0o7777)
}

/// Files of a ConfigMap: all keys, or the listed ones.
pub fn config_map(
    object: &ConfigMap,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, VolumeError> {
    let texts = object
        .data
        .iter()
        .flatten()
        .map(|(key, text)| (key.as_str(), text.as_bytes()));
    let binaries = object
        .binary_data
        .iter()
        .flatten()
        .map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
    select(
        texts.chain(binaries).collect(),
        items,
        default_mode,
        optional,
        "config",
    )
}

/// Files of a Secret.
pub fn secret(
    object: &Secret,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, VolumeError> {
    let entries = object
        .data
        .iter()
        .flatten()
        .map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
    select(entries.collect(), items, default_mode, optional, "secret")
}

fn select(
    entries: BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
    what: &str,
) -> Result<Payload, VolumeError> {
    let file = |data: &[u8], mode| File {
        data: data.to_owned(),
        mode,
        uid: None,
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(entries
            .into_iter()
            .map(|(key, data)| (key.to_owned(), file(data, default_mode)))
            .collect());
    };
    let mut out = Payload::new();
    for item in items {
        match entries.get(item.key.as_str()) {
            Some(data) => {
                let mode = mode(item.mode, default_mode);
                out.insert(checked(&item.path)?, file(data, mode));
            }
            None if optional => {}
            None => {
                return Err(VolumeError::Reference(format!(
                    "references non-existent {what} key: {}",
                    item.key
                )));
            }
        }
    }
    Ok(out)
}

/// A path that stays inside its volume.
pub fn checked(path: &str) -> Result<String, VolumeError> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.split('/').any(|part| part == ".." || part.is_empty())
        || path.starts_with("..");
    if bad {
        return Err(VolumeError::Reference(format!(
            "invalid path: must be relative and stay in the volume: {path:?}"
        )));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}
        }))
        .expect("a config map")
    }

    fn item(key: &str, path: &str) -> KeyToPath {
        KeyToPath {
            key: key.into(),
            path: path.into(),
            mode: None,
        }
    }

    #[test]
    fn all_keys_or_the_listed_ones() {
        let all = config_map(&map(), None, 0o644, false).expect("complete");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(all["c"].data, [0, 1]);
        let one = config_map(&map(), Some(&[item("a", "x/y")]), 0o600, false).expect("present");
        assert_eq!(one.keys().collect::<Vec<_>>(), ["x/y"]);
        assert_eq!(one["x/y"].mode, 0o600);
    }

    #[test]
    fn missing_keys_matter_unless_optional() {
        let items = [item("nope", "p")];
        let error = config_map(&map(), Some(&items), 0o644, false).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "references non-existent config key: nope"
        );
        assert!(
            config_map(&map(), Some(&items), 0o644, true)
                .expect("optional")
                .is_empty()
        );
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["../x", "a/../b", "/abs", "", "..data"] {
            assert!(checked(path).is_err(), "{path}");
        }
        assert!(checked("a/b.txt").is_ok());
    }
}
