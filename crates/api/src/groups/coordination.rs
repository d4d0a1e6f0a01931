//! The group coordination.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    strategy::Strategy,
    validation::checks::{immutable, not_negative, required, wrongs},
};

const OLDEST: &str = "OldestEmulationVersion";

/// Before a lease is written: how a leader is chosen servers do not take unless they are told to.
pub fn prepare_lease(object: &mut Value, old: &Value) {
    if !old.has("spec.strategy") {
        object.remove("spec.strategy");
        object.remove("spec.preferredHolder");
    }
}

/// Everything wrong with a Lease.
pub fn lease(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    if let Some(seconds) = spec
        .int("leaseDurationSeconds")
        .filter(|seconds| *seconds <= 0)
    {
        errors.push(FieldError::invalid(
            path.field("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    not_negative(spec, "leaseTransitions", &path, errors);
    if spec.has("strategy") {
        strategy(spec.text("strategy"), &path.field("strategy"), errors);
    }
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        let wrong = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(path.field("preferredHolder"), wrong));
    }
}

/// How a leader is chosen: a way of Kubernetes' own, or one with a domain before it.
fn strategy(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("strategy");
    if name.contains('/') {
        wrongs(name, names::qualified_name(name), &path, errors);
    } else if name != OLDEST {
        errors.push(FieldError::not_supported(path, name, &[OLDEST]));
    }
}

/// What LeaseCandidates do specially.
pub struct Candidate;

impl Strategy for Candidate {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        required(spec, "leaseName", &path, errors);
        let mut version = |field: &str, needed: bool| {
            let text = spec.text(field);
            if text.is_empty() {
                if needed {
                    errors.push(FieldError::required(path.field(field), ""));
                }
                return Semantic::default();
            }
            Semantic::parse(text).unwrap_or_else(|| {
                let wrong = "must be a valid semantic version";
                errors.push(FieldError::invalid(path.field(field), text, wrong));
                Semantic::default()
            })
        };
        let emulated = version("emulationVersion", false);
        let binary = version("binaryVersion", true);
        let both = ["binaryVersion", "emulationVersion"]
            .iter()
            .all(|field| !spec.text(field).is_empty());
        if both && binary < emulated {
            errors.push(FieldError::invalid(
                path.field("binaryVersion"),
                spec.text("binaryVersion"),
                "must be greater than or equal to `emulationVersion`",
            ));
        }
        let name = required(spec, "strategy", &path, errors);
        if name.is_empty() {
            return;
        }
        if name == OLDEST && emulated == Semantic::default() {
            let wrong = format!("must be specified when `strategy` is '{OLDEST}'");
            errors.push(FieldError::required(path.field("emulationVersion"), wrong));
        }
        strategy(name, &path.field("strategy"), errors);
    }

    fn validate_update(
        &self,
        _: crate::strategy::Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        immutable(
            object.at("spec"),
            old.at("spec"),
            "leaseName",
            &path,
            errors,
        );
    }

    fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
        names::config_map_key(name)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// Is it a semantic version?
pub fn is_semantic_version(text: &str) -> bool {
    Semantic::parse(text).is_some()
}

/// A semantic version, by its order: one that is not out yet comes before the one that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Semantic {
    numbers: [u64; 3],
    released: bool,
    before: Vec<Identifier>,
}

/// Numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Semantic {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let plain = text == "0" || !text.starts_with('0');
            (plain && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u64>().ok())
                .flatten()
        };
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let (text, build) = text.split_once('+').unwrap_or((text, "b"));
        let (core, before) = match text.split_once('-') {
            Some((core, before)) => (core, Some(before)),
            None => (text, None),
        };
        let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
        if !build.split('.').all(word) {
            return None;
        }
        let identifier = |text: &str| {
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                return number(text).map(Identifier::Number);
            }
            word(text).then(|| Identifier::Word(text.to_owned()))
        };
        Some(Semantic {
            numbers: numbers.try_into().ok()?,
            released: before.is_none(),
            before: before
                .map(|before| before.split('.').map(identifier).collect::<Option<_>>())
                .unwrap_or(Some(Vec::new()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order() {
        let parsed = |text| Semantic::parse(text);
        for bad in [
            "", "1", "1.2", "1.02.3", "v1.2.3", "1.2.3-", "1.2.3-01", "1.2.3+",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        let order = [
            "1.2.3-1",
            "1.2.3-a",
            "1.2.3-a.1",
            "1.2.3",
            "1.2.4+b",
            "1.10.0",
        ];
        assert!(
            order
                .windows(2)
                .all(|pair| parsed(pair[0]) < parsed(pair[1]))
        );
    }
}
