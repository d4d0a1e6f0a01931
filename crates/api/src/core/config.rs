//! ConfigMaps and Secrets.

use base64::{Engine, prelude::BASE64_STANDARD};
use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{immutable, wrongs},
};

/// Greatest size of all values together.
const SIZE_MAX: usize = 1024 * 1024;

const FROZEN: &str = "field is immutable when `immutable` is set";

/// What of an object marked immutable has changed all the same.
fn frozen(object: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if !old.flag("immutable") {
        return;
    }
    if !object.flag("immutable") {
        errors.push(FieldError::forbidden("immutable", FROZEN));
    }
    for field in fields {
        if object.at(field) != old.at(field) {
            errors.push(FieldError::forbidden(field, FROZEN));
        }
    }
}

/// The size of what base64 text stands for.
fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// What ConfigMaps do specially.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let mut size = 0;
        let data = Path::ROOT.field("data");
        for (key, value) in object.pairs("data") {
            wrongs(key, names::config_map_key(key), &data.key(key), errors);
            if object.at("binaryData").get(key).is_some() {
                let wrong = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(data.key(key), key, wrong));
            }
            size += value.as_str().map_or(0, str::len);
        }
        let data = Path::ROOT.field("binaryData");
        for (key, value) in object.pairs("binaryData") {
            wrongs(key, names::config_map_key(key), &data.key(key), errors);
            size += value.as_str().map_or(0, decoded_len);
        }
        if size > SIZE_MAX {
            errors.push(FieldError::too_long("", SIZE_MAX));
        }
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        frozen(object, old, &["data", "binaryData"], errors);
    }
}

/// What Secrets do specially.
pub struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        // `stringData` is a way of writing `data`; it is never kept.
        if let Some(Value::Object(texts)) = object.remove("stringData")
            && !texts.is_empty()
        {
            let data = meta::map_mut(object.place("data"));
            for (key, value) in texts {
                let text = value.as_str().unwrap_or("");
                data.insert(key, BASE64_STANDARD.encode(text).into());
            }
        }
        super::small::secret(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("data");
        let mut size = 0;
        for (key, value) in object.pairs("data") {
            wrongs(key, names::config_map_key(key), &path.key(key), errors);
            size += value.as_str().map_or(0, decoded_len);
        }
        if size > SIZE_MAX {
            errors.push(FieldError::too_long(path, SIZE_MAX));
        }
        let data = object.at("data");
        let mut needed = |key: &str| {
            if data.get(key).is_none() {
                errors.push(FieldError::required(path.key(key), ""));
            }
        };
        match object.text("type") {
            "kubernetes.io/service-account-token" => {
                const KEY: &str = "kubernetes.io/service-account.name";
                if meta::annotation(object, KEY).is_none_or(str::is_empty) {
                    let metadata = Path::ROOT.field("metadata");
                    errors.push(FieldError::required(
                        metadata.field("annotations").key(KEY),
                        "",
                    ));
                }
            }
            "kubernetes.io/dockercfg" => {
                needed(".dockercfg");
                docker(data, ".dockercfg", &path, errors);
            }
            "kubernetes.io/dockerconfigjson" => {
                needed(".dockerconfigjson");
                docker(data, ".dockerconfigjson", &path, errors);
            }
            "kubernetes.io/basic-auth"
                if data.get("username").is_none() && data.get("password").is_none() =>
            {
                needed("username");
                needed("password");
            }
            "kubernetes.io/ssh-auth"
                if data
                    .get("ssh-privatekey")
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty) =>
            {
                errors.push(FieldError::required(path.key("ssh-privatekey"), ""));
            }
            "kubernetes.io/tls" => {
                needed("tls.crt");
                needed("tls.key");
            }
            _ => {}
        }
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        immutable(object, old, "type", &Path::ROOT, errors);
        frozen(object, old, &["data"], errors);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        if object.text("type") != "kubernetes.io/tls" {
            return Vec::new();
        }
        let holds = |key: &str, label: fn(&str) -> bool| {
            let bytes = BASE64_STANDARD
                .decode(object.at("data").get(key)?.as_str()?)
                .ok()?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let labels = text.lines().filter_map(|line| {
                line.trim_end()
                    .strip_prefix("-----BEGIN ")?
                    .strip_suffix("-----")
                    .map(str::to_owned)
            });
            let (mut any, mut fitting) = (false, false);
            for found in labels {
                any = true;
                fitting |= label(&found);
            }
            Some((any, fitting))
        };
        let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
        for (key, what, label) in [
            (
                "tls.crt",
                "certificate",
                (|label| label == "CERTIFICATE") as fn(&str) -> bool,
            ),
            ("tls.key", "key", is_key),
        ] {
            let (any, fitting) = holds(key, label).unwrap_or_default();
            if !any {
                return vec![format!("tls: failed to find any PEM data in {what} input")];
            }
            if !fitting {
                return vec![format!(
                    "tls: failed to find \"{}\" PEM block in {what} input",
                    if what == "key" {
                        "PRIVATE KEY"
                    } else {
                        "CERTIFICATE"
                    }
                )];
            }
        }
        Vec::new()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }
}

/// A registry's credentials are JSON.
fn docker(data: &Value, key: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(text) = data.get(key).and_then(Value::as_str) else {
        return;
    };
    let parsed = BASE64_STANDARD
        .decode(text)
        .map_err(|error| error.to_string())
        .and_then(|bytes| {
            serde_json::from_slice::<schema::Map<String, Value>>(&bytes)
                .map_err(|error| unreadable(&bytes, &error))
        });
    if let Err(error) = parsed {
        errors.push(FieldError::invalid(
            path.key(key),
            "<secret contents redacted>",
            error,
        ));
    }
}

/// Why something is no JSON, in the words of upstream's decoder.
fn unreadable(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let first = text.trim_start().chars().next();
    match first {
        Some(c) if !"{[\"tfn-0123456789".contains(c) => {
            format!("invalid character '{c}' looking for beginning of value")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut object = json!({"data": {"a": "MQ=="}, "stringData": {"b": "2"}});
        Secret.default(&mut object);
        assert_eq!(
            object,
            json!({"data": {"a": "MQ==", "b": "Mg=="}, "type": "Opaque"})
        );
    }

    #[test]
    fn immutable_ones_stay() {
        let old = json!({"data": {"a": "1"}, "immutable": true});
        let mut errors = Vec::new();
        ConfigMap.validate_update(
            Part::Main,
            &json!({"data": {"a": "2"}, "immutable": true}),
            &old,
            &mut errors,
        );
        assert_eq!(
            errors[0].to_string(),
            "data: Forbidden: field is immutable when `immutable` is set"
        );
        errors.clear();
        ConfigMap.validate_update(Part::Main, &json!({"data": {"a": "1"}}), &old, &mut errors);
        assert_eq!(errors[0].path, "immutable");
    }

    #[test]
    fn types_need_their_keys() {
        let wrong = |object: Value| {
            let mut errors = Vec::new();
            Secret.validate(&object, &mut errors);
            errors
                .iter()
                .map(|error| error.path.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            wrong(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}})),
            ["data[tls.key]"]
        );
        assert!(
            wrong(json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}})).is_empty()
        );
        assert_eq!(
            wrong(
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e"}})
            ),
            ["data[.dockerconfigjson]"]
        );
        assert_eq!(
            wrong(json!({"type": "Opaque", "data": {"a/b": ""}})),
            ["data[a/b]"]
        );
    }
}
