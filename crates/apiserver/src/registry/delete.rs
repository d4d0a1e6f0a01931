//! Delete: at once, gracefully, or when the last finalizer is gone.

use api::meta;
use api::object::Object;
use api::resource::Resource;
use api::status::{About, Status};
use api::strategy::Deletion;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Expect, WriteError};

use super::call::{Call, dry_run, invalid_options};
use super::create::store_error;
use super::{Written, serialize};
use crate::admission::{Admission, Operation};
use crate::service_addresses;

const TRIES: usize = 16;

/// What a delete may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `propagationPolicy`, also from the older `orphanDependents`.
    pub propagation: Option<Propagation>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// Do everything but delete.
    pub dry_run: bool,
    /// Admission has been asked already, about what the delete is a part of.
    pub admitted: bool,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl DeleteOptions {
    /// From the body (a `DeleteOptions` object) and the query; the body counts where both speak.
    pub fn read(call: &Call, body: &[u8]) -> Result<DeleteOptions, Status> {
        let mut options = DeleteOptions::default();
        let query = &call.query;
        if let Some(text) = query.get("gracePeriodSeconds") {
            let seconds = text.parse().map_err(|_| {
                Status::bad_request(format!("gracePeriodSeconds: {text:?} is not a number"))
            })?;
            options.grace_seconds = Some(seconds);
        }
        options.propagation = query
            .get("propagationPolicy")
            .map(propagation)
            .transpose()?;
        if let Some(orphan) = query.optional_flag("orphanDependents") {
            options.propagation = Some(if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            });
        }
        let mut errors = Vec::new();
        options.dry_run = dry_run(query.all("dryRun"), &mut errors);
        if !errors.is_empty() {
            return Err(invalid_options("DeleteOptions", errors));
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(options);
        }
        let value = super::decode::delete_options(call, body)?;
        if let Some(seconds) = value.int("gracePeriodSeconds") {
            options.grace_seconds = Some(seconds);
        }
        match value.text("propagationPolicy") {
            "" => {}
            text => options.propagation = Some(propagation(text)?),
        }
        if let Some(orphan) = value.at("orphanDependents").as_bool() {
            if value.has("propagationPolicy") {
                return Err(Status::invalid(
                    About::new("meta.k8s.io", "DeleteOptions"),
                    "",
                    vec![schema::field_error::FieldError::invalid(
                        "propagationPolicy",
                        value.at("propagationPolicy").clone(),
                        "orphanDependents and deletionPropagation cannot be both set",
                    )],
                ));
            }
            options.propagation = Some(if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            });
        }
        let text = |path: &str| {
            Some(value.text(path))
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        options.uid = text("preconditions.uid");
        options.resource_version = text("preconditions.resourceVersion");
        options.dry_run |= dry_run(value.texts("dryRun"), &mut errors);
        if !errors.is_empty() {
            return Err(invalid_options("DeleteOptions", errors));
        }
        Ok(options)
    }
}

impl DeleteOptions {
    /// As an object.
    fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_seconds {
            value["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(uid) = &self.uid {
            value["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(revision) = &self.resource_version {
            value["preconditions"]["resourceVersion"] = revision.as_str().into();
        }
        if let Some(propagation) = self.propagation {
            value["propagationPolicy"] = match propagation {
                Propagation::Orphan => "Orphan",
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
            }
            .into();
        }
        if self.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        value
    }
}

fn propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => Err(Status::invalid(
            About::new("meta.k8s.io", "DeleteOptions"),
            "",
            vec![schema::field_error::FieldError::not_supported(
                "propagationPolicy",
                other,
                &["Background", "Foreground", "Orphan", "nil"],
            )],
        )),
    }
}

/// What a delete does to one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// It goes.
    Remove,
    /// It is changed to this, and goes later.
    Mark(Value),
    /// It is going already.
    Wait,
}

/// Decides what a delete does, by the object alone.
pub(super) fn plan(
    resource: &Resource,
    live: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Plan {
    let mut object = live.clone();
    if !meta::is_terminating(live) {
        resource.strategy.prepare_delete(&mut object, now);
    }
    let finalizers = finalizers(resource, &object, options.propagation);
    if finalizers.is_empty() {
        object.remove("metadata.finalizers");
    } else {
        object.set("metadata.finalizers", finalizers.clone());
    }
    let namespace = &*resource.gvk.kind == "Namespace" && resource.gvk.group.is_empty();
    let held = !finalizers.is_empty() || (namespace && !live.list("spec.finalizers").is_empty());
    let grace = live.int("metadata.deletionGracePeriodSeconds");
    if meta::is_terminating(live) {
        match (grace, options.grace_seconds) {
            (Some(period), Some(wanted)) if wanted < period => {
                shorten(&mut object, period, wanted.max(0));
                if wanted <= 0 && !held {
                    return Plan::Remove;
                }
            }
            (Some(period), _) if period > 0 => return pending(live, object),
            _ if held => return pending(live, object),
            _ => return Plan::Remove,
        }
        return Plan::Mark(object);
    }
    let seconds = match resource.strategy.deletion(live, options.grace_seconds) {
        Deletion::Graceful { seconds } if seconds > 0 => seconds,
        _ if !held => return Plan::Remove,
        _ => 0,
    };
    let at = now
        .saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(now);
    meta::set_time(&mut object, "metadata.deletionTimestamp", at);
    object.set("metadata.deletionGracePeriodSeconds", seconds);
    if meta::generation(live) > 0 {
        object.set("metadata.generation", meta::generation(live) + 1);
    }
    if namespace {
        object.set("status.phase", "Terminating");
    }
    Plan::Mark(object)
}

/// Nothing new, unless the delete named another propagation.
fn pending(live: &Value, object: Value) -> Plan {
    if *live == object {
        Plan::Wait
    } else {
        Plan::Mark(object)
    }
}

fn shorten(object: &mut Value, period: i64, wanted: i64) {
    if let Some(at) = meta::time(object, "metadata.deletionTimestamp") {
        let earlier = at
            .saturating_sub(SignedDuration::from_secs(period - wanted))
            .unwrap_or(at);
        meta::set_time(object, "metadata.deletionTimestamp", earlier);
    }
    object.set("metadata.deletionGracePeriodSeconds", wanted);
}

/// The finalizers after the delete has had its say on dependents.
fn finalizers(resource: &Resource, live: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut list: Vec<String> = meta::finalizers(live).map(str::to_owned).collect();
    // A delete that says nothing leaves what an earlier one said.
    let propagation = match propagation {
        Some(propagation) => propagation,
        None if list.iter().any(|f| f == ORPHAN || f == FOREGROUND) => return list,
        None if orphans_by_default(resource) => Propagation::Orphan,
        None => Propagation::Background,
    };
    list.retain(|f| f != ORPHAN && f != FOREGROUND);
    match propagation {
        Propagation::Orphan => list.push(ORPHAN.to_owned()),
        Propagation::Foreground => list.push(FOREGROUND.to_owned()),
        Propagation::Background => {}
    }
    list
}

/// The kinds whose dependents stay when a delete says nothing.
fn orphans_by_default(resource: &Resource) -> bool {
    matches!(
        (&*resource.gvk.group, &*resource.gvk.kind),
        ("", "ReplicationController") | ("batch", "Job")
    )
}

/// Deletes the object `name`. The flag says that it is gone.
pub async fn delete(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
) -> Result<(Written, bool), Status> {
    let endpoint = &call.endpoint;
    let resource = &*endpoint.resource;
    let key = endpoint.key(call.namespace(), name);
    let store = &call.server.store;
    for _ in 0..TRIES {
        let entry = store
            .get(&key)
            .ok_or_else(|| Status::not_found(resource, name))?;
        let live = serialize::live(endpoint, &entry).await?;
        preconditions(resource, name, options, &live)?;
        if !options.admitted {
            let mut admission = Admission::write(call, Operation::Delete, "", options.dry_run);
            let shown = options.to_value();
            admission.name = name;
            admission.options = Some(&shown);
            call.server.admission.delete(&admission, &live).await?;
        }
        if &*resource.gvk.group == "batch"
            && &*resource.gvk.kind == "Job"
            && options.propagation.is_none()
        {
            call.warn(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
            );
        }
        let object = match plan(resource, &live, options, call.now) {
            Plan::Wait => return Ok((Written::Entry(entry), false)),
            Plan::Remove if options.dry_run => return Ok((Written::Value(live), true)),
            Plan::Remove => match store.delete(key.clone(), Expect::At(entry.revision)).await {
                Ok(_) => {
                    service_addresses::release(&call.server, resource, &live).await;
                    return Ok((Written::Value(live), true));
                }
                Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => continue,
                Err(error) => return Err(store_error(call, error)),
            },
            Plan::Mark(object) if options.dry_run => return Ok((Written::Value(object), false)),
            Plan::Mark(object) => object,
        };
        let rest = serialize::to_storage(endpoint, &object).await?;
        let stored = serialize::stored(resource, &rest)?;
        match store
            .update(key.clone(), Expect::At(entry.revision), stored)
            .await
        {
            Ok(entry) => return Ok((Written::Entry(entry), false)),
            Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
            Err(error) => return Err(store_error(call, error)),
        }
    }
    Err(Status::modified(resource, name))
}

fn preconditions(
    resource: &Resource,
    name: &str,
    options: &DeleteOptions,
    live: &Value,
) -> Result<(), Status> {
    let failed = |what: &str, wanted: &str, held: &str| {
        let why = format!(
            "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {held}"
        );
        Err(Status::conflict(resource, name, why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != meta::uid(live) => failed("UID", uid, meta::uid(live)),
        (_, Some(rv)) if rv != meta::resource_version(live) => {
            failed("ResourceVersion", rv, meta::resource_version(live))
        }
        _ => Ok(()),
    }
}

/// The answer to a delete: the object while it lingers (and for kinds whose deletes have always
/// answered it), else a success.
pub(super) fn answer(
    call: &Call,
    name: &str,
    written: Written,
    gone: bool,
) -> Result<Written, Status> {
    let resource = &call.endpoint.resource;
    let returned = [
        "Pod",
        "Service",
        "PersistentVolumeClaim",
        "PersistentVolume",
        "ServiceAccount",
        "PodTemplate",
        "ResourceQuota",
        "PodDisruptionBudget",
    ];
    if !gone || returned.contains(&&*resource.gvk.kind) {
        return Ok(written);
    }
    let uid = match &written {
        Written::Value(value) => meta::uid(value).to_owned(),
        Written::Entry(entry) => meta::uid(&serialize::parse(&entry.json)?).to_owned(),
    };
    Ok(Written::Value(Status::success(&**resource, name, &uid)))
}

#[cfg(test)]
mod tests;
