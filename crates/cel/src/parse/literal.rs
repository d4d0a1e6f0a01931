//! Literals: numbers, texts and bytes with their escapes.

use crate::{
    ast::Literal,
    lexer::{Lexeme, Token},
};

/// The literal's value; the error is cel-go's.
pub(super) fn read(lexeme: Lexeme<'_>, negative: bool) -> Result<Literal, String> {
    let text = lexeme.text;
    Ok(match lexeme.token {
        Token::True => Literal::Bool(true),
        Token::False => Literal::Bool(false),
        Token::Null => Literal::Null,
        Token::Int => {
            let whole = whole(text).ok_or("invalid int literal")?;
            let whole = if negative { -whole } else { whole };
            Literal::Int(i64::try_from(whole).map_err(|_| "invalid int literal")?)
        }
        Token::Uint => {
            let whole = whole(&text[..text.len() - 1]).ok_or("invalid uint literal")?;
            Literal::Uint(u64::try_from(whole).map_err(|_| "invalid uint literal")?)
        }
        Token::Float => {
            let value: f64 = text.parse().map_err(|_| "invalid double literal")?;
            if value.is_infinite() {
                return Err("invalid double literal".to_owned());
            }
            Literal::Double(if negative { -value } else { value })
        }
        Token::Bytes => Literal::Bytes(unquote(&text[1..], true)?.into()),
        _ => {
            let bytes = unquote(text, false)?;
            let text = String::from_utf8(bytes).map_err(|_| "invalid UTF-8")?;
            Literal::String(text.into())
        }
    })
}

fn whole(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn unquote(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let (raw, text) = match text.strip_prefix(['r', 'R']) {
        Some(text) => (true, text),
        None => (false, text),
    };
    let quotes = if text.len() >= 6 && (text.starts_with("'''") || text.starts_with("\"\"\"")) {
        3
    } else {
        1
    };
    let inner = text
        .get(quotes..text.len().saturating_sub(quotes))
        .ok_or("unable to unescape string")?
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    if raw {
        return Ok(inner.into_bytes());
    }
    let mut made = Vec::with_capacity(inner.len());
    let mut rest = inner.as_str();
    while let Some(at) = rest.find('\\') {
        made.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            return Err("unable to unescape string, found '\\' as last character".to_owned());
        };
        let (digits, radix) = match kind {
            'x' | 'X' => (1..3, 16),
            'u' if !bytes => (1..5, 16),
            'U' if !bytes => (1..9, 16),
            '0'..='3' => (0..3, 8),
            _ => {
                made.push(match kind {
                    'a' => 0x07,
                    'b' => 0x08,
                    'f' => 0x0c,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 0x0b,
                    '\\' | '\'' | '"' | '`' | '?' => kind as u8,
                    _ => return Err("unable to unescape string".to_owned()),
                });
                rest = &rest[1..];
                continue;
            }
        };
        let end = digits.end;
        let code = rest
            .get(digits)
            .and_then(|digits| u32::from_str_radix(digits, radix).ok())
            .ok_or("unable to unescape string")?;
        rest = &rest[end..];
        if bytes {
            made.push(code as u8);
        } else {
            let c = char::from_u32(code).ok_or("invalid unicode code point")?;
            made.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    made.extend_from_slice(rest.as_bytes());
    Ok(made)
}
