//! Admission of connections: what webhooks and policies see of `exec`, `attach`, `portforward` and
//! `proxy` is an object of the query's options (`PodExecOptions`, …), which they may change.

use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use crate::admission::{Admission, Operation};
use crate::registry::call::Call;
use crate::request::query::Query;

/// The options that are lists; the others are texts, or flags where the query names them so.
const LISTS: [&str; 2] = ["command", "ports"];
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];
const TEXTS: [&str; 1] = ["container"];

/// Asks admission about a connection. Options that it changed are those of the call from then on.
pub async fn admit(call: &mut Call) -> Result<(), Status> {
    let sent = of(call);
    let mut options = sent.clone();
    let admission = Admission::write(call, Operation::Connect, &call.info.subresource, false);
    let chain = &call.server.admission;
    chain.mutate(&admission, &mut options, None).await?;
    chain.validate(&admission, &options, None).await?;
    if options != sent {
        call.query = to_query(&options);
    }
    Ok(())
}

fn of(call: &Call) -> Value {
    let query = &call.query;
    let kind = call
        .endpoint
        .resource
        .subresource(&call.info.subresource)
        .map_or("", |subresource| &*subresource.body.kind);
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    if call.info.subresource == "proxy" {
        if let Some(rest) = &call.info.rest {
            options["path"] = rest.as_str().into();
        }
        return options;
    }
    for name in FLAGS {
        if let Some(flag) = query.optional_flag(name) {
            options[name] = flag.into();
        }
    }
    for name in TEXTS {
        if let Some(text) = query.get(name) {
            options[name] = text.into();
        }
    }
    for name in LISTS {
        let values: Vec<Value> = query
            .all(name)
            .map(|text| match text.parse::<u16>() {
                Ok(port) if name == "ports" => port.into(),
                _ => text.into(),
            })
            .collect();
        if !values.is_empty() {
            options[name] = values.into();
        }
    }
    options
}

fn to_query(options: &Value) -> Query {
    let mut pairs = Vec::new();
    for name in FLAGS {
        if let Some(flag) = options.at(name).as_bool() {
            pairs.push((name.to_owned(), flag.to_string()));
        }
    }
    for name in TEXTS {
        if !options.text(name).is_empty() {
            pairs.push((name.to_owned(), options.text(name).to_owned()));
        }
    }
    for name in LISTS {
        pairs.extend(options.list(name).iter().map(|value| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.to_owned(), text)
        }));
    }
    Query::from_pairs(pairs)
}
