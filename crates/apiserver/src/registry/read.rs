//! Get and list. The usual answer copies stored bytes; only another version, table or metadata
//! makes values of them.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Entry, Key, List, ListError, ListOptions, Revision};

use super::call::Call;
use super::listing::{Listing, Source};
use super::respond;
use super::selection::Selection;
use crate::http::body::Body;
use crate::request::accept::{Encoding, Shape};

/// How long a read waits for a revision that is said to exist.
const PATIENCE: Duration = Duration::from_secs(3);

/// One object.
pub async fn get(call: &Call) -> Result<Response<Body>, Status> {
    if let Some(revision) = revision(call)? {
        fresh(call, revision).await?;
    }
    let key = call.endpoint.key(call.namespace(), &call.info.name);
    let entry = call
        .server
        .store
        .get(&key)
        .ok_or_else(|| Status::not_found(&*call.endpoint.resource, &call.info.name))?;
    respond::entry(call, StatusCode::OK, &entry).await
}

/// The `resourceVersion` of the query; none where absent or 0.
pub fn revision(call: &Call) -> Result<Option<Revision>, Status> {
    match call.query.get("resourceVersion") {
        None | Some("0") => Ok(None),
        Some(text) => text.parse().map(|n| Some(Revision(n))).map_err(|_| {
            Status::bad_request(format!(
                "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

/// Waits until the store shows `revision`; one that does not come is not ours.
pub async fn fresh(call: &Call, revision: Revision) -> Result<(), Status> {
    let store = &call.server.store;
    if revision <= store.revision() || store.wait_for(revision, PATIENCE).await {
        return Ok(());
    }
    Err(too_large(revision, store.revision()))
}

fn too_large(revision: Revision, current: Revision) -> Status {
    Status::timeout(
        format!("Too large resource version: {revision}, current: {current}"),
        1,
    )
    .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
}

/// Where the next page begins, as upstream writes it.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

/// A page that goes on without a consistent snapshot: upstream's marker.
const INCONSISTENT: i64 = -1;

impl Continue {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Continue, Status> {
        let refused = || Status::bad_request("continue key is not valid: the token is malformed");
        let wrong = |why: &str| {
            Err(Status::bad_request(format!(
                "continue key is not valid: {why} (version meta.k8s.io/v1)"
            )))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| refused())?;
        let token: Continue = serde_json::from_slice(&bytes).map_err(|_| refused())?;
        if token.v != "meta.k8s.io/v1" || token.start.contains("..") {
            return Err(refused());
        }
        if token.rv == 0 {
            return wrong("incorrect encoded start resourceVersion");
        }
        if token.start.is_empty() {
            return wrong("encoded start key empty");
        }
        Ok(token)
    }
}

struct Page {
    limit: Option<usize>,
    after: Option<Key>,
    at: Option<Revision>,
}

fn page(call: &Call) -> Result<Page, Status> {
    let query = &call.query;
    if let Some(text) = query.get("timeoutSeconds")
        && text.parse::<i64>().is_err()
    {
        return Err(no_number(text));
    }
    let limit = match query.get("limit") {
        None => None,
        Some(text) => match text.parse::<i64>() {
            Ok(limit) if limit > 0 => usize::try_from(limit).ok(),
            Ok(_) => None,
            Err(_) => {
                return Err(no_number(text));
            }
        },
    };
    let rule = query.get("resourceVersionMatch");
    if call.info.verb == "list" && query.optional_flag("sendInitialEvents").is_some() {
        return Err(invalid_options(vec![
            schema::field_error::FieldError::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ),
        ]));
    }
    let asked = query.get("resourceVersion");
    if let Some(token) = query.get("continue") {
        if rule.is_some() {
            return Err(forbidden_match(
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if asked.is_some_and(|rv| rv != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Continue::decode(token)?;
        let at = u64::try_from(token.rv).ok().map(Revision);
        let after = Some(Key::new(format!("{}{}", call.endpoint.prefix, token.start)));
        return Ok(Page { limit, after, at });
    }
    let at = match (rule, asked) {
        (None, _) | (Some("NotOlderThan"), Some(_)) => {
            // With a limit, an exact revision was once what a resourceVersion meant.
            match revision(call)? {
                Some(revision) if rule.is_none() && limit.is_some() => Some(revision),
                _ => None,
            }
        }
        (Some("Exact"), Some(text)) => {
            if text == "0" {
                return Err(forbidden_match(
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
            revision(call)?
        }
        (Some("Exact" | "NotOlderThan"), None) => {
            return Err(forbidden_match(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        (Some(other), _) => {
            return Err(invalid_options(vec![
                schema::field_error::FieldError::not_supported(
                    "resourceVersionMatch",
                    other,
                    &["Exact", "NotOlderThan", ""],
                ),
            ]));
        }
    };
    Ok(Page {
        limit,
        after: None,
        at,
    })
}

/// What is said of a query parameter that should be a number.
pub(super) fn no_number(text: &str) -> Status {
    Status::bad_request(format!(
        "strconv.ParseInt: parsing {text:?}: invalid syntax"
    ))
}

fn invalid_options(errors: Vec<schema::field_error::FieldError>) -> Status {
    Status::invalid(
        api::status::About::new("meta.k8s.io", "ListOptions"),
        "",
        errors,
    )
}

fn forbidden_match(why: &str) -> Status {
    invalid_options(vec![schema::field_error::FieldError::forbidden(
        "resourceVersionMatch",
        why,
    )])
}

/// The objects a list or deletecollection is about, and the token of the next page.
pub async fn select(call: &Call) -> Result<(List, Option<String>), Status> {
    let selection = Selection::read(call)?;
    let page = page(call)?;
    if page.after.is_none()
        && let Some(revision) = revision(call)?
    {
        fresh(call, revision).await?;
    }
    let labels = selection.exact_labels();
    let known = call.endpoint.resource.strategy.field_names();
    let namespace = call.namespace();
    let options = ListOptions {
        namespace: (!namespace.is_empty()).then_some(namespace),
        field: selection.exact_field(known),
        labels: &labels,
        limit: page.limit,
        after: page.after.clone(),
        at: page.at,
    };
    let matches = |entry: &Entry| selection.matches(entry);
    let filter: Option<&(dyn Fn(&Entry) -> bool + Send + Sync)> = if selection.is_everything() {
        None
    } else {
        Some(&matches)
    };
    let list = call
        .server
        .store
        .list(&call.endpoint.prefix, &options, filter)
        .await;
    let mut list = list.map_err(|error| match error {
        ListError::Expired { .. } => expired(&page, call),
        ListError::Future { requested, current } => too_large(requested, current),
        error => Status::internal(error),
    })?;
    let next = match list.items.last() {
        Some(last) if list.more => Some(token(call, last, page.at.unwrap_or(list.revision))),
        _ => None,
    };
    list.items = selection
        .narrow(&call.endpoint, std::mem::take(&mut list.items))
        .await?;
    Ok((list, next))
}

fn token(call: &Call, last: &Arc<Entry>, revision: Revision) -> String {
    let start = last.key.as_str()[call.endpoint.prefix.len()..].to_owned();
    let rv = i64::try_from(revision.0).unwrap_or(INCONSISTENT);
    Continue {
        v: "meta.k8s.io/v1".to_owned(),
        rv,
        start,
    }
    .encode()
}

fn expired(page: &Page, call: &Call) -> Status {
    let Some(after) = &page.after else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let token = Continue {
        v: "meta.k8s.io/v1".to_owned(),
        rv: INCONSISTENT,
        start: after.as_str()[call.endpoint.prefix.len()..].to_owned(),
    };
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = token.encode();
    status
}

/// A collection.
pub async fn list(call: &Call) -> Result<Response<Body>, Status> {
    let (list, next) = select(call).await?;
    answer(call, &list, next).await
}

/// A collection as an answer.
pub async fn answer(
    call: &Call,
    list: &List,
    next: Option<String>,
) -> Result<Response<Body>, Status> {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if let Some(next) = next {
        metadata["continue"] = next.into();
        if let Some(remaining) = list
            .remaining
            .filter(|_| call.query.get("labelSelector").is_none())
        {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let endpoint = &call.endpoint;
    if call.accept.shape == Shape::Object {
        match call.accept.encoding {
            Encoding::Json if !endpoint.converts && !respond::pretty(call) => {
                return Ok(json_list(call, list, &metadata));
            }
            Encoding::Protobuf => return protobuf_list(call, list, &metadata),
            _ => {}
        }
    }
    let mut made = Vec::new();
    let source = Source::of(endpoint, &list.items, &mut made).await?;
    let head = |kind: &str, api_version: &str| json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
    match call.accept.shape {
        Shape::Table => {
            let head = respond::table_head(call, metadata, true);
            let row = |object| respond::row(call, object);
            respond::listing(call, Listing::new(head, "rows", source, row))
        }
        Shape::Metadata => {
            let head = head("PartialObjectMetadataList", call.accept.meta_version());
            let item = |object| respond::metadata(call, object);
            respond::listing(call, Listing::new(head, "items", source, item))
        }
        Shape::Object | Shape::Discovery => {
            let head = head(&endpoint.resource.list_kind, &endpoint.api_version);
            respond::listing(call, Listing::new(head, "items", source, |object| object))
        }
    }
}

/// The usual list: the objects' bytes as they rest.
fn json_list(call: &Call, list: &List, metadata: &Value) -> Response<Body> {
    let endpoint = &call.endpoint;
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        endpoint.resource.list_kind, endpoint.api_version
    );
    let mut pieces: Vec<Bytes> = Vec::with_capacity(list.items.len() * 2 + 2);
    pieces.push(head.into());
    for (at, entry) in list.items.iter().enumerate() {
        if at > 0 {
            pieces.push(Bytes::from_static(b","));
        }
        pieces.push(entry.json.clone());
    }
    pieces.push(Bytes::from_static(b"]}\n"));
    respond::response(
        call,
        StatusCode::OK,
        "application/json",
        Body::pieces(pieces),
    )
}

fn protobuf_list(call: &Call, list: &List, metadata: &Value) -> Result<Response<Body>, Status> {
    let endpoint = &call.endpoint;
    let catalog = call.server.catalog;
    let meta_type = catalog
        .table
        .id("meta.v1.ListMeta")
        .ok_or_else(|| Status::internal("the type ListMeta is missing"))?;
    let meta =
        schema::proto::encode(&catalog.table, meta_type, metadata).map_err(Status::internal)?;
    let items: Vec<Bytes> = list
        .items
        .iter()
        .map(|entry| respond::raw(call, entry))
        .collect::<Result<_, _>>()?;
    let raw = schema::proto::list(&meta, items.iter().map(|item| &item[..]));
    let kind = &endpoint.resource.list_kind;
    let wrapped = schema::proto::envelope::wrap(&endpoint.api_version, kind, &raw);
    let content_type = Encoding::Protobuf.content_type();
    Ok(respond::response(
        call,
        StatusCode::OK,
        content_type,
        Body::full(wrapped),
    ))
}
