//! ResourceQuota: what a write adds is counted against the quotas of its namespace, and recorded in
//! their status with a conditional write before the object itself is stored. A controller counts
//! anew from time to time, which also gives back what failed writes had taken.

use std::collections::BTreeMap;

use api::meta;
use api::object::Object;
use api::quantity::Quantity;
use api::status::{About, Status};
use api::strategy::Part;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Admission, Operation};
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, update};
use api::quota::usage::{Usage, of};
use api::quota::{scope, usage};

/// Counts the write and records it, or refuses.
pub fn admit<'a>(
    admission: &'a Admission<'_>,
    object: &'a Value,
    old: Option<&'a Value>,
) -> BoxFuture<'a, Result<(), Status>> {
    let quotas = match delta(admission, object, old) {
        Some(delta) => interested(admission, object, &delta),
        None => Vec::new(),
    };
    if quotas.is_empty() {
        return Box::pin(std::future::ready(Ok(())));
    }
    Box::pin(async move {
        for (quota, delta) in &quotas {
            missing(admission, quota, object)?;
            charge(admission, quota, delta, object).await?;
        }
        Ok(())
    })
}

/// What the write adds; none when it adds nothing that any quota could count.
fn delta(admission: &Admission<'_>, object: &Value, old: Option<&Value>) -> Option<Usage> {
    let resource = &*admission.call.endpoint.resource;
    if !admission.subresource.is_empty() && admission.subresource != "resize" {
        return None;
    }
    if !resource.namespaced
        || &*resource.plural == "resourcequotas" && admission.operation == Operation::Update
    {
        return None;
    }
    let mut delta = match admission.operation {
        Operation::Create => of(resource, object),
        Operation::Update => {
            if !usage::changes_with_updates(resource) {
                return None;
            }
            let mut delta = of(resource, object);
            for (name, held) in old.map(|old| of(resource, old)).unwrap_or_default() {
                let entry = delta.entry(name).or_default();
                *entry -= held;
            }
            delta
        }
        _ => return None,
    };
    delta.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
    (!delta.is_empty()).then_some(delta)
}

/// The quotas that count any of it, each with the part it counts.
fn interested(admission: &Admission<'_>, object: &Value, delta: &Usage) -> Vec<(Value, Usage)> {
    let namespace = admission.call.namespace();
    let quotas = admission
        .objects()
        .list("", "resourcequotas", Some(namespace));
    quotas
        .iter()
        .filter_map(|entry| serde_json::from_slice::<Value>(&entry.json).ok())
        .filter(|quota| scope::matches(quota, &admission.call.endpoint.resource, object))
        .filter_map(|quota| {
            let hard = quota.map("status.hard")?;
            let counted: Usage = delta
                .iter()
                .filter(|(name, _)| hard.contains_key(name.as_str()))
                .map(|(name, amount)| (name.clone(), *amount))
                .collect();
            let asked =
                !counted.is_empty() || usage::demands(hard, &admission.call.endpoint.resource);
            asked.then_some((quota, counted))
        })
        .collect()
}

/// A quota on computing resources demands that every container says what it needs.
fn missing(admission: &Admission<'_>, quota: &Value, object: &Value) -> Result<(), Status> {
    if admission.operation != Operation::Create || !admission.of("", "pods") {
        return Ok(());
    }
    let Some(hard) = quota.map("status.hard") else {
        return Ok(());
    };
    let unset = usage::unset(hard, object);
    if unset.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unset
        .iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.join(",")))
        .collect();
    let why = format!(
        "failed quota: {}: must specify {}",
        meta::name(quota),
        list.join("; ")
    );
    Err(admission.forbid(object, why))
}

fn amounts(map: &BTreeMap<String, Quantity>) -> String {
    map.iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect::<Vec<_>>()
        .join(",")
}

fn charge<'a>(
    admission: &'a Admission<'_>,
    quota: &'a Value,
    delta: &'a Usage,
    object: &'a Value,
) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        let name = meta::name(quota).to_owned();
        let server = &admission.call.server;
        let endpoint = server
            .endpoints
            .get("", "v1", "resourcequotas")
            .ok_or_else(|| Status::internal("quotas are not served"))?;
        let own = Call::internal(server, endpoint, admission.call.namespace());
        let change = Change {
            part: Part::Status,
            subresource: "status",
            create_missing: false,
            managed: false,
            propose: Box::new(|live| {
                let live =
                    live.ok_or_else(|| Status::not_found(About::new("", "resourcequotas"), &name))?;
                spend(admission, live, delta, object)
            }),
        };
        let options = WriteOptions {
            dry_run: admission.dry_run,
            field_manager: "corten-apiserver".to_owned(),
            ..WriteOptions::default()
        };
        match update(&own, &name, change, &options).await {
            // It went meanwhile, and counts nothing any more.
            Err(status) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    })
}

/// The quota with `delta` used, or the refusal.
fn spend(
    admission: &Admission<'_>,
    quota: &Value,
    delta: &Usage,
    object: &Value,
) -> Result<Value, Status> {
    let read = |path: &str, name: &str| quota.at(path).get(name).map(Quantity::of);
    let (mut asked, mut used, mut limited) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut unknown = Vec::new();
    let mut after = quota.clone();
    for (name, amount) in delta {
        let Some(hard) = read("status.hard", name) else {
            continue;
        };
        let Some(held) = read("status.used", name) else {
            unknown.push(name.clone());
            continue;
        };
        let sum = held + *amount;
        if sum > hard {
            asked.insert(name.clone(), *amount);
            used.insert(name.clone(), held);
            limited.insert(name.clone(), hard);
        } else {
            meta::map_mut(after.place("status.used")).insert(name.clone(), json!(sum.to_string()));
        }
    }
    let quota_name = meta::name(quota);
    if !unknown.is_empty() {
        let why = format!(
            "status unknown for quota: {quota_name}, resources: {}",
            unknown.join(",")
        );
        return Err(admission.forbid(object, why));
    }
    if !asked.is_empty() {
        let why = format!(
            "exceeded quota: {quota_name}, requested: {}, used: {}, limited: {}",
            amounts(&asked),
            amounts(&used),
            amounts(&limited)
        );
        return Err(admission.forbid(object, why));
    }
    Ok(after)
}
