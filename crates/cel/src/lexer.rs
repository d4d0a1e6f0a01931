//! Tokens of an expression's text.

use crate::source::Issues;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    Ident,
    /// A name in backticks.
    Quoted,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    True,
    False,
    Null,
    In,
    EqualEqual,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme<'t> {
    pub token: Token,
    pub text: &'t str,
    /// Code points before it.
    pub offset: u32,
}

/// All tokens, the last being [`Token::End`]. What is no token is reported and left out.
pub(crate) fn lex<'t>(text: &'t str, issues: &mut Issues) -> Vec<Lexeme<'t>> {
    let mut lexemes = Vec::new();
    let mut rest = text;
    let mut offset = 0u32;
    while let Some(c) = rest.chars().next() {
        let blank = rest
            .bytes()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0x0c))
            .count();
        let skipped = if blank > 0 {
            blank
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            0
        };
        if skipped > 0 {
            offset += points(&rest[..skipped]);
            rest = &rest[skipped..];
            continue;
        }
        let length = match token(rest) {
            Some((token, length)) => {
                lexemes.push(Lexeme {
                    token,
                    text: &rest[..length],
                    offset,
                });
                length
            }
            None => {
                let length = unrecognised(rest, c);
                issues.report(
                    Some(offset),
                    format!(
                        "Syntax error: token recognition error at: '{}'",
                        &rest[..length]
                            .replace('\n', "\\n")
                            .replace('\t', "\\t")
                            .replace('\r', "\\r")
                    ),
                );
                length
            }
        };
        offset += points(&rest[..length]);
        rest = &rest[length..];
    }
    lexemes.push(Lexeme {
        token: Token::End,
        text: "<EOF>",
        offset,
    });
    lexemes
}

fn points(text: &str) -> u32 {
    text.chars().count() as u32
}

/// How much is given up on: a string that does not end is given up to its line's end, half an operator
/// together with what follows it.
fn unrecognised(rest: &str, first: char) -> usize {
    let prefix = rest
        .bytes()
        .take_while(|b| b"bBrR".contains(b))
        .count()
        .min(2);
    if matches!(rest.as_bytes().get(prefix), Some(b'"' | b'\'')) {
        return rest.find('\n').unwrap_or(rest.len()).max(1);
    }
    let after = match first {
        '=' | '&' | '|' => rest[1..].chars().next().map_or(0, char::len_utf8),
        _ => 0,
    };
    first.len_utf8() + after
}

fn token(rest: &str) -> Option<(Token, usize)> {
    let bytes = rest.as_bytes();
    let at = |place: usize| bytes.get(place).copied().unwrap_or(0);
    if let Some(found) = quoted(rest) {
        return Some(found);
    }
    let two = match (at(0), at(1)) {
        (b'=', b'=') => Some(Token::EqualEqual),
        (b'!', b'=') => Some(Token::NotEqual),
        (b'<', b'=') => Some(Token::LessEqual),
        (b'>', b'=') => Some(Token::GreaterEqual),
        (b'&', b'&') => Some(Token::And),
        (b'|', b'|') => Some(Token::Or),
        _ => None,
    };
    if let Some(two) = two {
        return Some((two, 2));
    }
    let one = match at(0) {
        b'0'..=b'9' => return Some(number(bytes)),
        b'.' if at(1).is_ascii_digit() => return Some(number(bytes)),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
            let length = bytes
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
                .count();
            let token = match &rest[..length] {
                "true" => Token::True,
                "false" => Token::False,
                "null" => Token::Null,
                "in" => Token::In,
                _ => Token::Ident,
            };
            return Some((token, length));
        }
        b'`' => {
            let inner = rest[1..]
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || b"_.-/ ".contains(b))
                .count();
            return (inner > 0 && at(inner + 1) == b'`').then_some((Token::Quoted, inner + 2));
        }
        b'<' => Token::Less,
        b'>' => Token::Greater,
        b'[' => Token::OpenBracket,
        b']' => Token::CloseBracket,
        b'{' => Token::OpenBrace,
        b'}' => Token::CloseBrace,
        b'(' => Token::OpenParen,
        b')' => Token::CloseParen,
        b'.' => Token::Dot,
        b',' => Token::Comma,
        b'-' => Token::Minus,
        b'!' => Token::Not,
        b'?' => Token::Question,
        b':' => Token::Colon,
        b'+' => Token::Plus,
        b'*' => Token::Star,
        b'/' => Token::Slash,
        b'%' => Token::Percent,
        _ => return None,
    };
    Some((one, 1))
}

/// A string or bytes literal, if one stands here and ends.
fn quoted(rest: &str) -> Option<(Token, usize)> {
    let bytes = rest.as_bytes();
    let mut start = 0;
    let mut token = Token::String;
    if matches!(bytes.first(), Some(b'b' | b'B')) {
        token = Token::Bytes;
        start += 1;
    }
    let raw = matches!(bytes.get(start), Some(b'r' | b'R'));
    start += usize::from(raw);
    let quote = *bytes.get(start).filter(|b| matches!(b, b'"' | b'\''))?;
    let triple = [quote; 3];
    if bytes[start..].starts_with(&triple) {
        let mut place = start + 3;
        loop {
            let here = bytes.get(place)?;
            if *here == b'\\' && !raw {
                place += escape(&bytes[place..])?;
            } else if bytes[place..].starts_with(&triple) {
                return Some((token, place + 3));
            } else {
                place += 1;
            }
        }
    }
    let mut place = start + 1;
    loop {
        match bytes.get(place)? {
            b'\n' | b'\r' => return None,
            b'\\' if !raw => place += escape(&bytes[place..])?,
            here if *here == quote => return Some((token, place + 1)),
            _ => place += 1,
        }
    }
}

/// The length of an escape sequence; none where it is none.
fn escape(bytes: &[u8]) -> Option<usize> {
    let hex = |count: usize| {
        let digits = bytes.get(2..2 + count)?;
        digits
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then_some(2 + count)
    };
    match bytes.get(1)? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => {
            Some(2)
        }
        b'x' | b'X' => hex(2),
        b'u' => hex(4),
        b'U' => hex(8),
        b'0'..=b'3' => bytes
            .get(2..4)?
            .iter()
            .all(|b| (b'0'..=b'7').contains(b))
            .then_some(4),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> (Token, usize) {
    let at = |place: usize| bytes.get(place).copied().unwrap_or(0);
    let digits = |from: usize| {
        bytes
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    if at(0) == b'0' && at(1) == b'x' && at(2).is_ascii_hexdigit() {
        let length = 2 + bytes[2..]
            .iter()
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        return match at(length) {
            b'u' | b'U' => (Token::Uint, length + 1),
            _ => (Token::Int, length),
        };
    }
    let mut length = digits(0);
    let mut token = Token::Int;
    if at(length) == b'.' && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
        token = Token::Float;
    }
    if matches!(at(length), b'e' | b'E') {
        let sign = usize::from(matches!(at(length + 1), b'+' | b'-'));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            return (Token::Float, length + 1 + sign + exponent);
        }
    }
    if token == Token::Int && matches!(at(length), b'u' | b'U') {
        return (Token::Uint, length + 1);
    }
    (token, length)
}
