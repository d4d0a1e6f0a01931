//! Objects in files: YAML of many documents, JSON, Lists; folders; standard input.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::error::{Result, io, usage};

/// An object and the file it stands in.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, as it was named.
    pub source: String,
    /// The object.
    pub object: Value,
}

/// Every object the names lead to, in order; Lists are taken apart.
pub fn read(names: &[String], recursive: bool) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut take = |text: &str, source: &str| -> Result<()> {
        let mut objects = Vec::new();
        parse(text, source, &mut objects)?;
        documents.extend(objects.into_iter().map(|object| Document {
            source: source.to_string(),
            object,
        }));
        Ok(())
    };
    for name in names {
        if name == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(io("standard input"))?;
            take(&text, "STDIN")?;
        } else if name.starts_with("http://") || name.starts_with("https://") {
            return Err(usage(format!("{name}: fetch it first, then name the file")));
        } else {
            for path in files(Path::new(name), recursive)? {
                let text = fs::read_to_string(&path).map_err(io(path.display().to_string()))?;
                take(&text, &path.display().to_string())?;
            }
        }
    }
    if documents.is_empty() && !names.is_empty() {
        return Err(usage("no objects passed to apply"));
    }
    Ok(documents)
}

fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let missing = |_| usage(format!("the path \"{}\" does not exist", path.display()));
    if !fs::metadata(path).map_err(missing)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let shown = path.display().to_string();
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(io(shown.clone()))? {
        entries.push(entry.map_err(io(shown.clone()))?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                found.extend(files(&entry, recursive)?);
            }
        } else if matches!(
            entry.extension().and_then(|e| e.to_str()),
            Some("yaml" | "yml" | "json")
        ) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn parse(text: &str, source: &str, objects: &mut Vec<Value>) -> Result<()> {
    let documents = serde_saphyr::from_multiple::<Value>(text)
        .map_err(|e| usage(format!("error parsing {source}: {e}")))?;
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(_)
                if document["kind"]
                    .as_str()
                    .is_some_and(|k| k.ends_with("List"))
                    && document["items"].is_array() =>
            {
                objects.extend(document["items"].as_array().cloned().unwrap_or_default());
            }
            Value::Object(_) => objects.push(document),
            _ => {
                return Err(usage(format!(
                    "error parsing {source}: a document is not an object"
                )));
            }
        }
    }
    Ok(())
}

/// `apiVersion` and `kind`.
pub fn kind_of(object: &Value) -> Result<(&str, &str)> {
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some(version), Some(kind)) => Ok((version, kind)),
        (None, _) => Err(usage(
            "error validating data: apiVersion not set; if you choose to ignore these errors, turn validation off with --validate=false",
        )),
        (_, None) => Err(usage(
            "error validating data: kind not set; if you choose to ignore these errors, turn validation off with --validate=false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{kind_of, parse};

    #[test]
    fn documents_and_lists_come_apart_and_empty_ones_vanish() {
        let mut objects = Vec::new();
        let text = "---\napiVersion: v1\nkind: A\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B}\n- {apiVersion: v1, kind: C}\n";
        parse(text, "x", &mut objects).unwrap();
        let kinds: Vec<&str> = objects.iter().map(|o| kind_of(o).unwrap().1).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert!(parse("- 1\n", "x", &mut Vec::new()).is_err());
        assert!(parse("a: [", "x", &mut Vec::new()).is_err());
    }
}
