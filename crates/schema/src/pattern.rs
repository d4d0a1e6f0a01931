//! Regular expressions with the meaning they have upstream (RE2 as Go has it): classes such as `\d`
//! are ASCII, a brace that counts nothing is itself, brackets and dashes in a class are themselves.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Memory one expression may take when compiled; Go bounds repetitions to the same end.
const MAX_COMPILED: usize = 10 << 20;

/// A longer text is no expression: parsing takes a thousand times its size.
const MAX_TEXT: usize = 64 << 10;

/// More classes by name than this in one expression would take too much memory to look at.
const MAX_NAMED_CLASSES: usize = 4096;

/// The most repetitions Go takes.
const MAX_REPEAT: u32 = 1000;

/// A regular expression, compiled when first used: most schemas' patterns rarely are.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Of this text, which is not looked at yet.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            regex: OnceLock::new(),
        }
    }

    /// About how much the expression takes when compiled (ranges of characters, with repetitions), or
    /// why the text is none. It is parsed alone: a schema may have tens of thousands.
    pub fn check(text: &str) -> Result<u64, String> {
        if text.len() > MAX_TEXT
            || text.matches(r"\p").count() > MAX_NAMED_CLASSES
            || text.matches(r"\P").count() > MAX_NAMED_CLASSES
        {
            return Err("error parsing regexp: expression too large".to_owned());
        }
        let parsed = regex_syntax::Parser::new().parse(&translate(text)?);
        let hir = parsed.map_err(|error| wording(&error.to_string()))?;
        if repeats_within(&hir, MAX_REPEAT) {
            Ok(weight(&hir))
        } else {
            Err("error parsing regexp: invalid repeat count".to_owned())
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Does it match somewhere in `value`? None where it is no regular expression.
    pub fn is_match(&self, value: &str) -> Option<bool> {
        let regex = self.regex.get_or_init(|| compile(&self.text).ok());
        regex.as_ref().map(|regex| regex.is_match(value))
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let translated = translate(text)?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| wording(&error.to_string()))
}

fn wording(error: &str) -> String {
    format!("error parsing regexp: {}", last_line(error))
}

/// Do repetitions within repetitions stay within Go's bound? The parser bounds the depth.
fn repeats_within(hir: &Hir, most: u32) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let count = repetition.max.unwrap_or(repetition.min).max(1);
            count <= most && repeats_within(&repetition.sub, most / count)
        }
        HirKind::Capture(capture) => repeats_within(&capture.sub, most),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().all(|part| repeats_within(part, most))
        }
        _ => true,
    }
}

/// Ranges of characters in an expression, repeated ones as often as they are. The parser bounds the
/// depth.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let count = repetition.max.unwrap_or(repetition.min).max(1);
            weight(&repetition.sub).saturating_mul(u64::from(count))
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(weight(part))),
    }
}

/// The library's messages draw the place over several lines; the last one says what is wrong.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line)
}

/// Go's expression in this library's syntax.
pub fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 8);
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '\\' => at = escape(&chars, at, false, &mut out),
            '[' => at = class(&chars, at, &mut out),
            '{' => match repetition(&chars[at..]) {
                Some((length, most)) => {
                    if most > MAX_REPEAT {
                        let shown: String = chars[at..at + length].iter().collect();
                        return Err(format!(
                            "error parsing regexp: invalid repeat count: `{shown}`"
                        ));
                    }
                    out.extend(&chars[at..at + length]);
                    at += length;
                }
                None => {
                    out.push_str("\\{");
                    at += 1;
                }
            },
            '}' => {
                out.push_str("\\}");
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    Ok(out)
}

/// The length of `{n}`, `{n,}` or `{n,m}`, and the greatest number in it.
fn repetition(chars: &[char]) -> Option<(usize, u32)> {
    let end = chars.iter().position(|c| *c == '}')?;
    let inner: String = chars[1..end].iter().collect();
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than a number holds are too many repetitions in any case.
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let most = match inner.split_once(',') {
        None => number(&inner)?,
        Some((least, "")) => number(least)?,
        Some((least, most)) => number(least)?.max(number(most)?),
    };
    Some((end + 1, most))
}

/// One escape, outside or inside a class; answers where to go on.
fn escape(chars: &[char], at: usize, in_class: bool, out: &mut String) -> usize {
    let Some(&next) = chars.get(at + 1) else {
        out.push('\\');
        return at + 1;
    };
    let set = match next {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        's' | 'S' => "\\t\\n\\f\\r ",
        'b' if !in_class => {
            out.push_str("(?-u:\\b)");
            return at + 2;
        }
        'Q' if !in_class => {
            let mut end = at + 2;
            while end < chars.len() && !(chars[end] == '\\' && chars.get(end + 1) == Some(&'E')) {
                end += 1;
            }
            let literal: String = chars[at + 2..end].iter().collect();
            out.push_str(&regex::escape(&literal));
            return (end + 2).min(chars.len());
        }
        '<' | '>' => {
            out.push(next);
            return at + 2;
        }
        _ => {
            out.push('\\');
            out.push(next);
            return at + 2;
        }
    };
    match (next.is_ascii_uppercase(), in_class) {
        (true, _) => out.push_str(&format!("[^{set}]")),
        (false, true) => out.push_str(set),
        (false, false) => out.push_str(&format!("[{set}]")),
    }
    at + 2
}

/// A bracketed class; answers where to go on.
fn class(chars: &[char], start: usize, out: &mut String) -> usize {
    out.push('[');
    let mut at = start + 1;
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    let mut first = true;
    while let Some(&c) = chars.get(at) {
        match c {
            ']' if !first => {
                out.push(']');
                return at + 1;
            }
            ']' => {
                out.push_str("\\]");
                at += 1;
            }
            '\\' => at = escape(chars, at, true, out),
            '[' if chars.get(at + 1) == Some(&':') => {
                // A named class runs to its `:]`.
                let end = (at + 2..chars.len())
                    .find(|i| chars[*i] == ':' && chars.get(i + 1) == Some(&']'));
                match end {
                    Some(end) => {
                        out.extend(&chars[at..end + 2]);
                        at = end + 2;
                    }
                    None => {
                        out.push_str("\\[");
                        at += 1;
                    }
                }
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                at += 1;
            }
            // Two dashes would be a difference of classes.
            '-' if first
                || chars
                    .get(at + 1)
                    .is_none_or(|next| matches!(next, ']' | '-')) =>
            {
                out.push_str("\\-");
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
        first = false;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases: [(&str, &str, bool); 20] = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "१२", false),
            (r"^\w$", "é", false),
            (r"^[\w-]+$", "a-b_9", true),
            (r"^[\D]$", "a", true),
            (r"^\s$", "\u{a0}", false),
            (r"^a{$", "a{", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{1,2}$", "aa", true),
            (r"^{}$", "{}", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[a--]$", "-", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^a\/b$", "a/b", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-name", true),
            (r"^((\*\.)?[a-z]+)$", "*.example", true),
        ];
        for (pattern, value, expected) in cases {
            let found = Pattern::new(pattern).is_match(value);
            assert_eq!(found, Some(expected), "{pattern} on {value}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["(", "a**b(", "a{1001}", "(?=x)", r"\1", "[z-a]"] {
            assert!(Pattern::check(pattern).is_err(), "{pattern}");
            assert_eq!(Pattern::new(pattern).is_match("a"), None);
        }
        assert!(Pattern::check("((a{0,100}){0,100}){0,100}").is_err());
        assert!(Pattern::check("(a{0,100}){0,10}").is_ok());
    }

    #[test]
    fn how_much_a_pattern_takes_is_told_without_compiling_it() {
        let weight = |text: &str| Pattern::check(text).unwrap();
        assert!(weight("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$") < 20);
        assert_eq!(weight("[ab]{500}"), 500);
        assert!(weight(r"\pL{100}") > 50_000);
        for large in ["x".repeat(MAX_TEXT + 1), r"\pL".repeat(5000)] {
            assert!(Pattern::check(&large).unwrap_err().contains("too large"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(text in "\\PC{0,40}", value in "\\PC{0,20}") {
            let _ = Pattern::new(&text).is_match(&value);
        }
    }
}
