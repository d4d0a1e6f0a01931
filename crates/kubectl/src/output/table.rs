//! Tables: the server's (`as=Table`), aligned as kubectl aligns them.

use serde_json::Value;

use super::tabs;

/// The rows in columns, as kubectl aligns tables. What would end a line or a cell is made harmless.
pub fn align(rows: Vec<Vec<String>>) -> String {
    let lines: Vec<String> = rows
        .iter()
        .map(|row| row.join("\t").replace(['\n', '\u{b}', '\u{c}'], " ") + "\n")
        .collect();
    tabs::TABLE.align(&lines.concat())
}

/// What a table should show besides the server's columns.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Columns of priority 1 too.
    pub wide: bool,
    /// The namespace first.
    pub namespace: bool,
    /// `kind/` before the name.
    pub prefix: Option<String>,
    /// These labels as columns.
    pub labels: Vec<String>,
    /// All labels as the last column.
    pub all_labels: bool,
}

/// The headers of a server's table.
pub fn header(table: &Value, extra: &Extra) -> Vec<String> {
    let mut cells = Vec::new();
    if extra.namespace {
        cells.push("NAMESPACE".to_string());
    }
    cells.extend(shown(table, extra).map(|at| {
        table["columnDefinitions"][at]["name"]
            .as_str()
            .unwrap_or_default()
            .to_uppercase()
    }));
    cells.extend(
        extra
            .labels
            .iter()
            .map(|l| l.rsplit('/').next().unwrap_or(l).to_uppercase()),
    );
    if extra.all_labels {
        cells.push("LABELS".into());
    }
    cells
}

/// The rows of a server's table. `definitions` comes from the first table of a watch; later ones
/// leave it out.
pub fn rows(definitions: &Value, table: &Value, extra: &Extra) -> Vec<Vec<String>> {
    let columns: Vec<usize> = shown(definitions, extra).collect();
    table["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| one(row, &columns, extra))
        .collect()
}

fn one(row: &Value, columns: &[usize], extra: &Extra) -> Vec<String> {
    let meta = &row["object"]["metadata"];
    let mut cells = Vec::new();
    if extra.namespace {
        cells.push(meta["namespace"].as_str().unwrap_or_default().to_string());
    }
    for (place, at) in columns.iter().enumerate() {
        let text = cell(&row["cells"][*at]);
        match &extra.prefix {
            Some(prefix) if place == 0 => cells.push(format!("{prefix}/{text}")),
            _ => cells.push(text),
        }
    }
    cells.extend(
        extra
            .labels
            .iter()
            .map(|l| meta["labels"][l].as_str().unwrap_or_default().to_string()),
    );
    if extra.all_labels {
        let all: Vec<String> = meta["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect();
        cells.push(if all.is_empty() {
            "<none>".into()
        } else {
            all.join(",")
        });
    }
    cells
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.lines().next().unwrap_or_default().to_string(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn shown<'t>(table: &'t Value, extra: &'t Extra) -> impl Iterator<Item = usize> + 't {
    let columns = table["columnDefinitions"].as_array().into_iter().flatten();
    columns
        .enumerate()
        .filter(|(_, c)| extra.wide || c["priority"].as_i64().unwrap_or_default() == 0)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Extra, align, header, rows};

    #[test]
    fn wide_columns_hide_and_show() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["web", "1/1", "10.0.0.1"], "object": {"metadata": {"namespace": "x", "labels": {"app": "web"}}}}],
        });
        let narrow = Extra::default();
        assert_eq!(header(&table, &narrow), ["NAME", "READY"]);
        let wide = Extra {
            wide: true,
            namespace: true,
            labels: vec!["app".into()],
            prefix: Some("pod".into()),
            all_labels: true,
        };
        assert_eq!(
            header(&table, &wide),
            ["NAMESPACE", "NAME", "READY", "IP", "APP", "LABELS"]
        );
        assert_eq!(
            rows(&table, &table, &wide),
            [["x", "pod/web", "1/1", "10.0.0.1", "web", "app=web"]]
        );
        let all = vec![
            header(&table, &narrow),
            rows(&table, &table, &narrow).remove(0),
        ];
        assert_eq!(align(all), "NAME   READY\nweb    1/1\n");
    }
}
