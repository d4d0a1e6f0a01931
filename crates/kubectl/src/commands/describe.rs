//! `kubectl describe`: the object's fields in describe's layout, then its events.

use serde_json::Value;

use super::report;
use crate::{
    error::Result,
    flags::Describe,
    object::{Found, objects},
    output::table,
    session::{Session, escape},
};

/// Runs it.
pub async fn run(session: &Session, flags: &Describe) -> Result<u8> {
    let (found, errors) = objects(session, &flags.selection).await?;
    for (at, item) in found.iter().enumerate() {
        if at > 0 {
            println!("\n");
        }
        print!("{}", describe(item));
        print!("{}", events(session, item).await?);
    }
    Ok(report(&errors))
}

/// The fields: metadata first, then everything else, keys spelled as words.
fn describe(item: &Found) -> String {
    let meta = &item.object["metadata"];
    let mut out = String::new();
    line(&mut out, "Name", item.name());
    if item.resource.namespaced {
        line(&mut out, "Namespace", item.namespace());
    }
    for (name, field) in [("Labels", "labels"), ("Annotations", "annotations")] {
        let mut first = name.to_string();
        let pairs = meta[field].as_object().filter(|m| !m.is_empty());
        match pairs {
            None => line(&mut out, name, "<none>"),
            Some(pairs) => {
                for (key, value) in pairs {
                    let sign = if field == "labels" { "=" } else { ": " };
                    let text = format!(
                        "{key}{sign}{}",
                        value
                            .as_str()
                            .unwrap_or_default()
                            .lines()
                            .next()
                            .unwrap_or_default()
                    );
                    let shown = if first.is_empty() {
                        String::new()
                    } else {
                        format!("{first}:")
                    };
                    out.push_str(&format!("{shown:<14}{text}\n"));
                    first.clear();
                }
            }
        }
    }
    line(&mut out, "API Version", &item.resource.api_version());
    line(&mut out, "Kind", &item.resource.kind);
    line(
        &mut out,
        "Created",
        meta["creationTimestamp"].as_str().unwrap_or("<unknown>"),
    );
    if let Some(deleted) = meta["deletionTimestamp"].as_str() {
        line(&mut out, "Terminating", &format!("since {deleted}"));
    }
    for owner in meta["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|o| o["controller"] == true)
    {
        line(
            &mut out,
            "Controlled By",
            &format!(
                "{}/{}",
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default()
            ),
        );
    }
    let secret = item.resource.kind == "Secret";
    for (key, value) in item.object.as_object().into_iter().flatten() {
        if matches!(key.as_str(), "metadata" | "apiVersion" | "kind") {
            continue;
        }
        if secret && key == "data" {
            out.push_str("Data:\n");
            for (name, content) in value.as_object().into_iter().flatten() {
                // Base64 says four characters for three bytes; the padding counts off.
                let text = content.as_str().unwrap_or_default();
                let bytes =
                    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count();
                out.push_str(&format!("  {name}:  {bytes} bytes\n"));
            }
            continue;
        }
        field(key, value, 0, &mut out);
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
}

/// `containerStatuses` as `Container Statuses`.
fn words(key: &str) -> String {
    let mut out = String::new();
    let chars: Vec<char> = key.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let next = chars.get(at + 1);
        let plural = next == Some(&'s') && at + 2 == chars.len();
        let after_lower = at > 0 && chars[at - 1].is_lowercase();
        let before_lower = at > 0 && !plural && next.is_some_and(|n| n.is_lowercase());
        let starts = c.is_uppercase() && (after_lower || before_lower);
        if starts {
            out.push(' ');
        }
        if at == 0 {
            out.extend(c.to_uppercase())
        } else {
            out.push(*c)
        }
    }
    out
}

fn field(key: &str, value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    let name = words(key);
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Object(map) => {
            out.push_str(&format!("{pad}{name}:\n"));
            for (key, value) in map {
                field(key, value, depth + 1, out);
            }
        }
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            out.push_str(&format!("{pad}{name}:\n"));
            for item in list {
                match item {
                    Value::Object(map) => {
                        let title = map
                            .get("name")
                            .or_else(|| map.get("type"))
                            .and_then(Value::as_str);
                        if let Some(title) = title {
                            out.push_str(&format!("{pad}  {title}:\n"));
                        } else {
                            out.push_str(&format!("{pad}  -\n"));
                        }
                        for (key, value) in map.iter().filter(|(k, v)| {
                            title.is_none()
                                || v.as_str() != title
                                || !matches!(k.as_str(), "name" | "type")
                        }) {
                            field(key, value, depth + 2, out);
                        }
                    }
                    scalar => out.push_str(&format!("{pad}  {}\n", plain(scalar))),
                }
            }
        }
        scalar => out.push_str(&format!("{pad}{name}:  {}\n", plain(scalar))),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}

async fn events(session: &Session, item: &Found) -> Result<String> {
    let uid = item.object["metadata"]["uid"].as_str().unwrap_or_default();
    let selector = format!(
        "involvedObject.name={},involvedObject.uid={uid}",
        item.name()
    );
    let place = if item.namespace().is_empty() {
        String::new()
    } else {
        format!("/namespaces/{}", item.namespace())
    };
    let list = session
        .get(&format!(
            "/api/v1{place}/events?fieldSelector={}",
            escape(&selector)
        ))
        .await?;
    let mut all: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    if all.is_empty() {
        return Ok("Events:       <none>\n".into());
    }
    let when = |e: &Value| {
        ["lastTimestamp", "eventTime", "firstTimestamp"]
            .iter()
            .find_map(|f| e[*f].as_str())
            .unwrap_or_default()
            .to_string()
    };
    all.sort_by_key(|e| when(e));
    let now = jiff::Timestamp::now();
    let age = |text: &str| match text.parse::<jiff::Timestamp>() {
        Ok(time) => api::duration::human(now.duration_since(time).as_secs()),
        Err(_) => "<unknown>".into(),
    };
    let mut rows = vec![
        ["Type", "Reason", "Age", "From", "Message"]
            .map(str::to_string)
            .to_vec(),
    ];
    rows.push(
        ["----", "------", "----", "----", "-------"]
            .map(str::to_string)
            .to_vec(),
    );
    for event in all {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let count = event["count"].as_i64().unwrap_or(1);
        let last = age(&when(event));
        let shown = if count > 1 {
            format!(
                "{last} (x{count} over {})",
                age(&text(&event["firstTimestamp"]))
            )
        } else {
            last
        };
        let from = event["source"]["component"]
            .as_str()
            .filter(|c| !c.is_empty())
            .map_or_else(|| text(&event["reportingComponent"]), str::to_string);
        rows.push(vec![
            text(&event["type"]),
            text(&event["reason"]),
            shown,
            from,
            text(&event["message"]),
        ]);
    }
    let lines: String = table::align(rows)
        .lines()
        .map(|l| format!("  {l}\n"))
        .collect();
    Ok(format!("Events:\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn keys_become_words() {
        for (key, want) in [
            ("containerStatuses", "Container Statuses"),
            ("podIPs", "Pod IPs"),
            ("clusterIP", "Cluster IP"),
            ("hostIP", "Host IP"),
            ("spec", "Spec"),
        ] {
            assert_eq!(words(key), want);
        }
    }
}
