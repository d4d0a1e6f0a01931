//! The events at the end of a description.

use api::object::Object;
use serde_json::Value;

use super::{
    Ask, Events,
    page::{Moment, Page},
};
use crate::session::escape;

/// Where the events about an object are.
pub fn asks(events: Events, kind: &str, object: &Value) -> Vec<Ask> {
    let (name, namespace) = (
        object.text("metadata.name"),
        object.text("metadata.namespace"),
    );
    let ask = |key: &str, kind: Option<&str>, uid: &str| {
        let mut fields = vec![
            format!("involvedObject.name={name}"),
            format!("involvedObject.namespace={namespace}"),
        ];
        fields.extend(kind.map(|k| format!("involvedObject.kind={k}")));
        if !uid.is_empty() {
            fields.push(format!("involvedObject.uid={uid}"));
        }
        let place = match namespace {
            "" => String::new(),
            namespace => format!("/namespaces/{namespace}"),
        };
        let fields = escape(&fields.join(","));
        Ask::new(key, format!("/api/v1{place}/events?fieldSelector={fields}")).optional()
    };
    let uid = object.text("metadata.uid");
    match events {
        Events::None => Vec::new(),
        Events::Own => vec![ask("events", Some(kind), uid)],
        Events::AnyKind => {
            // The kubelet knows a static pod by the configuration it read.
            let annotations = object.at("metadata.annotations");
            let mirror = annotations["kubernetes.io/config.mirror"].as_str();
            vec![ask("events", None, mirror.unwrap_or(uid))]
        }
        Events::Node => vec![
            ask("events", Some(kind), uid),
            ask("events by name", Some(kind), name),
        ],
    }
}

/// Prints them, oldest first.
pub fn print(page: &mut Page) {
    if !page.answers.has("events") {
        return;
    }
    let mut events = page.answers.items("events").to_vec();
    events.extend_from_slice(page.answers.items("events by name"));
    if events.is_empty() {
        page.field(0, "Events", "<none>");
        return;
    }
    events.sort_by_key(|e| e.text("lastTimestamp").parse::<jiff::Timestamp>().ok());
    page.line(0, "Events:\n  Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in &events {
        let age = age(event, &page.moment);
        let from = match event.text("source.component") {
            "" => event.text("reportingComponent"),
            component => component,
        };
        let message = event.text("message").trim();
        let message = match event.text("involvedObject.fieldPath") {
            "" => message.to_string(),
            path => format!("{path}: {message}"),
        };
        page.line(
            1,
            format!(
                "{}\t{}\t{age}\t{from}\t{message}",
                event.text("type"),
                event.text("reason")
            ),
        );
    }
}

/// When it was last seen; how often, and since when, where that was more than once.
pub fn age(event: &Value, moment: &Moment) -> String {
    let since = |field: &str| moment.since(event.at(field));
    let first = if event.has("eventTime") {
        since("eventTime")
    } else {
        since("firstTimestamp")
    };
    if event.has("series") {
        let count = event.int("series.count").unwrap_or_default();
        return format!(
            "{} (x{count} over {first})",
            since("series.lastObservedTime")
        );
    }
    match event.int("count") {
        Some(count) if count > 1 => format!("{} (x{count} over {first})", since("lastTimestamp")),
        _ => first,
    }
}
