//! Create.

use api::meta;
use api::object::Object;
use api::status::{About, Status};
use serde_json::Value;
use store::WriteError;

use super::call::{Call, WriteOptions};
use super::{Written, manage, serialize};
use crate::admission::{Admission, Operation, configuration};
use crate::extensions;
use crate::server::new_uid;
use crate::service_addresses;

/// Names tried for an object with `generateName`.
const GENERATED_TRIES: usize = 8;

/// Creates `object`, which is in the endpoint's version, under the checks every create passes.
pub async fn create(call: &Call, object: Value, options: &WriteOptions) -> Result<Written, Status> {
    create_managed(call, object, options, false).await
}

/// `create`; `managed` says that the object's managedFields are those of an apply already.
pub(super) async fn create_managed(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
    managed: bool,
) -> Result<Written, Status> {
    let endpoint = &call.endpoint;
    let resource = &*endpoint.resource;
    if let Some(why) = endpoint.closing {
        return Err(Status::forbidden(resource, meta::name(&object), why));
    }
    namespace_of(call, &mut object)?;
    if serialize::sent_revision(&object)?.is_some() {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let generated = meta::name(&object).is_empty() && !meta::generate_name(&object).is_empty();
    if generated {
        generate(call, &mut object);
    }
    let uid = new_uid(&call.server.config.random);
    api::prepare::create(resource, &mut object, &uid, call.now);
    api::defaulting::apply(resource, &mut object);
    // What the kind and admission add belongs to nobody, so ownership is recorded before.
    if !managed {
        manage::record(call, options, "", None, &mut object);
    }
    api::prepare::create_own(resource, &mut object, call.now);

    // A generated name is not known yet where the object may still change.
    let sent = if generated {
        String::new()
    } else {
        meta::name(&object).to_owned()
    };
    let mut admission = Admission::write(call, Operation::Create, "", options.dry_run);
    admission.name = &sent;
    let chain = &call.server.admission;
    let changed = chain.mutate(&admission, &mut object, None).await?;
    if changed {
        // What others made of the object passes what a sent one does.
        namespace_of(call, &mut object)?;
        api::prepare::create(resource, &mut object, &uid, call.now);
        api::defaulting::apply(resource, &mut object);
        api::prepare::create_own(resource, &mut object, call.now);
    }
    let addresses =
        service_addresses::reserve(&call.server, resource, &mut object, None, options.dry_run)
            .await?;
    let mut errors = api::validation::create(resource, &object);
    errors.extend(configuration::validate(endpoint, &object, None));
    extensions::rules::judge(call, &object, None, &mut errors);
    if !errors.is_empty() {
        return Err(invalid(call, &object, errors));
    }
    for warning in resource.strategy.warnings(&object) {
        call.warn(warning);
    }
    let name = meta::name(&object).to_owned();
    admission.name = &name;
    chain.validate(&admission, &object, None).await?;
    if options.dry_run {
        return Ok(Written::Value(object));
    }
    let mut tries = 1;
    let entry = loop {
        let key = endpoint.key(meta::namespace(&object), meta::name(&object));
        let rest = serialize::to_storage(endpoint, &object).await?;
        let mut stored = serialize::stored(resource, &rest)?;
        stored.ttl = time_to_live(call);
        match call.server.store.create(key, stored).await {
            Ok(entry) => break entry,
            Err(WriteError::Exists { .. }) if generated && tries < GENERATED_TRIES => {
                tries += 1;
                generate(call, &mut object);
            }
            Err(WriteError::Exists { .. }) if generated => {
                return Err(Status::generate_name_conflict(
                    resource,
                    meta::name(&object),
                ));
            }
            Err(WriteError::Exists { .. }) => {
                return Err(Status::already_exists(resource, meta::name(&object)));
            }
            Err(error) => return Err(store_error(call, error)),
        }
    };
    addresses.keep().await;
    Ok(Written::Entry(entry))
}

/// Events go after an hour.
pub(super) fn time_to_live(call: &Call) -> Option<std::time::Duration> {
    let resource = &call.endpoint.resource;
    (&*resource.gvk.kind == "Event").then(|| std::time::Duration::from_secs(3600))
}

fn generate(call: &Call, object: &mut Value) {
    let random = &call.server.config.random;
    let base = meta::generate_name(object).to_owned();
    let name = api::names::generate(&base, |bound| {
        let mut bytes = [0u8; 4];
        random(&mut bytes);
        u32::from_le_bytes(bytes) as usize % bound.max(1)
    });
    object.set("metadata.name", name);
}

/// The object lives in the namespace of the path; one that says otherwise is refused.
pub fn namespace_of(call: &Call, object: &mut Value) -> Result<(), Status> {
    let sent = meta::namespace(object);
    let path = call.namespace();
    if !sent.is_empty() && sent != path {
        let why = if call.endpoint.resource.namespaced {
            format!(
                "the namespace of the provided object does not match the namespace sent on the request ({sent} != {path})"
            )
        } else {
            "namespace may not be set on a cluster-scoped object".to_owned()
        };
        return Err(Status::bad_request(why));
    }
    if path.is_empty() {
        object.remove("metadata.namespace");
    } else {
        object.set("metadata.namespace", path);
    }
    Ok(())
}

/// The 422 for an object of the call's kind.
pub fn invalid(
    call: &Call,
    object: &Value,
    errors: Vec<schema::field_error::FieldError>,
) -> Status {
    let gvk = &call.endpoint.resource.gvk;
    Status::invalid(
        About::new(&gvk.group, &gvk.kind),
        meta::name(object),
        errors,
    )
}

/// What a client hears when the store fails.
pub fn store_error(call: &Call, error: WriteError) -> Status {
    if let WriteError::TooLarge { .. } = error {
        return Status::too_large(error);
    }
    tracing::error!(%error, resource = %call.endpoint.resource.plural, "write to the store");
    Status::internal(error)
}
