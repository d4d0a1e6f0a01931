//! The leaves of JSON that are text with a form: times, durations, base64, quantities.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};

use crate::table::Table;

/// What upstream says of a text that is no quantity.
pub(crate) const QUANTITY_FORM: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// How a quantity is written canonically; the engine itself knows no quantities.
pub type QuantityForm = fn(&str) -> Option<String>;

impl Table {
    /// Gives the engine the canonical form of quantities, which decoding then brings them into.
    #[must_use]
    pub fn with_quantity_form(mut self, form: QuantityForm) -> Self {
        self.quantity_form = Some(form);
        self
    }

    pub(crate) fn quantity<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, String> {
        match self.quantity_form {
            Some(form) => form(text).map(Cow::Owned).ok_or(()),
            None if looks_like_quantity(text) => Ok(Cow::Borrowed(text)),
            None => Err(()),
        }
        .map_err(|()| QUANTITY_FORM.to_owned())
    }
}

fn looks_like_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    digits > 0
        && unsigned[digits..]
            .bytes()
            .all(|b| b.is_ascii_digit() || b"eEinumkKMGTP+-".contains(&b))
}

fn parse(text: &str) -> Result<Timestamp, String> {
    let shaped = text.len() >= 20
        && text.as_bytes()[10] == b'T'
        && text.as_bytes()[4] == b'-'
        && text.as_bytes()[13] == b':';
    shaped
        .then(|| text.parse::<Timestamp>().ok())
        .flatten()
        .ok_or_else(|| {
            format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
            )
        })
}

/// `2006-01-02T15:04:05Z` with plausible digits: what nearly every time already is.
fn is_plain(text: &str) -> bool {
    let b = text.as_bytes();
    if b.len() != 20 || b[19] != b'Z' {
        return false;
    }
    let two = |at: usize| -> Option<u8> {
        let (tens, ones) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then_some(tens * 10 + ones)
    };
    let within = |at: usize, low: u8, high: u8| two(at).is_some_and(|n| (low..=high).contains(&n));
    b[4] == b'-'
        && b[7] == b'-'
        && b[10] == b'T'
        && b[13] == b':'
        && b[16] == b':'
        && within(0, 0, 99)
        && within(2, 0, 99)
        && within(5, 1, 12)
        // Whether a month has 29 to 31 days is left to the full parser.
        && within(8, 1, 28)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 59)
}

/// Checks a `Time`; gives its one written form (UTC, whole seconds) where it has another.
pub(crate) fn time(text: &str) -> Result<Option<String>, String> {
    if is_plain(text) {
        return Ok(None);
    }
    let fixed = seconds_form(parse(text)?.as_second());
    Ok((fixed != text).then_some(fixed))
}

/// Checks a `MicroTime`; gives its one written form (UTC, six decimals) where it has another.
pub(crate) fn micro_time(text: &str) -> Result<Option<String>, String> {
    let time = parse(text)?;
    let fixed = micros_form(time.as_second(), time.subsec_nanosecond());
    Ok((fixed != text).then_some(fixed))
}

/// Seconds and nanoseconds since 1970 of a time in text.
pub(crate) fn instant(text: &str) -> Result<(i64, i32), String> {
    let time = parse(text)?;
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    Ok((seconds, nanos))
}

fn civil(seconds: i64) -> Option<jiff::civil::DateTime> {
    Some(
        Timestamp::from_second(seconds)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .datetime(),
    )
}

/// Seconds since 1970 as a `Time`; times no calendar has become the zero time.
pub(crate) fn seconds_form(seconds: i64) -> String {
    match civil(seconds) {
        Some(t) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        ),
        None => "0001-01-01T00:00:00Z".to_owned(),
    }
}

/// Seconds and nanoseconds since 1970 as a `MicroTime`.
pub(crate) fn micros_form(seconds: i64, nanos: i32) -> String {
    let (seconds, nanos) = if nanos < 0 {
        (seconds - 1, nanos + 1_000_000_000)
    } else {
        (seconds, nanos)
    };
    let mut out = seconds_form(seconds);
    out.pop();
    out.push_str(&format!(".{:06}Z", nanos / 1000));
    out
}

/// Checks standard base64.
pub(crate) fn base64(text: &str) -> Result<(), String> {
    let mut buffer = [0u8; 1536];
    let mut at = 0;
    // In pieces on the stack: a Secret can hold a megabyte that is only to be checked.
    for piece in text.as_bytes().chunks(2048) {
        STANDARD
            .decode_slice(piece, &mut buffer)
            .map_err(|error| illegal_base64(&error, at))?;
        at += piece.len();
    }
    Ok(())
}

fn illegal_base64(error: &base64::DecodeSliceError, at: usize) -> String {
    let offset = match error {
        base64::DecodeSliceError::DecodeError(base64::DecodeError::InvalidByte(offset, _))
        | base64::DecodeSliceError::DecodeError(base64::DecodeError::InvalidLastSymbol(
            offset,
            _,
        )) => at + offset,
        _ => at,
    };
    format!("illegal base64 data at input byte {offset}")
}

/// The bytes of standard base64.
pub(crate) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Standard base64 of bytes.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Nanoseconds of a Go duration: `1h2m3.5s`, `300ms`, `-1us`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    let mut exact: i128 = 0;
    while !rest.is_empty() {
        let number = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (digits, tail) = rest.split_at(number);
        let unit = tail
            .bytes()
            .take_while(|b| !b.is_ascii_digit() && *b != b'.')
            .count();
        let (unit, tail) = tail.split_at(unit);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        match digits.parse::<i64>() {
            Ok(whole) => exact += i128::from(whole) * scale,
            Err(_) => total += digits.parse::<f64>().map_err(|_| invalid())? * scale as f64,
        }
        rest = tail;
    }
    let nanos = exact + total.round() as i128;
    i64::try_from(if negative { -nanos } else { nanos }).map_err(|_| invalid())
}

/// A Go duration as Go writes it: `1m30s`, `1.5ms`, `0s`.
pub(crate) fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let decimal = |value: u64, scale: u64, unit: &str| {
        let (whole, rest) = (value / scale, value % scale);
        if rest == 0 {
            return format!("{whole}{unit}");
        }
        let width = scale.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
    };
    let text = if all < 1_000 {
        format!("{all}ns")
    } else if all < 1_000_000 {
        decimal(all, 1_000, "µs")
    } else if all < 1_000_000_000 {
        decimal(all, 1_000_000, "ms")
    } else {
        let seconds = all / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let tail = decimal(all % 60_000_000_000, 1_000_000_000, "s");
        match (hours, minutes) {
            (0, 0) => tail,
            (0, m) => format!("{m}m{tail}"),
            (h, m) => format!("{h}h{m}m{tail}"),
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests;
