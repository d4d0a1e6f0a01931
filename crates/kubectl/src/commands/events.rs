//! `kubectl events`.

use api::object::Object;
use serde_json::Value;

use crate::{
    describe::{event_age, page::Moment},
    error::{Result, usage},
    flags::EventsOf,
    mapping::Resource,
    object::Found,
    output::{self, Format, table},
    session::{Session, escape},
};

/// Runs it.
pub async fn run(session: &Session, flags: &EventsOf) -> Result<u8> {
    let mut fields = Vec::new();
    if let Some(about) = &flags.about {
        let (kind, name) = about
            .split_once('/')
            .ok_or_else(|| usage("--for must be in resource/name form"))?;
        let resource = session.mapping().await?.find(kind)?;
        fields.push(format!("involvedObject.kind={}", resource.kind));
        fields.push(format!("involvedObject.name={name}"));
    }
    let place = if flags.all_namespaces {
        String::new()
    } else {
        format!("/namespaces/{}", session.namespace)
    };
    let query = escape(&fields.join(","));
    let list = session
        .get(&format!("/api/v1{place}/events?fieldSelector={query}"))
        .await?;
    let wanted = |event: &&Value| {
        flags.types.is_empty()
            || flags
                .types
                .iter()
                .any(|t| t.eq_ignore_ascii_case(event.text("type")))
    };
    let mut events: Vec<&Value> = list.list("items").iter().filter(wanted).collect();
    if events.is_empty() {
        if flags.all_namespaces {
            eprintln!("No events found.");
        } else {
            eprintln!("No events found in {} namespace.", session.namespace);
        }
        return Ok(0);
    }
    events.sort_by_key(|e| last(e));
    if let Some(format) = &flags.output {
        let resource = Resource {
            version: "v1".into(),
            kind: "Event".into(),
            singular: "event".into(),
            ..Resource::default()
        };
        let found: Vec<Found> = events
            .into_iter()
            .map(|e| Found {
                object: resource.typed(e.clone()),
                resource: resource.clone(),
            })
            .collect();
        let format = Format::parse(Some(format))?;
        print!("{}", output::print(&format, &found, false, false)?);
        return Ok(0);
    }
    let moment = Moment::here();
    let mut rows = Vec::new();
    if !flags.no_headers {
        let head = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
        rows.push(head.map(str::to_string).to_vec());
    }
    for event in events {
        let of = event.at("involvedObject");
        rows.push(vec![
            event_age(event, &moment),
            event.text("type").into(),
            event.text("reason").into(),
            format!("{}/{}", of.text("kind"), of.text("name")),
            event.text("message").trim().into(),
        ]);
    }
    if flags.all_namespaces {
        let namespaces = list.list("items").iter().filter(wanted);
        let mut sorted: Vec<&Value> = namespaces.collect();
        sorted.sort_by_key(|e| last(e));
        let head = (!flags.no_headers).then_some("NAMESPACE");
        let firsts = head
            .into_iter()
            .chain(sorted.iter().map(|e| e.text("metadata.namespace")));
        for (row, first) in rows.iter_mut().zip(firsts) {
            row.insert(0, first.into());
        }
    }
    print!("{}", table::align(rows));
    Ok(0)
}

/// When it was last seen.
fn last(event: &Value) -> Option<jiff::Timestamp> {
    let times = ["series.lastObservedTime", "lastTimestamp", "eventTime"];
    times.iter().find_map(|t| event.text(t).parse().ok())
}
