//! Network configuration: which file of the configuration directory counts, and what it says.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The newest specification spoken.
pub(super) const NEWEST: &str = "1.1.0";
/// What a configuration without a version means.
const OLDEST: &str = "0.2.0";
/// A file longer than this is no configuration.
const FILE_MAX: u64 = 1 << 20;

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing there.
    #[error("no CNI network configuration in {0}")]
    None(String),
    /// A directory or file that cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// The error.
        source: std::io::Error,
    },
    /// A file that is no configuration.
    #[error("CNI network configuration {path}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// A list of plugins that together make a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    pub name: String,
    pub version: String,
    pub disable_check: bool,
    pub plugins: Vec<Map<String, Value>>,
}

fn version_key(version: &str) -> (u32, u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (
        parts.next().unwrap_or(0),
        parts.next().unwrap_or(0),
        parts.next().unwrap_or(0),
    )
}

/// Whether `version` is at least `other`.
pub(super) fn at_least(version: &str, other: &str) -> bool {
    version_key(version) >= version_key(other)
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key)
        .and_then(Value::as_str)
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
}

impl Network {
    /// Reads a configuration: a list of plugins, or a single one, which is a list of itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut top: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let name = text(&top, "name").ok_or("it has no name")?;
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            return Err(format!("invalid name {name:?}"));
        }
        let mut version = text(&top, "cniVersion").unwrap_or_else(|| OLDEST.to_owned());
        // The file may offer several versions: the newest that both sides speak.
        let offered = top
            .get("cniVersions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for other in offered.filter_map(Value::as_str) {
            if at_least(other, &version) && at_least(NEWEST, other) {
                version = other.to_owned();
            }
        }
        if !at_least(NEWEST, &version) {
            return Err(format!("cniVersion {version} is newer than {NEWEST}"));
        }
        let disable_check = match top.get("disableCheck") {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let plugins = match top.remove("plugins") {
            None => vec![top],
            Some(Value::Array(list)) => list
                .into_iter()
                .map(|plugin| match plugin {
                    Value::Object(map) => Ok(map),
                    _ => Err("a plugin is not an object".to_owned()),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err("plugins is not a list".to_owned()),
        };
        if plugins.is_empty() {
            return Err("it has no plugins".to_owned());
        }
        for plugin in &plugins {
            let kind = text(plugin, "type").ok_or("a plugin has no type")?;
            if kind.contains('/') || kind.starts_with('.') {
                return Err(format!("invalid plugin type {kind:?}"));
            }
        }
        Ok(Self {
            name,
            version,
            disable_check,
            plugins,
        })
    }

    /// The network of a directory: that of the first file by name that is a configuration.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            let path = path.display().to_string();
            move |source| ConfigError::Read { path, source }
        };
        let none = || ConfigError::None(dir.display().to_string());
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
            other => other.map_err(read(dir))?,
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(read(dir))?.path();
            let ours = path
                .extension()
                .is_some_and(|e| e == "conflist" || e == "conf" || e == "json");
            if ours {
                files.push(path);
            }
        }
        files.sort();
        let mut first_error = None;
        for path in files {
            let size = std::fs::metadata(&path).map_err(read(&path))?.len();
            let parsed = if size > FILE_MAX {
                Err("it is too large".to_owned())
            } else {
                Self::parse(&std::fs::read(&path).map_err(read(&path))?)
            };
            match parsed {
                Ok(network) => return Ok(network),
                Err(reason) => {
                    let error = ConfigError::Invalid {
                        path: path.display().to_string(),
                        reason,
                    };
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(none))
    }

    /// What one plugin is given on its standard input.
    pub fn input(
        &self,
        plugin: &Map<String, Value>,
        runtime: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Value {
        let mut input = plugin.clone();
        input.insert("cniVersion".to_owned(), self.version.clone().into());
        input.insert("name".to_owned(), self.name.clone().into());
        // The capabilities it declares are given what the runtime has for them.
        let declared = plugin.get("capabilities").and_then(Value::as_object);
        let given: Map<String, Value> = runtime
            .iter()
            .filter(|(key, _)| {
                declared.is_some_and(|d| d.get(*key).and_then(Value::as_bool) == Some(true))
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        input.remove("capabilities");
        if !given.is_empty() {
            input.insert("runtimeConfig".to_owned(), given.into());
        }
        if let Some(previous) = previous {
            input.insert("prevResult".to_owned(), previous.clone());
        }
        input.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_taken_by_name_and_broken_ones_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Network::load(dir.path()),
            Err(ConfigError::None(_))
        ));
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("00-readme.txt", "{}");
        write("05-broken.conflist", "{");
        let error = Network::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("05-broken.conflist"), "{error}");
        write(
            "20-b.conf",
            r#"{"name": "b", "type": "ptp", "cniVersion": "1.0.0"}"#,
        );
        write(
            "10-a.conflist",
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}]}"#,
        );
        assert_eq!(Network::load(dir.path()).unwrap().name, "a");
        std::fs::remove_file(dir.path().join("10-a.conflist")).unwrap();
        let single = Network::load(dir.path()).unwrap();
        assert_eq!((single.name.as_str(), single.plugins.len()), ("b", 1));
    }

    #[test]
    fn what_is_refused() {
        for (text, reason) in [
            ("[]", "invalid type"),
            (r#"{"plugins": [{"type": "x"}]}"#, "no name"),
            (r#"{"name": "../x", "type": "x"}"#, "invalid name"),
            (r#"{"name": "x", "plugins": []}"#, "no plugins"),
            (r#"{"name": "x", "plugins": [{}]}"#, "no type"),
            (
                r#"{"name": "x", "type": "../../bin/sh"}"#,
                "invalid plugin type",
            ),
            (
                r#"{"name": "x", "type": "x", "cniVersion": "2.0.0"}"#,
                "newer",
            ),
        ] {
            let error = Network::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let text = br#"{"name": "x", "cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.1.0", "2.0.0"], "type": "x"}"#;
        assert_eq!(Network::parse(text).unwrap().version, "1.1.0");
        assert!(at_least("1.0.0", "0.4.0") && !at_least("0.3.1", "0.4.0"));
    }

    #[test]
    fn plugins_get_the_capabilities_they_declare() {
        let text = br#"{"name": "x", "cniVersion": "1.0.0", "plugins": [
            {"type": "a", "capabilities": {"portMappings": true, "bandwidth": false}}, {"type": "b"}]}"#;
        let network = Network::parse(text).unwrap();
        let runtime = json!({"portMappings": [1], "bandwidth": {}, "ipRanges": []});
        let runtime = runtime.as_object().unwrap();
        let a = network.input(&network.plugins[0], runtime, None);
        assert_eq!(a["runtimeConfig"], json!({"portMappings": [1]}));
        assert_eq!(
            (&a["name"], &a["cniVersion"]),
            (&json!("x"), &json!("1.0.0"))
        );
        let b = network.input(&network.plugins[1], runtime, Some(&json!({"ips": []})));
        assert_eq!(
            b,
            json!({"type": "b", "name": "x", "cniVersion": "1.0.0", "prevResult": {"ips": []}})
        );
    }
}
