//! Update: the one way in which anything about a stored object changes.

use api::meta;
use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use serde_json::Value;
use store::{Entry, Expect, Revision, WriteError};

use super::call::{Call, WriteOptions};
use super::create::{create_managed, invalid, namespace_of, store_error};
use super::{Written, manage, serialize, sub};
use crate::admission::{Admission, Operation, configuration};
use crate::extensions;
use crate::service_addresses;

/// Tries of a write that does not insist on a revision.
const TRIES: usize = 16;

/// What an update is to do.
pub struct Change<'a> {
    /// Which part of the object it may change.
    pub part: Part<'a>,
    /// The subresource it came by; empty for the object itself.
    pub subresource: &'a str,
    /// The object may be missing, and is created then.
    pub create_missing: bool,
    /// `propose` has recorded who owns what (server-side apply).
    pub managed: bool,
    /// What the object shall be, given what it is (none: missing). Called again after a conflict.
    #[allow(clippy::type_complexity)]
    pub propose: Box<dyn FnMut(Option<&Value>) -> Result<Value, Status> + Send + 'a>,
}

/// Carries a change out on the object `name`; the flag says that it was created.
pub async fn update(
    call: &Call,
    name: &str,
    mut change: Change<'_>,
    options: &WriteOptions,
) -> Result<(Written, bool), Status> {
    let endpoint = &call.endpoint;
    let resource = &*endpoint.resource;
    let key = endpoint.key(call.namespace(), name);
    for _ in 0..TRIES {
        let Some(entry) = call.server.store.get(&key) else {
            if !change.create_missing {
                return Err(Status::not_found(resource, name));
            }
            let object = (change.propose)(None)?;
            return create_managed(call, object, options, change.managed)
                .await
                .map(|w| (w, true));
        };
        let live = serialize::live(endpoint, &entry).await?;
        let object = (change.propose)(Some(&live))?;
        if let Some(written) = attempt(call, &mut change, options, &entry, &live, object).await? {
            return Ok((written, false));
        }
    }
    Err(Status::modified(resource, name))
}

/// One try; none when somebody else was faster and trying again is right.
async fn attempt(
    call: &Call,
    change: &mut Change<'_>,
    options: &WriteOptions,
    entry: &Entry,
    live: &Value,
    mut object: Value,
) -> Result<Option<Written>, Status> {
    let endpoint = &call.endpoint;
    let resource = &*endpoint.resource;
    let name = meta::name(live);
    match serialize::sent_revision(&object)? {
        Some(sent) if Revision(sent) != entry.revision => {
            return Err(Status::modified(resource, name));
        }
        None if !resource.strategy.unconditional_update() && change.part == Part::Main => {
            return Err(invalid(
                call,
                live,
                vec![schema::field_error::FieldError::invalid(
                    "metadata.resourceVersion",
                    0,
                    "must be specified for an update",
                )],
            ));
        }
        _ => {}
    }
    let (sent, held) = (meta::uid(&object), meta::uid(live));
    // A patch that changes it is told by validation.
    if !sent.is_empty() && sent != held && call.info.verb != "patch" {
        let why =
            format!("Precondition failed: UID in precondition: {sent}, UID in object meta: {held}");
        return Err(Status::conflict(resource, name, why));
    }
    namespace_of(call, &mut object)?;
    if meta::name(&object).is_empty() {
        object.set("metadata.name", name);
    }
    object.set("metadata.resourceVersion", entry.revision.to_string());
    api::prepare::update(resource, change.part, &mut object, live, call.now);
    api::defaulting::apply(resource, &mut object);
    if !change.managed {
        manage::record(call, options, change.subresource, Some(live), &mut object);
    }

    let admission = Admission::write(call, Operation::Update, change.subresource, options.dry_run);
    let scale = change.subresource == "scale";
    let chain = &call.server.admission;
    if scale {
        // Who judges a scale sees a scale.
        let mut shown = sub::scale::of(resource, &object);
        let old = sub::scale::of(resource, live);
        if chain.mutate(&admission, &mut shown, Some(&old)).await? {
            sub::scale::put(resource, &mut object, shown.at("spec.replicas"));
        }
    } else if chain.mutate(&admission, &mut object, Some(live)).await? {
        // What others made of the object passes what a sent one does.
        namespace_of(call, &mut object)?;
        object.set("metadata.resourceVersion", entry.revision.to_string());
        api::prepare::update(resource, change.part, &mut object, live, call.now);
        api::defaulting::apply(resource, &mut object);
    }
    let addresses = service_addresses::reserve(
        &call.server,
        resource,
        &mut object,
        Some(live),
        options.dry_run,
    )
    .await?;
    let mut errors = api::validation::update(resource, change.part, &object, live);
    if change.part == Part::Main {
        errors.extend(configuration::validate(endpoint, &object, Some(live)));
        extensions::rules::judge(call, &object, Some(live), &mut errors);
    }
    if !errors.is_empty() {
        return Err(invalid(call, &object, errors));
    }
    for warning in resource
        .strategy
        .warnings_on_update(change.part, &object, live)
    {
        call.warn(warning);
    }
    if scale {
        let (shown, old) = (
            sub::scale::of(resource, &object),
            sub::scale::of(resource, live),
        );
        chain.validate(&admission, &shown, Some(&old)).await?;
    } else {
        chain.validate(&admission, &object, Some(live)).await?;
    }

    if ends_deletion(&object) {
        if options.dry_run {
            return Ok(Some(Written::Value(object)));
        }
        return match call
            .server
            .store
            .delete(entry.key.clone(), Expect::At(entry.revision))
            .await
        {
            Ok(_) => {
                service_addresses::release(&call.server, resource, live).await;
                Ok(Some(Written::Value(object)))
            }
            Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(call, error)),
        };
    }
    if options.dry_run {
        return Ok(Some(Written::Value(object)));
    }
    let rest = serialize::to_storage(endpoint, &object).await?;
    let mut stored = serialize::stored(resource, &rest)?;
    if serialize::same(entry, &stored.bytes, stored.rv_at) {
        // Nothing changed: nothing is written, and no watcher hears of it.
        return Ok(call
            .server
            .store
            .get(&entry.key)
            .filter(|e| e.revision == entry.revision)
            .map(Written::Entry));
    }
    stored.ttl = super::create::time_to_live(call);
    match call
        .server
        .store
        .update(entry.key.clone(), Expect::At(entry.revision), stored)
        .await
    {
        Ok(entry) => {
            addresses.keep().await;
            Ok(Some(Written::Entry(entry)))
        }
        Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(None),
        Err(error) => Err(store_error(call, error)),
    }
}

/// Was this the last thing that held a deleted object?
fn ends_deletion(object: &Value) -> bool {
    meta::is_terminating(object)
        && object.list("metadata.finalizers").is_empty()
        && object
            .int("metadata.deletionGracePeriodSeconds")
            .unwrap_or(0)
            == 0
        && (object.text("kind") != "Namespace" || object.list("spec.finalizers").is_empty())
}
