//! What `kubectl get` shows: per kind the columns, and what stands in them for an object.

mod access;
mod cluster;
mod extensions;
mod network;
mod pods;
mod pools;
mod storage;
mod workloads;

use jiff::Timestamp;
use schema::Value;
use serde_json::{Map, json};

use crate::{duration, labels::Selector, meta, object::Object, resource::Resource};

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the object's name.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
}

impl Column {
    /// A line about it.
    pub fn description(&self) -> &'static str {
        describe(self.name)
    }

    /// As a `TableColumnDefinition`.
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description(), "priority": self.priority
        })
    }
}

/// The columns of a kind and the function that fills them.
#[derive(Clone, Copy)]
pub struct Printer {
    /// All columns, wide ones included.
    pub columns: &'static [Column],
    /// A cell per column.
    pub row: fn(&Value, Timestamp) -> Vec<Value>,
}

/// A text column that is always shown.
const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        priority: 0,
    }
}

/// A text column of `-o wide`.
const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        priority: 1,
    }
}

/// A column of whole numbers.
const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        format: "",
        priority: 0,
    }
}

/// A column of yes and no.
const fn truth(name: &'static str) -> Column {
    Column {
        name,
        kind: "boolean",
        format: "",
        priority: 0,
    }
}

/// The object's name.
const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
};
const AGE: Column = text("Age");

/// How a resource is shown.
pub fn table(resource: &Resource) -> Printer {
    printer(&resource.gvk.group, &resource.gvk.kind).unwrap_or(PLAIN)
}

/// The column definitions of a resource's `Table`.
pub fn definitions(resource: &Resource) -> Value {
    if let Some(own) = resource.strategy.columns() {
        return Value::Array(own.definitions());
    }
    table(resource)
        .columns
        .iter()
        .map(Column::to_value)
        .collect()
}

/// One object's cells.
pub fn row(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.strategy.columns() {
        Some(own) => own.row(object, now),
        None => (table(resource).row)(object, now),
    }
}

/// How kinds without columns of their own are shown.
pub const PLAIN: Printer = Printer {
    columns: const {
        &[
            NAME,
            Column {
                name: "Created At",
                kind: "date",
                format: "",
                priority: 0,
            },
        ]
    },
    row: |object, _| {
        vec![
            name(object),
            object.at("metadata.creationTimestamp").clone(),
        ]
    },
};

/// Name and age.
const NAME_AGE: Printer = Printer {
    columns: const { &[NAME, AGE] },
    row: |object, now| vec![name(object), age(object, now)],
};

fn printer(group: &str, kind: &str) -> Option<Printer> {
    pods::printer(group, kind)
        .or_else(|| workloads::printer(group, kind))
        .or_else(|| network::printer(group, kind))
        .or_else(|| storage::printer(group, kind))
        .or_else(|| access::printer(group, kind))
        .or_else(|| cluster::printer(group, kind))
        .or_else(|| extensions::printer(group, kind))
}

/// The object's `Table` row, with what `includeObject` asks for beside the cells.
pub fn table_row(cells: Vec<Value>, object: Option<Value>) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells));
    if let Some(object) = object {
        row.insert("object".to_owned(), object);
    }
    Value::Object(row)
}

fn name(object: &Value) -> Value {
    meta::name(object).into()
}

fn age(object: &Value, now: Timestamp) -> Value {
    duration::since(object.text("metadata.creationTimestamp"), now).into()
}

/// A number, 0 where there is none.
fn count(object: &Value, path: &str) -> Value {
    object.int(path).unwrap_or(0).into()
}

/// A text, or what stands for none.
fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

/// The first three, and how many more.
fn some(all: Vec<String>) -> String {
    match all.len() {
        0 => "<unset>".to_owned(),
        count @ 1..=3 => all[..count].join(","),
        count => format!("{} + {} more...", all[..3].join(","), count - 3),
    }
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// Names and images of a template's containers.
fn containers(spec: &Value) -> [Value; 2] {
    let list = spec.list("containers");
    [
        joined(list.iter().map(|container| container.text("name"))).into(),
        joined(list.iter().map(|container| container.text("image"))).into(),
    ]
}

/// A label selector as text.
fn selector(selector: &Value) -> String {
    match Selector::from_label_selector(selector) {
        Ok(parsed) if parsed.requirements().is_empty() => "<none>".to_owned(),
        Ok(parsed) => parsed.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// A map of labels as text.
fn label_map(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

/// `True`/`False` conditions: is this one true?
fn is_true(object: &Value, condition: &str) -> bool {
    meta::condition(object, condition).is_some_and(|condition| condition.text("status") == "True")
}

/// What a column is about.
fn describe(name: &str) -> &'static str {
    match name {
        "Name" => "Name of the object; unique within its namespace and kind.",
        "Age" => "Time since the object was created.",
        "Created At" => "When the object was created.",
        "Ready" => "How many are ready, of how many that there should be.",
        "Status" => "Where the object is in its life.",
        "Restarts" => "How often containers were restarted, and when last.",
        "IP" => "Address of the pod.",
        "Node" => "Node that it is on.",
        "Nominated Node" => "Node on which room is being made for the pod.",
        "Readiness Gates" => "How many of the pod's further readiness conditions hold.",
        "Containers" => "Names of the containers.",
        "Images" => "Images of the containers.",
        "Selector" => "Labels of the pods that belong to it.",
        "Desired" => "How many there should be.",
        "Current" => "How many there are.",
        "Up-to-date" => "How many are of the newest template.",
        "Available" => "How many have been ready long enough.",
        "Node Selector" => "Labels of the nodes it runs on.",
        "Type" => "Sort of the object.",
        "Cluster-IP" => "Address inside the cluster.",
        "External-IP" => "Addresses outside the cluster.",
        "Port(s)" => "Ports it serves.",
        "Roles" => "Roles of the node, by its labels.",
        "Version" => "Version of the kubelet.",
        "Last Seen" => "Time since it was last seen.",
        "Reason" => "Short reason, for programs.",
        "Object" => "Object that it is about.",
        "Message" => "What happened, for people.",
        "Data" => "Number of keys.",
        "Capacity" => "Size.",
        "Access Modes" => "How many may mount it, and how.",
        "Claim" => "Claim that it is bound to.",
        "Volume" => "Volume that it is bound to.",
        "StorageClass" => "Class that it is of.",
        "Completions" => "How many pods have succeeded, of how many that must.",
        "Duration" => "Time from start to end, or until now.",
        "Schedule" => "When it runs, in cron form.",
        "Suspend" => "Is it paused?",
        "Active" => "How many run now.",
        "Last Schedule" => "Time since it last ran.",
        "Endpoints" => "Addresses behind it.",
        "Hosts" => "Hosts that it routes for.",
        "Class" => "Class that it is of.",
        "Address" => "Addresses it is reached at.",
        "Role" => "Role that it grants.",
        "Holder" => "Who holds it.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn every_kind_fills_its_columns() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let object =
            json!({"metadata": {"name": "x", "creationTimestamp": "2025-12-31T23:59:00Z"}});
        for resource in catalog::builtin().resources() {
            let printer = table(resource);
            let row = (printer.row)(&object, now);
            assert_eq!(row.len(), printer.columns.len(), "{:?}", resource.gvk);
        }
    }
}
