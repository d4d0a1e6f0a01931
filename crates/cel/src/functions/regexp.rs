//! Regular expressions: `matches`, `find`, `findAll`, in Go's syntax. Where Go's classes are ASCII
//! (`\d`, `\w`, `\s`, `\b`), so are these; matching takes time linear in the text, as Go's does.

use regex::Regex;

use super::{Args, Row};
use crate::value::{Fault, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    ("matches", "matches", "(string, string) -> bool", matches),
    (
        "matches",
        "matches_string",
        "string.(string) -> bool",
        matches,
    ),
    (
        "find",
        "string_find_string",
        "string.(string) -> string",
        find,
    ),
    (
        "findAll",
        "string_find_all_string",
        "string.(string) -> list(string)",
        find_all,
    ),
    (
        "findAll",
        "string_find_all_string_int",
        "string.(string, int) -> list(string)",
        find_all,
    ),
];

/// Memory one compiled pattern may take.
const SIZE: usize = 1 << 20;
/// Longest pattern: what is compiled while evaluating is paid by its length.
const LONGEST: usize = 64 << 10;

/// Compiles a pattern of Go's syntax; the error says what is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err("error parsing regexp: expression too large".to_owned());
    }
    regex::RegexBuilder::new(&from_go(pattern))
        .size_limit(SIZE)
        .dfa_size_limit(SIZE)
        .nest_limit(100)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("error parsing regexp: {reason}: `{pattern}`")
        })
}

/// Go's syntax in this engine's: ASCII classes, `\Q…\E`, `\z`, and no special sense of `[[`, `&&`, `--`
/// and `~~` within classes.
fn from_go(pattern: &str) -> String {
    let mut made = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    let mut first_in_class = false;
    while let Some(c) = chars.next() {
        let first = std::mem::take(&mut first_in_class);
        match c {
            '\\' => {
                let Some(escaped) = chars.next() else {
                    made.push('\\');
                    break;
                };
                match (escaped, class) {
                    ('d', false) => made.push_str("[0-9]"),
                    ('d', true) => made.push_str("0-9"),
                    ('D', _) => made.push_str("[^0-9]"),
                    ('w', false) => made.push_str("[0-9A-Za-z_]"),
                    ('w', true) => made.push_str("0-9A-Za-z_"),
                    ('W', _) => made.push_str("[^0-9A-Za-z_]"),
                    ('s', false) => made.push_str("[\\t\\n\\f\\r ]"),
                    ('s', true) => made.push_str("\\t\\n\\f\\r "),
                    ('S', _) => made.push_str("[^\\t\\n\\f\\r ]"),
                    ('b', false) => made.push_str("(?-u:\\b)"),
                    ('B', false) => made.push_str("(?-u:\\B)"),
                    ('Q', false) => {
                        let mut literal = String::new();
                        while let Some(c) = chars.next() {
                            if c == '\\' && chars.peek() == Some(&'E') {
                                chars.next();
                                break;
                            }
                            literal.push(c);
                        }
                        made.push_str(&regex::escape(&literal));
                    }
                    ('0'..='7', _) => {
                        let mut code = escaped.to_digit(8).unwrap_or(0);
                        for _ in 0..2 {
                            match chars.peek().and_then(|c| c.to_digit(8)) {
                                Some(digit) => {
                                    code = code * 8 + digit;
                                    chars.next();
                                }
                                None => break,
                            }
                        }
                        made.push_str(&format!("\\x{{{code:x}}}"));
                    }
                    (other, _) => {
                        made.push('\\');
                        made.push(other);
                    }
                }
            }
            '[' if !class => {
                class = true;
                first_in_class = true;
                made.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    made.push('^');
                }
            }
            ']' if class && first => made.push_str("\\]"),
            ']' if class => {
                class = false;
                made.push(']');
            }
            '[' if chars.peek() == Some(&':') => {
                // A named class ends at its own bracket.
                made.push('[');
                for c in chars.by_ref() {
                    made.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => made.push_str("\\["),
            '&' | '~' if class => {
                made.push('\\');
                made.push(c);
            }
            '-' if class && chars.peek() == Some(&'-') => made.push_str("\\-"),
            other => made.push(other),
        }
    }
    made
}

/// Runs with the pattern compiled beforehand, or compiled now.
fn with<'x, 'a, T>(
    args: Args<'x, 'a>,
    complaint: &str,
    run: impl FnOnce(&Regex, &'x str) -> T,
) -> Result<T, Fault> {
    let text = args.text(0)?;
    if let Some(regex) = args.regex {
        return Ok(run(regex, text));
    }
    let regex =
        compile(args.text(1)?).map_err(|error| Fault::new(format!("{complaint}{error}")))?;
    Ok(run(&regex, text))
}

fn matches<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, "", |regex, text| Value::Bool(regex.is_match(text)))
}

fn find<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, "Illegal regex: ", |regex, text| {
        let found = regex.find(text).map_or("", |found| found.as_str());
        Value::string(found.to_owned())
    })
}

fn find_all<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let most = if args.len() > 2 { args.int(2)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    with(args, "Illegal regex: ", |regex, text| {
        let found = regex
            .find_iter(text)
            .take(most)
            .map(|found| Value::string(found.as_str().to_owned()))
            .collect();
        Value::list(found)
    })
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn go_patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            (r"^\d+$", "٣", false),
            (r"^\d+$", "12", true),
            (r"^[\w.]+$", "a.b_1", true),
            (r"^[^\s]+$", "a b", false),
            (r"\Qa.b\E+", "a.bb", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]&&]+$", "a&", true),
            (r"^[a--]+$", "a", true),
            (r"(?i)^AbC$", "aBc", true),
            (r"\101", "A", true),
            (r"^a{2,3}$", "aaaa", false),
            (r"\bfoo\b", "a foo b", true),
        ] {
            assert_eq!(
                compile(pattern).map(|regex| regex.is_match(text)),
                Ok(expected),
                "{pattern} {text}"
            );
        }
        assert!(compile("(").is_err());
        assert!(compile("a{1,999999}").is_err());
        assert!(compile(&"(".repeat(100_000)).is_err());
    }
}
