//! YAML into the visitor of [`super::value`], with the readings of scalars that upstream's YAML
//! library has (YAML 1.1 bools, octal numbers).

use serde::de::DeserializeSeed;
use serde_saphyr::{DuplicateKeyPolicy, Error, Options};

use super::{
    DecodeError, Decoded,
    value::{Findings, Node},
};
use crate::{
    Path, Value,
    table::{Table, TypeId},
};

fn options(duplicates: DuplicateKeyPolicy) -> Options {
    let mut options = serde_saphyr::options! {
        duplicate_keys: duplicates,
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
    };
    if let Some(budget) = &mut options.budget {
        budget.max_depth = super::MAX_DEPTH;
    }
    options
}

fn text(body: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(body)
        .map_err(|_| DecodeError::Yaml("yaml: invalid leading UTF-8 octet".to_owned()))
}

fn failure(error: &Error) -> DecodeError {
    DecodeError::Yaml(format!("yaml: {error}"))
}

pub(super) fn decode(table: &Table, ty: TypeId, body: &[u8]) -> Result<Decoded, DecodeError> {
    let body = text(body)?;
    let mut findings = Findings::default();
    let value = serde_saphyr::with_deserializer_from_str_with_options(
        body,
        options(DuplicateKeyPolicy::LastWins),
        |reader| Node::root(table, ty, &mut findings, &Path::ROOT).deserialize(reader),
    )
    .map_err(|error| failure(&error))?;
    let mut decoded = findings.finish(value)?;
    // Upstream's YAML library tells of such keys by line, and before anything looks at fields. What
    // is JSON as well and has shown nothing is not read again.
    let json = body.trim_start().starts_with('{');
    if (!json || !decoded.strict.is_empty())
        && let Some(duplicate) = duplicate(body)
    {
        decoded
            .strict
            .retain(|text| !text.starts_with("duplicate field "));
        decoded.strict.insert(0, duplicate);
    }
    Ok(decoded)
}

pub(super) fn untyped(body: &[u8]) -> Result<Value, DecodeError> {
    serde_saphyr::from_str_with_options(text(body)?, options(DuplicateKeyPolicy::LastWins))
        .map_err(|error| failure(&error))
}

/// The first key given twice, as upstream's YAML library words it.
fn duplicate(body: &str) -> Option<String> {
    let found = serde_saphyr::from_str_with_options::<serde::de::IgnoredAny>(
        body,
        options(DuplicateKeyPolicy::Error),
    );
    match found {
        Err(Error::DuplicateMappingKey { key, location }) => Some(format!(
            "yaml: unmarshal errors:\n  line {}: key {:?} already set in map",
            location.line(),
            key.unwrap_or_default()
        )),
        _ => None,
    }
}
