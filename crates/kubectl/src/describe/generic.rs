//! Kinds without a layout of their own: every field there is, its name spelled as words.

use serde_json::{Map, Value};

use super::page::{Page, Row};

/// What every object begins with.
pub const ROWS: &[Row] = &[
    Row::Field("Name", "metadata.name"),
    Row::Field("Namespace", "metadata.namespace"),
    Row::Labels("Labels", "metadata.labels"),
    Row::Annotations,
    Row::Part(|object, page| {
        if let Some(fields) = object.as_object() {
            print(fields, 0, false, page);
        }
    }),
];

/// Fields of `metadata` that stand at the top already, or tell people nothing.
const SHOWN: [&str; 5] = [
    "managedFields",
    "name",
    "namespace",
    "labels",
    "annotations",
];

fn print(fields: &Map<String, Value>, level: usize, metadata: bool, page: &mut Page) {
    for (name, value) in fields {
        if metadata && SHOWN.contains(&name.as_str()) {
            continue;
        }
        let title = words(name);
        match value {
            Value::Object(inner) => {
                page.line(level, format!("{title}:"));
                print(inner, level + 1, level == 0 && name == "metadata", page);
            }
            Value::Array(items) => {
                page.line(level, format!("{title}:"));
                for item in items {
                    match item {
                        Value::Object(inner) => print(inner, level + 1, false, page),
                        item => page.line(level + 1, plain(item)),
                    }
                }
            }
            value => page.field(level, &title, plain(value)),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        other => super::page::shown(other),
    }
}

/// `containerStatuses` as `Container Statuses`; names with other signs than letters and dashes stay.
fn words(name: &str) -> String {
    if name.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return name.to_string();
    }
    let mut merged: Vec<String> = Vec::new();
    let mut parts = parts(name).into_iter().peekable();
    while let Some(mut part) = parts.next() {
        let upper = part.chars().count() >= 2
            && !part.chars().any(|c| c.is_alphabetic() && !c.is_uppercase());
        if upper
            && let Some(next) = parts.next_if(|n| n.chars().next().is_some_and(char::is_uppercase))
        {
            part.push_str(&next);
        }
        merged.push(part);
    }
    let spelled = merged.into_iter().map(|part| {
        if ["API", "URL", "UID", "GUID"].contains(&part.to_uppercase().as_str()) {
            part.to_uppercase()
        } else if part.to_lowercase() == part {
            let mut letters = part.chars();
            let first = letters.next().into_iter().flat_map(char::to_uppercase);
            first.chain(letters).collect()
        } else {
            part
        }
    });
    spelled.collect::<Vec<String>>().join(" ")
}

/// The words of a name in camel case: `HTTPServer` is `HTTP` and `Server`.
fn parts(name: &str) -> Vec<String> {
    let class = |c: char| match c {
        c if c.is_lowercase() => 1,
        c if c.is_uppercase() => 2,
        _ => 3,
    };
    let mut runs: Vec<(u8, String)> = Vec::new();
    for c in name.chars() {
        match runs.last_mut() {
            Some((kind, run)) if *kind == class(c) => run.push(c),
            _ => runs.push((class(c), c.to_string())),
        }
    }
    // The last capital before small letters belongs to them.
    for at in 1..runs.len() {
        if runs[at - 1].0 == 2
            && runs[at].0 == 1
            && let Some(letter) = runs[at - 1].1.pop()
        {
            runs[at].1.insert(0, letter);
        }
    }
    let runs = runs.into_iter().map(|(_, run)| run);
    runs.filter(|run| !run.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn names_become_words() {
        for (name, want) in [
            ("containerStatuses", "Container Statuses"),
            ("apiVersion", "API Version"),
            ("uid", "UID"),
            ("clusterIP", "Cluster IP"),
            ("HTTPServer", "HTTPServer"),
            ("podIPs", "Pod I Ps"),
            ("a.b/c", "a.b/c"),
            ("x1", "x1"),
            ("foo-bar", "Foo - Bar"),
            ("spec", "Spec"),
        ] {
            assert_eq!(words(name), want);
        }
    }
}
