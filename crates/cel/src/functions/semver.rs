//! Semantic versions: strict (`1.2.3-rc.1+build`), or brought into form first (`v1.2`).

use std::{cmp::Ordering, fmt, sync::Arc};

use super::{Args, Row};
use crate::value::{Fault, OpaqueValue, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    (
        "semver",
        "string_to_semver",
        "(string) -> kubernetes.Semver",
        parse,
    ),
    (
        "semver",
        "string_bool_to_semver",
        "(string, bool) -> kubernetes.Semver",
        parse,
    ),
    ("isSemver", "is_semver_string", "(string) -> bool", is),
    (
        "isSemver",
        "is_semver_string_bool",
        "(string, bool) -> bool",
        is,
    ),
    (
        "isGreaterThan",
        "semver_is_greater_than",
        "kubernetes.Semver.(kubernetes.Semver) -> bool",
        greater,
    ),
    (
        "isLessThan",
        "semver_is_less_than",
        "kubernetes.Semver.(kubernetes.Semver) -> bool",
        less,
    ),
    (
        "compareTo",
        "semver_compare_to",
        "kubernetes.Semver.(kubernetes.Semver) -> int",
        compare_to,
    ),
    (
        "major",
        "semver_major",
        "kubernetes.Semver.() -> int",
        major,
    ),
    (
        "minor",
        "semver_minor",
        "kubernetes.Semver.() -> int",
        minor,
    ),
    (
        "patch",
        "semver_patch",
        "kubernetes.Semver.() -> int",
        patch,
    ),
];

/// A version.
#[derive(Clone, Debug)]
pub struct Version {
    numbers: [u64; 3],
    /// What it comes before the release as.
    before: Arc<[Part]>,
    text: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Number(u64),
    Word(Box<str>),
}

impl Version {
    /// Which comes first; build metadata does not matter.
    pub fn precedence(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => parts(&self.before, &other.before),
            }
        })
    }
}

fn parts(a: &[Part], b: &[Part]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (a, b) {
            (Part::Number(a), Part::Number(b)) => a.cmp(b),
            (Part::Number(_), Part::Word(_)) => Ordering::Less,
            (Part::Word(_), Part::Number(_)) => Ordering::Greater,
            (Part::Word(a), Part::Word(b)) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number(text: &str, which: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {which} number {text:?}"
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!(
            "{which} number must not contain leading zeroes {text:?}"
        ));
    }
    text.parse()
        .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: value out of range"))
}

fn word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Strictly, as upstream's parser does and says.
pub(crate) fn strict(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let mut split = text.splitn(3, '.');
    let (Some(major), Some(minor), Some(rest)) = (split.next(), split.next(), split.next()) else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (rest, None),
    };
    let (patch, before) = match rest.split_once('-') {
        Some((patch, before)) => (patch, Some(before)),
        None => (rest, None),
    };
    let numbers = [
        number(major, "Major")?,
        number(minor, "Minor")?,
        number(patch, "Patch")?,
    ];
    let mut parts = Vec::new();
    for part in before.into_iter().flat_map(|before| before.split('.')) {
        if part.is_empty() {
            return Err("Prerelease is empty".to_owned());
        }
        if !word(part) {
            return Err(format!("Invalid character(s) found in prerelease {part:?}"));
        }
        parts.push(if part.bytes().all(|b| b.is_ascii_digit()) {
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!(
                    "Numeric PreRelease version must not contain leading zeroes {part:?}"
                ));
            }
            Part::Number(number(part, "Prerelease")?)
        } else {
            Part::Word(part.into())
        });
    }
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !word(part) {
            return Err(format!(
                "Invalid character(s) found in build meta data {part:?}"
            ));
        }
    }
    Ok(Version {
        numbers,
        before: parts.into(),
        text: text.into(),
    })
}

/// Without a leading `v`, without leading zeros, with as many numbers as there have to be.
fn brought_into_form(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() < 2 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            if trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            }
        })
        .collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    strict(&parts.join("."))
}

fn read(args: Args<'_, '_>) -> Result<Result<Version, String>, Fault> {
    let text = args.text(0)?;
    let loose = match args.values.get(1) {
        None => false,
        Some(Value::Bool(loose)) => *loose,
        Some(_) => return Err(Fault::no_such_overload()),
    };
    Ok(if loose {
        brought_into_form(text)
    } else {
        strict(text)
    })
}

fn parse<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let version = read(args)?.map_err(Fault::new)?;
    Ok(Value::opaque(OpaqueValue::Semver(version)))
}

fn is<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn version<'x>(args: Args<'x, '_>, place: usize) -> Result<&'x Version, Fault> {
    match args.opaque(place)? {
        OpaqueValue::Semver(version) => Ok(version),
        _ => Err(Fault::no_such_overload()),
    }
}

fn order(args: Args<'_, '_>) -> Result<Ordering, Fault> {
    Ok(version(args, 0)?.precedence(version(args, 1)?))
}

fn greater<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn less<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn compare_to<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(order(args)? as i64))
}

fn part<'a>(args: Args<'_, 'a>, place: usize) -> Outcome<'a> {
    Ok(Value::Int(version(args, 0)?.numbers[place] as i64))
}

fn major<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, 0)
}

fn minor<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, 1)
}

fn patch<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, 2)
}
