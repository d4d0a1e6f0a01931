//! As much of PEM and X.509 as tells certificates from other things. Whether signatures are right is for
//! those to say who use the keys.

use base64::{Engine, prelude::BASE64_STANDARD};

/// One block between its lines.
pub struct Block {
    /// `CERTIFICATE`.
    pub label: String,
    /// Has it lines that name something?
    pub headers: bool,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The blocks of a text; what stands between them, and blocks that cannot be read, are passed over.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let label = line
            .trim_end()
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = label else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let (mut headers, mut body, mut closed) = (false, String::new(), false);
        for line in lines.by_ref() {
            let line = line.trim();
            if line == end {
                closed = true;
                break;
            }
            if body.is_empty() && line.contains(':') {
                headers = true;
            } else {
                body.push_str(line);
            }
        }
        if let (true, Ok(bytes)) = (closed, BASE64_STANDARD.decode(&body)) {
            blocks.push(Block {
                label: label.to_owned(),
                headers,
                bytes,
            });
        }
    }
    blocks
}

/// The content and the rest of the first element, if it has this tag.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, after) = rest.split_at(count);
        length = digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    (rest.len() >= length).then(|| rest.split_at(length))
}

const SEQUENCE: u8 = 0x30;
/// `basicConstraints`.
const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];

/// Is it of the form of a certificate: something signed, an algorithm, a signature?
pub fn is_certificate(bytes: &[u8]) -> bool {
    let parts = || {
        let (whole, rest) = element(bytes, SEQUENCE)?;
        let (_, after) = element(whole, SEQUENCE)?;
        let (_, after) = element(after, SEQUENCE)?;
        let (_, end) = element(after, 0x03)?;
        Some(rest.is_empty() && end.is_empty())
    };
    parts().unwrap_or(false)
}

/// May the owner of this certificate sign others?
pub fn is_authority(bytes: &[u8]) -> bool {
    let found = bytes
        .windows(BASIC_CONSTRAINTS.len())
        .position(|window| window == BASIC_CONSTRAINTS);
    let constraints = || {
        let rest = &bytes[found? + BASIC_CONSTRAINTS.len()..];
        let rest = element(rest, 0x01).map_or(rest, |(_, rest)| rest);
        let (value, _) = element(rest, 0x04)?;
        let (fields, _) = element(value, SEQUENCE)?;
        let (authority, _) = element(fields, 0x01)?;
        Some(authority.first().is_some_and(|byte| *byte != 0))
    };
    constraints().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = "a\n-----BEGIN X-----\neA==\n-----END X-----\nb\n-----BEGIN Y-----\nK: v\n\neA==\n-----END Y-----\n-----BEGIN Z-----\neA==\n";
        let found: Vec<(String, bool)> = blocks(text)
            .into_iter()
            .map(|block| (block.label, block.headers))
            .collect();
        assert_eq!(found, [("X".to_owned(), false), ("Y".to_owned(), true)]);
    }

    #[test]
    fn authorities_say_so() {
        let certificate = |extensions: &[u8]| {
            let mut body = vec![SEQUENCE, u8::try_from(extensions.len()).unwrap()];
            body.extend(extensions);
            body.extend([SEQUENCE, 0, 0x03, 1, 0]);
            let mut whole = vec![SEQUENCE, u8::try_from(body.len()).unwrap()];
            whole.extend(body);
            whole
        };
        let constraints = [
            0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 1, 0xff, 0x04, 5, SEQUENCE, 3, 0x01, 1, 0xff,
        ];
        let (plain, authority) = (certificate(&[]), certificate(&constraints));
        assert!(is_certificate(&plain) && is_certificate(&authority));
        assert!(!is_certificate(&plain[1..]) && !is_certificate(b"x"));
        assert!(!is_authority(&plain) && is_authority(&authority));
    }
}
