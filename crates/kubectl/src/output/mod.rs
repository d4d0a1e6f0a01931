//! How objects are printed.

pub use api::jsonpath;
pub mod table;
pub mod tabs;
pub mod yaml;

use serde_json::{Value, json};

use crate::{
    error::{Result, usage},
    object::Found,
};

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// The server's table.
    Table {
        /// With the columns of priority 1.
        wide: bool,
    },
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `kind/name`.
    Name,
    /// A JSONPath template.
    JsonPath(jsonpath::Template),
    /// `HEADER:.path,…`.
    Columns(Vec<(String, jsonpath::Template)>),
}

impl Format {
    /// Reads `-o`.
    pub fn parse(given: Option<&str>) -> Result<Format> {
        let Some(given) = given.filter(|g| !g.is_empty()) else {
            return Ok(Format::Table { wide: false });
        };
        let (kind, rest) = given
            .split_once('=')
            .map_or((given, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("wide", None) => Ok(Format::Table { wide: true }),
            ("json", None) => Ok(Format::Json),
            ("yaml", None) => Ok(Format::Yaml),
            ("name", None) => Ok(Format::Name),
            ("jsonpath", Some(template)) => Ok(Format::JsonPath(jsonpath::Template::parse(template).map_err(usage)?)),
            ("custom-columns", Some(columns)) => columns
                .split(',')
                .map(|column| {
                    let (header, path) = column.split_once(':').ok_or_else(|| {
                        usage(format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"))
                    })?;
                    let path = path.trim_matches(['{', '}']);
                    let dot = if path.starts_with('.') { "" } else { "." };
                    Ok((header.to_string(), jsonpath::Template::parse(&format!("{{{dot}{path}}}")).map_err(usage)?))
                })
                .collect::<Result<_>>()
                .map(Format::Columns),
            _ => Err(usage(format!(
                "unable to match a printer suitable for the output format \"{given}\", allowed formats are: custom-columns,json,jsonpath,name,wide,yaml"
            ))),
        }
    }
}

/// Prints objects in every format but the table.
pub fn print(
    format: &Format,
    found: &[Found],
    single: bool,
    managed_fields: bool,
) -> Result<String> {
    let mut objects: Vec<Value> = found.iter().map(|f| f.object.clone()).collect();
    if !managed_fields {
        for object in &mut objects {
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("managedFields");
            }
        }
    }
    let whole = |objects: Vec<Value>| match <[Value; 1]>::try_from(objects) {
        Ok([only]) if single => only,
        Ok([only]) => list(vec![only]),
        Err(objects) => list(objects),
    };
    Ok(match format {
        Format::Table { .. } => String::new(),
        Format::Json => {
            let text =
                serde_json::to_string_pretty(&whole(objects)).map_err(|e| usage(e.to_string()))?;
            // Four spaces, as kubectl indents.
            let indented: Vec<String> = text
                .lines()
                .map(|l| format!("{}{l}", " ".repeat(l.len() - l.trim_start().len())))
                .collect();
            format!("{}\n", indented.join("\n"))
        }
        Format::Yaml => yaml::print(&whole(objects)),
        Format::Name => found
            .iter()
            .map(|f| format!("{}\n", f.resource.named(f.name())))
            .collect(),
        Format::JsonPath(template) => template.print(&whole(objects)).map_err(usage)?,
        Format::Columns(columns) => {
            let header = columns.iter().map(|(h, _)| h.clone()).collect();
            let rows = objects.iter().map(|o| {
                columns
                    .iter()
                    .map(|(_, path)| {
                        path.print(o)
                            .ok()
                            .filter(|t| !t.is_empty())
                            .unwrap_or_else(|| "<none>".into())
                    })
                    .collect()
            });
            table::align(std::iter::once(header).chain(rows).collect())
        }
    })
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}
