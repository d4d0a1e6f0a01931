//! The columns a definition gives its kind.

use jiff::Timestamp;
use schema::Value;
use serde_json::json;

use crate::{duration, jsonpath::Template, meta, object::Object, strategy::Columns};

struct Column {
    definition: Value,
    kind: Box<str>,
    path: Option<Template>,
}

/// Name, and then what the definition names; the age where it names nothing.
pub(super) struct Printer(Vec<Column>);

impl Printer {
    pub(super) fn new(version: &Value) -> Self {
        let named = version.list("additionalPrinterColumns");
        let age = [json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "Time since the object was created.",
        })];
        let columns = if named.is_empty() { &age[..] } else { named };
        Self(columns.iter().map(column).collect())
    }
}

fn column(column: &Value) -> Column {
    let path = column.text("jsonPath");
    let description = match column.text("description") {
        "" => format!("Custom resource definition column (in JSONPath format): {path}"),
        text => text.to_owned(),
    };
    Column {
        definition: json!({
            "name": column.text("name"), "type": column.text("type"), "format": column.text("format"),
            "description": description, "priority": column.int("priority").unwrap_or(0),
        }),
        kind: column.text("type").into(),
        path: Template::parse(&format!("{{{path}}}")).ok(),
    }
}

impl Columns for Printer {
    fn definitions(&self) -> Vec<Value> {
        let name = json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object; unique within its namespace and kind.",
        });
        let rest = self.0.iter().map(|column| column.definition.clone());
        std::iter::once(name).chain(rest).collect()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cell = |column: &Column| {
            let found = column.path.as_ref()?.values(object).ok()?;
            cell(&column.kind, found.first()?, now)
        };
        let rest = self.0.iter().map(|column| cell(column).unwrap_or_default());
        std::iter::once(meta::name(object).into())
            .chain(rest)
            .collect()
    }
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Option<Value> {
    match (kind, value) {
        ("string", Value::String(_)) => Some(value.clone()),
        ("string", Value::Null) => None,
        ("string", other) => Some(other.to_string().into()),
        ("integer", Value::Number(number)) => Some(
            number
                .as_i64()
                .or(number.as_f64().map(|f| f as i64))?
                .into(),
        ),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => Some(value.clone()),
        ("date", Value::String(time)) => {
            if time.parse::<Timestamp>().is_err() {
                return Some("<invalid>".into());
            }
            Some(duration::since(time, now).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "A", "type": "string", "jsonPath": ".spec.a"},
            {"name": "B", "type": "integer", "jsonPath": ".spec.b"},
            {"name": "C", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "D", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "E", "type": "boolean", "jsonPath": ".spec.missing"},
        ]});
        let object = json!({
            "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"a": ["l"], "b": 2.0},
            "status": {"conditions": [{"type": "Other", "status": "no"}, {"type": "Ready", "status": "True"}]},
        });
        let printer = Printer::new(&version);
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(
            Value::Array(printer.row(&object, now)),
            json!(["x", "[\"l\"]", 2, "60s", "True", null])
        );
        assert_eq!(printer.definitions().len(), 6);
        let plain = Printer::new(&json!({}));
        assert_eq!(plain.definitions()[1]["name"], "Age");
    }
}
