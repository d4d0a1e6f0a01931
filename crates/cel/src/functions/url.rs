//! URLs: what Go's `net/url` takes for a request's URI, and its parts.

use std::{collections::BTreeMap, sync::Arc};

use super::{Args, Row};
use crate::value::{Fault, Key, OpaqueValue, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    ("url", "string_to_url", "(string) -> kubernetes.URL", parse),
    ("isURL", "is_url_string", "(string) -> bool", is),
    (
        "getScheme",
        "url_get_scheme",
        "kubernetes.URL.() -> string",
        scheme,
    ),
    (
        "getHost",
        "url_get_host",
        "kubernetes.URL.() -> string",
        host,
    ),
    (
        "getHostname",
        "url_get_hostname",
        "kubernetes.URL.() -> string",
        hostname,
    ),
    (
        "getPort",
        "url_get_port",
        "kubernetes.URL.() -> string",
        port,
    ),
    (
        "getEscapedPath",
        "url_get_escaped_path",
        "kubernetes.URL.() -> string",
        escaped_path,
    ),
    (
        "getQuery",
        "url_get_query",
        "kubernetes.URL.() -> map(string, list(string))",
        query,
    ),
];

/// An absolute URL or an absolute path.
#[derive(Clone, Debug)]
pub struct Url {
    /// As it was given.
    pub text: Arc<str>,
    scheme: Arc<str>,
    host: Arc<str>,
    path: Arc<str>,
    query: Arc<str>,
}

/// Undoes `%` escapes; with `plus`, `+` is a blank, as in queries.
fn unescaped(text: &str, plus: bool) -> Option<Vec<u8>> {
    let mut made = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        made.push(match b {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' if plus => b' ',
            b => b,
        });
    }
    Some(made)
}

impl Url {
    /// As Go's `ParseRequestURI`: absolute, or an absolute path.
    pub(super) fn parse_request(text: &str) -> Result<Self, String> {
        let failed = |what: &str| format!("parse {text:?}: {what}");
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(failed("net/url: invalid control character in URL"));
        }
        if text.is_empty() {
            return Err(failed("empty url"));
        }
        if text == "*" {
            return Ok(Self::of(text, "", "", "*", ""));
        }
        let (scheme, rest) = scheme_of(text).map_err(failed)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err(failed("invalid URI for request"));
            }
            // An opaque URL (`mailto:x`) has neither host nor path.
            return Ok(Self::of(text, &scheme.to_ascii_lowercase(), "", "", query));
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(authority) if !scheme.is_empty() || !rest.starts_with("///") => {
                let end = authority.find('/').unwrap_or(authority.len());
                let (authority, path) = authority.split_at(end);
                (host_of(authority).map_err(|what| failed(&what))?, path)
            }
            _ => (String::new(), rest),
        };
        if unescaped(path, false).is_none() {
            return Err(failed(&format!(
                "invalid URL escape {:?}",
                bad_escape(path)
            )));
        }
        Ok(Self::of(
            text,
            &scheme.to_ascii_lowercase(),
            &host,
            path,
            query,
        ))
    }

    fn of(text: &str, scheme: &str, host: &str, path: &str, query: &str) -> Self {
        Self {
            text: text.into(),
            scheme: scheme.into(),
            host: host.into(),
            path: path.into(),
            query: query.into(),
        }
    }

    fn without_fragment(mut self) -> Self {
        if let Some((path, _)) = self.path.split_once('#') {
            self.path = path.into();
        }
        if let Some((query, _)) = self.query.split_once('#') {
            self.query = query.into();
        }
        self
    }
}

fn bad_escape(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape = rest.get(at..(at + 3).min(rest.len())).unwrap_or("%");
        if unescaped(escape, false).is_none() {
            return escape;
        }
        rest = &rest[at + 3..];
    }
    ""
}

/// The scheme, if there is one, and what follows it.
fn scheme_of(text: &str) -> Result<(&str, &str), &'static str> {
    for (place, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if place > 0 => {}
            ':' if place == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&text[..place], &text[place + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

/// The host with its port, out of an authority with or without user information.
fn host_of(authority: &str) -> Result<String, String> {
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
            if !user.bytes().all(allowed) || unescaped(user, false).is_none() {
                return Err("net/url: invalid userinfo".to_owned());
            }
            host
        }
        None => authority,
    };
    let port = if host.starts_with('[') {
        let (_, after) = host
            .rsplit_once(']')
            .ok_or("missing ']' in host".to_owned())?;
        after
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let digits = port.strip_prefix(':').unwrap_or("");
    if !(port.is_empty() || port.starts_with(':')) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host
        .chars()
        .find(|c| c.is_ascii() && matches!(c, ' ' | '^' | '{' | '}' | '|' | '\\' | '`'))
    {
        return Err(format!(
            "invalid character {:?} in host name",
            bad.to_string()
        ));
    }
    let host = unescaped(host, false)
        .ok_or_else(|| format!("invalid URL escape {:?}", bad_escape(host)))?;
    String::from_utf8(host).map_err(|_| "invalid host".to_owned())
}

fn parse<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let url = Url::parse_request(args.text(0)?).map_err(|error| {
        Fault::new(format!(
            "URL parse error during conversion from string: {error}"
        ))
    })?;
    Ok(Value::opaque(OpaqueValue::Url(url.without_fragment())))
}

fn is<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(Url::parse_request(args.text(0)?).is_ok()))
}

fn url<'x>(args: Args<'x, '_>) -> Result<&'x Url, Fault> {
    match args.opaque(0)? {
        OpaqueValue::Url(url) => Ok(url),
        _ => Err(Fault::no_such_overload()),
    }
}

fn scheme<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(url(args)?.scheme.clone()))
}

fn host<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(url(args)?.host.clone()))
}

/// The host without port and brackets, and the port.
fn split_port(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, after.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn hostname<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(split_port(&url(args)?.host).0.to_owned()))
}

fn port<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(split_port(&url(args)?.host).1.to_owned()))
}

/// The path with what a path cannot hold escaped, and what was escaped left so.
fn escaped_path<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let path = &url(args)?.path;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&b);
    let mut escaped = String::with_capacity(path.len());
    for b in path.bytes() {
        if plain(b) {
            escaped.push(char::from(b));
        } else {
            escaped.push_str(&format!("%{b:02X}"));
        }
    }
    Ok(Value::string(escaped))
}

fn query<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut values: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url(args)?.query.split('&') {
        // As Go: pairs with a semicolon or a bad escape are left out.
        if pair.is_empty() || pair.contains(';') {
            continue;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |text| unescaped(text, true).map(|b| String::from_utf8_lossy(&b).into_owned());
        if let (Some(name), Some(value)) = (read(name), read(value)) {
            values.entry(name).or_default().push(Value::string(value));
        }
    }
    Ok(Value::map(values.into_iter().map(|(name, values)| {
        (Key::String(name.into()), Value::list(values))
    })))
}
