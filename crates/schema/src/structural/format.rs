//! The formats of texts that schemas may ask for, with upstream's reading of each. Others are not
//! checked.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use regex::Regex;

/// What is checked of texts (compared without dashes).
const TEXT: [&str; 27] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
    "date-time",
];

/// Is this format one that means something for values of this type?
pub fn is_known(format: &str, kind: &str) -> bool {
    match kind {
        "" | "string" => TEXT.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

macro_rules! regexes {
    ($($name:ident: $text:expr;)*) => {
        $(static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());)*
    };
}

regexes! {
    HOSTNAME: r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    UUID: r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}$";
    CREDIT_CARD: r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";
    HEX_COLOR: r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR: r"^rgb\([ \t\n\f\r]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\f\r]*,[ \t\n\f\r]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\f\r]*,[ \t\n\f\r]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\f\r]*\)$";
    BASE64: r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    SSN: r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    DATE: r"^([0-9]{4})-([0-9]{2})-([0-9]{2})$";
    TIME: r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    WORDY_DURATION: r"(?i)([0-9]+)[ \t]*([A-Za-zµ]+)";
    EMAIL: r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$";
    LABEL: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    SUBDOMAIN: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
}

fn is(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// Has the text this format? True for formats that are not checked.
pub fn has(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => is_request_uri(text),
        "email" => is_email(text),
        "hostname" => {
            is(&HOSTNAME, text) && text.len() <= 255 && text.split('.').all(|p| p.len() <= 63)
        }
        "ipv4" => is_ipv4(text),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is(&UUID, text),
        "uuid3" => uuid(text).is_some_and(|(version, _)| version == "3"),
        "uuid4" => uuid(text).is_some_and(|(version, variant)| version == "4" && rfc(&variant)),
        "uuid5" => uuid(text).is_some_and(|(version, variant)| version == "5" && rfc(&variant)),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => is(&SSN, text),
        "hexcolor" => is(&HEX_COLOR, text),
        "rgbcolor" => is(&RGB_COLOR, text),
        "byte" => is(&BASE64, text),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => text.len() <= 63 && is(&LABEL, text),
        "k8slongname" => text.len() <= 253 && is(&SUBDOMAIN, text),
        _ => true,
    }
}

fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    if text == "*" || text.starts_with('/') {
        return valid_escapes(text);
    }
    // Not relative: a scheme comes first.
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let mut letters = scheme.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && rest.starts_with('/')
        && authority(rest)
        && valid_escapes(rest)
        || (!scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') && opaque(scheme))
}

fn opaque(scheme: &str) -> bool {
    scheme
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn authority(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("//") else {
        return true;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    if host.contains([' ', '"', '<', '>']) {
        return false;
    }
    let port = match host.rfind(']') {
        Some(end) => host[end + 1..].strip_prefix(':'),
        None => host.split_once(':').map(|(_, port)| port),
    };
    port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

fn valid_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%'
            || bytes
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_email(text: &str) -> bool {
    let text = text.trim();
    // A name before the address in angle brackets is part of the form.
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(open)) => open.get(at + 1..).unwrap_or_default(),
        _ => text,
    };
    is(&EMAIL, address)
}

fn is_ipv4(text: &str) -> bool {
    text.contains('.') && text.parse::<Ipv4Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let length = length
        .parse::<u8>()
        .ok()
        .filter(|_| !length.starts_with('+'));
    if address.parse::<Ipv4Addr>().is_ok() {
        return length.is_some_and(|length| length <= 32);
    }
    address.parse::<Ipv6Addr>().is_ok() && length.is_some_and(|length| length <= 128)
}

/// 6, 8 or 20 bytes, with colons or dashes between bytes or dots between pairs.
fn is_mac(text: &str) -> bool {
    let hex =
        |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = |separator: char| -> Vec<&str> { text.split(separator).collect() };
    for separator in [':', '-'] {
        let parts = parts(separator);
        if matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| hex(part, 2)) {
            return true;
        }
    }
    let parts = parts('.');
    matches!(parts.len(), 3 | 4 | 10) && parts.iter().all(|part| hex(part, 4))
}

/// The version and variant digits of a UUID.
fn uuid(text: &str) -> Option<(String, String)> {
    let found = UUID.as_ref()?.captures(text)?;
    Some((found[1].to_lowercase(), found[2].to_lowercase()))
}

fn rfc(variant: &str) -> bool {
    matches!(variant, "8" | "9" | "a" | "b")
}

fn digits(text: &str) -> Vec<char> {
    text.chars()
        .filter(|c| !c.is_ascii_whitespace() && *c != '-')
        .collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = digits(text);
    let mut sum = 0;
    for (at, c) in text.iter().enumerate() {
        let value = match c {
            'X' if at == 9 => 10,
            c => match c.to_digit(10) {
                Some(digit) => digit,
                None => return false,
            },
        };
        sum += (at as u32 + 1) * value;
    }
    text.len() == 10 && sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let values: Option<Vec<u32>> = digits(text).iter().map(|c| c.to_digit(10)).collect();
    let Some(values) = values.filter(|values| values.len() == 13) else {
        return false;
    };
    let sum: u32 = values[..12]
        .iter()
        .enumerate()
        .map(|(at, value)| if at % 2 == 0 { *value } else { 3 * value })
        .sum();
    values[12] == (10 - sum % 10) % 10
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !is(&CREDIT_CARD, &digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0');
            match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    is(&DATE, text) && text.parse::<jiff::civil::Date>().is_ok()
}

/// RFC 3339's `date-time`, in either case.
fn is_date_time(text: &str) -> bool {
    if text.len() < 4 {
        return false;
    }
    let lower = text.to_lowercase();
    let Some((date, time)) = lower.split_once('t') else {
        return false;
    };
    if !is_date(date) {
        return false;
    }
    let Some(found) = TIME.as_ref().and_then(|regex| regex.captures(time)) else {
        return false;
    };
    let number = |at: usize| found[at].parse::<u32>().unwrap_or(u32::MAX);
    number(1) <= 23 && number(2) <= 59 && number(3) <= 59
}

/// Go's durations, and numbers with words for units.
fn is_duration(text: &str) -> bool {
    if crate::text::parse_duration(text).is_ok() {
        return true;
    }
    const WORDS: [&str; 22] = [
        "ns",
        "nano",
        "us",
        "µs",
        "micro",
        "ms",
        "milli",
        "s",
        "sec",
        "m",
        "min",
        "h",
        "hr",
        "hour",
        "d",
        "day",
        "w",
        "wk",
        "week",
        "nanosecond",
        "second",
        "minute",
    ];
    let Some(regex) = WORDY_DURATION.as_ref() else {
        return false;
    };
    regex.captures_iter(text).any(|found| {
        let unit = found[2].to_lowercase();
        WORDS.iter().any(|word| {
            unit == *word
                || (word.len() > 2 && unit.starts_with(word))
                || unit == format!("{word}s")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let cases: [(&str, &str, &[&str], &[&str]); 21] = [
            (
                "uri",
                "",
                &["http://a/b", "/a", "a:b"],
                &["a", "", "http://a:b/", "ht tp://a"],
            ),
            ("email", "", &["a@b.c", "A <a@b>"], &["a", "@b", "a@"]),
            ("hostname", "", &["a.example", "localhost"], &["-a", "a..b"]),
            ("ipv4", "", &["10.0.0.1"], &["10.0.0", "::1", "256.0.0.1"]),
            ("ipv6", "", &["::1", "fe80::1"], &["10.0.0.1", "g::"]),
            (
                "cidr",
                "",
                &["10.0.0.0/8", "::/0"],
                &["10.0.0.0", "10.0.0.0/33"],
            ),
            (
                "mac",
                "",
                &["00:11:22:33:44:55", "0011.2233.4455"],
                &["00:11", "x"],
            ),
            (
                "uuid",
                "",
                &["123e4567-e89b-12d3-a456-426614174000"],
                &["123e4567"],
            ),
            (
                "uuid4",
                "",
                &["123e4567-e89b-42d3-a456-426614174000"],
                &["123e4567-e89b-12d3-a456-426614174000"],
            ),
            (
                "isbn",
                "",
                &["0321751043", "978-0321751041"],
                &["0321751044"],
            ),
            (
                "creditcard",
                "",
                &["4111 1111 1111 1111"],
                &["4111 1111 1111 1112"],
            ),
            ("ssn", "", &["123-45-6789"], &["123"]),
            ("hexcolor", "", &["#FFF", "00ff00"], &["#ff"]),
            ("rgbcolor", "", &["rgb(0, 1,255)"], &["rgb(0,0,256)"]),
            ("byte", "", &["YQ=="], &["YQ="]),
            ("date", "", &["2020-02-29"], &["2021-02-29", "2020-2-1"]),
            (
                "date-time",
                "",
                &["2020-01-02T03:04:05Z", "2020-01-02t03:04:05.1+01:00"],
                &["2020-01-02", "2020-01-02T25:00:00Z"],
            ),
            ("duration", "", &["1m30s", "2 days", "22 ns"], &["x", "12"]),
            ("k8s-short-name", "", &["a-b"], &["A", "-a"]),
            ("k8s-long-name", "", &["a.b"], &["a..b"]),
            ("nothing", "", &["whatever"], &[]),
        ];
        for (format, _, good, bad) in cases {
            for text in good {
                assert!(has(format, text), "{format}: {text}");
            }
            for text in bad {
                assert!(!has(format, text), "{format}: {text}");
            }
        }
        assert!(is_known("date-time", "string") && !is_known("date", "integer"));
        assert!(is_known("int32", "integer") && !is_known("hopeless", "string"));
    }
}
