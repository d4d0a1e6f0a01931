//! YAML as kubectl prints it: two spaces, keys sorted, lists not indented, texts quoted only where
//! they would read as something else.

use serde_json::Value;

/// The document.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if map.is_empty() => out.push_str("{}\n"),
        Value::Array(list) if list.is_empty() => out.push_str("[]\n"),
        Value::Object(_) | Value::Array(_) => block(value, 0, false, &mut out),
        scalar => {
            inline(scalar, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Writes a map or list; `begun` when the first line's indentation has been written (behind `- `).
fn block(value: &Value, depth: usize, begun: bool, out: &mut String) {
    let pad = |out: &mut String, first: bool| {
        if !(first && begun) {
            out.push_str(&"  ".repeat(depth));
        }
    };
    match value {
        Value::Object(map) => {
            for (at, (key, value)) in map.iter().enumerate() {
                pad(out, at == 0);
                if key.contains('\n') {
                    // A block of lines cannot be a key.
                    out.push_str(&Value::from(key.as_str()).to_string());
                } else {
                    text(key, depth, out);
                }
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, depth + 1, false, out);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, depth, false, out);
                    }
                    scalar => {
                        out.push(' ');
                        inline(scalar, depth + 1, out);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                pad(out, at == 0);
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => block(item, depth + 1, true, out),
                    Value::Array(inner) if !inner.is_empty() => block(item, depth + 1, true, out),
                    scalar => {
                        inline(scalar, depth + 1, out);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn inline(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(string) => text(string, depth, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

fn text(string: &str, depth: usize, out: &mut String) {
    let printable = string
        .chars()
        .all(|c| c == '\n' || c == '\t' || !c.is_control());
    if printable
        && string.contains('\n')
        && !string.starts_with([' ', '\n', '\t'])
        && !string.contains(" \n")
    {
        let keep = match (string.ends_with("\n\n"), string.ends_with('\n')) {
            (true, _) => "|+",
            (false, true) => "|",
            (false, false) => "|-",
        };
        out.push_str(keep);
        for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
            out.push('\n');
            if !line.is_empty() {
                out.push_str(&"  ".repeat(depth.max(1)));
                out.push_str(line);
            }
        }
    } else if !printable || string.contains(['\n', '\t']) {
        // JSON's escapes are YAML's inside double quotes.
        out.push_str(&Value::from(string).to_string());
    } else if plain(string) {
        out.push_str(string);
    } else if misread(string) || string.contains('\'') {
        out.push_str(&Value::from(string).to_string());
    } else {
        out.push('\'');
        out.push_str(string);
        out.push('\'');
    }
}

/// Would be read as a number, truth value, null or time.
fn misread(string: &str) -> bool {
    let lower = string.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "~"
            | "null"
            | "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | ".nan"
            | ".inf"
            | "-.inf"
            | "+.inf"
    );
    let digits = string.trim_start_matches(['+', '-']);
    let number = string.replace('_', "").parse::<f64>().is_ok()
        || digits
            .strip_prefix("0x")
            .or(digits.strip_prefix("0o"))
            .or(digits.strip_prefix("0b"))
            .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_hexdigit()))
        || (digits.contains(':') && digits.chars().all(|c| c.is_ascii_digit() || c == ':'));
    let bytes = string.as_bytes();
    let time = bytes.len() >= 10
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[7] == b'-';
    word || number || time
}

fn plain(string: &str) -> bool {
    let Some(first) = string.chars().next() else {
        return false;
    };
    let opens = "-?:,[]{}#&*!|>'\"%@`".contains(first);
    let dash = first == '-' && string.len() > 1 && !string.starts_with("- ") && string != "---";
    let colon = first == ':' && string.len() > 1 && !string.starts_with(": ");
    !misread(string)
        && (!opens || dash || colon)
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with(':')
        && !string.starts_with(' ')
        && !string.ends_with(' ')
        && string != "="
        && string != "<<"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::print;

    #[test]
    fn it_looks_like_kubectls() {
        let value = json!({
            "a": {"b": [{"c": 1, "d": ["x"]}, {"c": 2}], "e": {}, "f": []},
            "g": "8080", "h": "true", "i": "a: b", "j": "line\nmore\n", "k": "", "l": "2026-01-01T00:00:00Z", "m": null, "nn": "*x", "o": "-c",
        });
        let want = "a:\n  b:\n  - c: 1\n    d:\n    - x\n  - c: 2\n  e: {}\n  f: []\ng: \"8080\"\nh: \"true\"\ni: 'a: b'\nj: |\n  line\n  more\nk: \"\"\nl: \"2026-01-01T00:00:00Z\"\nm: null\nnn: '*x'\no: -c\n";
        assert_eq!(print(&value), want);
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            "a", " a", "a ", "a\n", "a\n\n", "\na", "a\n b", "it's", "\"q\"", "#x", "a #b", "1e3",
            "0x1F", "12:30", "null", "~", "no", "- a", "a:", "\t", "ü\u{7}", "[", "=", "<<", "%a",
            "1_000", "a \nb",
        ] {
            let value = json!({"k": [text, {"n": text}], text: 1});
            let back: Value = serde_saphyr::from_str(&print(&value))
                .unwrap_or_else(|e| panic!("{text:?}: {e}\n{}", print(&value)));
            assert_eq!(back, value, "{text:?}");
        }
    }
}
