//! Names and values that several kinds of the group share.

use schema::{Path, Value, field_error::FieldError};

pub use crate::validation::checks::{duplicates, too_many};
use crate::{core::source::csi_driver_name, names, object::Object, validation::checks::wrongs};

const POOL_MAX: usize = 253;
const IDENTIFIER_MAX: usize = 32;
const BINDING_CONDITIONS_MAX: usize = 4;
/// Most requests of a claim, and most devices that one gets.
pub const REQUESTS_MAX: usize = 32;
const OPAQUE_MAX: usize = 10 * 1024;

/// A DNS label.
pub fn label(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    wrongs(text, names::dns1123_label(text), path, errors);
}

/// The name of a pool: DNS subdomains between slashes.
pub fn pool_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > POOL_MAX {
        errors.push(FieldError::too_long(path, POOL_MAX));
    }
    for part in name.split('/') {
        wrongs(part, names::dns1123_subdomain(part), path, errors);
    }
}

/// A UUID in its usual form.
pub fn uid(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = match text.len() {
        32 => digits(text),
        _ => {
            let inner = text
                .strip_prefix("urn:uuid:")
                .or_else(|| {
                    text.strip_prefix('{')
                        .and_then(|rest| rest.strip_suffix('}'))
                })
                .unwrap_or(text);
            let parts: Vec<&str> = inner.split('-').collect();
            parts.iter().map(|part| part.len()).eq(GROUPS) && parts.iter().all(|part| digits(part))
        }
    };
    let wrong = if !plain {
        let why = match text.len() {
            32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
            other => format!("invalid UUID length: {other}"),
        };
        format!("error validating uid: {why}")
    } else if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned()
    } else {
        return;
    };
    errors.push(FieldError::invalid(path, text, wrong));
}

fn identifier(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.len() > IDENTIFIER_MAX {
        errors.push(FieldError::too_long(path, IDENTIFIER_MAX));
    }
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        let wrong = names::regex_message(
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
            "[A-Za-z_][A-Za-z0-9_]*",
            &["my_name", "MY_NAME", "MyName"],
        );
        errors.push(FieldError::invalid(path, text, wrong));
    }
}

/// The name of an attribute or of a capacity, with or without the domain of its driver.
pub fn qualified(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [own] => identifier(own, path, errors),
        [domain, own] => {
            if domain.is_empty() {
                let wrong = "the domain must not be empty";
                errors.push(FieldError::invalid(path, "", wrong));
            } else {
                csi_driver_name(domain, path, errors);
            }
            if own.is_empty() {
                errors.push(FieldError::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(own, path, errors);
            }
        }
        // Upstream takes names with more slashes.
        _ => {}
    }
}

/// As [`qualified`], with a domain.
pub fn fully_qualified(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let wrong = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, wrong));
    }
}

/// The names of a claim's requests.
pub struct Requests<'a> {
    requests: &'a [Value],
}

impl<'a> Requests<'a> {
    /// Of a claim's spec.
    pub fn of(spec: &'a Value) -> Self {
        Requests {
            requests: spec.list("devices.requests"),
        }
    }

    fn has(&self, name: &str) -> bool {
        let (first, second) = match name.split_once('/') {
            Some((first, second)) => (first, Some(second)),
            None => (name, None),
        };
        // The last of the same name counts.
        let request = self
            .requests
            .iter()
            .rfind(|request| request.text("name") == first);
        request.is_some_and(|request| {
            second.is_none_or(|second| {
                let mut alternatives = request.list("firstAvailable").iter();
                alternatives.any(|alternative| alternative.text("name") == second)
            })
        })
    }

    /// A reference to a request, or to one of the alternatives of a request.
    pub fn reference(&self, name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        const WRONG: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() <= 2 {
            for part in parts {
                label(part, path, errors);
            }
        }
        if !self.has(name) {
            errors.push(FieldError::invalid(path, name, WRONG));
        }
    }

    /// References, each once.
    pub fn references(&self, holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let list = path.field("requests");
        if too_many(holder.list("requests"), REQUESTS_MAX, &list, errors) {
            return;
        }
        for (index, name) in holder.texts("requests").enumerate() {
            self.reference(name, &list.index(index), errors);
        }
        duplicates(holder.texts("requests"), &list, errors);
    }
}

/// What a driver alone understands.
pub fn configuration(config: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let opaque = path.field("opaque");
    if !config.has("opaque") {
        errors.push(FieldError::required(opaque, ""));
        return;
    }
    csi_driver_name(
        config.text("opaque.driver"),
        &opaque.field("driver"),
        errors,
    );
    let field = opaque.field("parameters");
    raw(config.at("opaque.parameters"), OPAQUE_MAX, &field, errors);
}

/// An object of any form, up to a size.
pub fn raw(value: &Value, max: usize, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        errors.push(FieldError::required(path, ""));
    } else if value.to_string().len() > max {
        errors.push(FieldError::too_long(path, max));
    } else if !value.is_object() {
        let wrong = "must be a valid JSON object";
        errors.push(FieldError::invalid(path, "<value omitted>", wrong));
    }
}

/// Conditions for which binding waits, and those that end the waiting: both or none.
pub fn binding_conditions(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const WAIT: &str = "bindingConditions";
    const FAIL: &str = "bindingFailureConditions";
    for field in [WAIT, FAIL] {
        let list = path.field(field);
        let names: Vec<&str> = holder.texts(field).collect();
        if !too_many(&names, BINDING_CONDITIONS_MAX, &list, errors) {
            for (index, name) in names.iter().enumerate() {
                wrongs(
                    name,
                    names::qualified_name(name),
                    &list.index(index),
                    errors,
                );
            }
        }
        duplicates(names.into_iter(), &list, errors);
    }
    let waited: Vec<&str> = holder.texts(WAIT).collect();
    let failed: Vec<&str> = holder.texts(FAIL).collect();
    let list = path.field(FAIL);
    for (index, name) in failed.iter().enumerate() {
        if waited.contains(name) {
            let wrong = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(FieldError::invalid(list.index(index), *name, wrong));
        }
    }
    for (own, other, empty) in [
        (WAIT, FAIL, waited.is_empty() && !failed.is_empty()),
        (FAIL, WAIT, failed.is_empty() && !waited.is_empty()),
    ] {
        if empty {
            let wrong = format!("{own} are required to use {other}");
            let shown = Value::Array(Vec::new());
            errors.push(FieldError::invalid(path.field(own), shown, wrong));
        }
    }
}
