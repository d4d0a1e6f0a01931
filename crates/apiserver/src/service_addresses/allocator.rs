//! Addresses are taken by creating IPAddress objects, which only one can do for each: right also when
//! several servers share a store (KEP-1880).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use futures::{StreamExt, TryStreamExt};
use schema::field_error::FieldError;
use serde_json::{Value, json};

use super::networks;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{DeleteOptions, create, delete};
use crate::server::{ApiServer, StartError};

const GROUP: &str = "networking.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// Objects written at one time when repairing.
const AT_ONCE: usize = 64;

/// Why there is no address.
pub(super) enum Fault {
    /// Every address is taken.
    Full,
    /// This one cannot be had.
    Refused(Ipv4Addr, String),
    /// It asks for address families that cannot be had.
    Families(Vec<FieldError>),
    /// The object that takes it cannot be written.
    Store(Status),
}

type Service = (String, String);

fn call(server: &Arc<ApiServer>) -> Result<Call, Status> {
    let endpoint = server.endpoints.get(GROUP, "v1", "ipaddresses");
    let endpoint = endpoint.ok_or_else(|| Status::internal("IPAddresses are not served"))?;
    Ok(Call::internal(server, endpoint, ""))
}

fn object(service: &Service, address: IpAddr) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY: family, MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services", "namespace": service.0, "name": service.1,
        }},
    })
}

/// Takes the address; false when it is taken already.
async fn take(server: &Arc<ApiServer>, service: &Service, address: IpAddr) -> Result<bool, Status> {
    let options = WriteOptions {
        field_manager: "corten-apiserver".to_owned(),
        ..WriteOptions::default()
    };
    let call = call(server)?;
    // Boxed, as this is within the create of a Service.
    match Box::pin(create(&call, object(service, address), &options)).await {
        Ok(_) => Ok(true),
        Err(status) if status.reason == "AlreadyExists" => Ok(false),
        Err(status) => Err(status),
    }
}

fn is_taken(server: &ApiServer, address: IpAddr) -> bool {
    let name = address.to_string();
    server
        .objects
        .entry(GROUP, "ipaddresses", "", &name)
        .is_some()
}

/// Takes one address in particular.
pub(super) async fn claim(
    server: &Arc<ApiServer>,
    service: &Service,
    address: Ipv4Addr,
    dry_run: bool,
) -> Result<(), Fault> {
    let refused = |why: String| Fault::Refused(address, why);
    let ranges = networks::ready(&server.objects.values(GROUP, "servicecidrs", None));
    let range = ranges.iter().find(|r| r.network().contains(&address));
    let Some(range) = range else {
        let why = "the provided network does not match the current range";
        return Err(refused(why.to_owned()));
    };
    if !ranges.iter().any(|r| r.has(address)) {
        return Err(refused(format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
            range.network()
        )));
    }
    let taken = || refused("provided IP is already allocated".to_owned());
    if is_taken(server, address.into()) {
        return Err(taken());
    }
    if dry_run {
        return Ok(());
    }
    match take(server, service, address.into()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(taken()),
        Err(status) => Err(Fault::Store(status)),
    }
}

/// Takes any address.
pub(super) async fn any(
    server: &Arc<ApiServer>,
    service: &Service,
    dry_run: bool,
) -> Result<Ipv4Addr, Fault> {
    let ranges = networks::ready(&server.objects.values(GROUP, "servicecidrs", None));
    for range in ranges {
        for address in range.addresses(&server.addresses.random) {
            if is_taken(server, address.into()) {
                continue;
            }
            if dry_run {
                return Ok(address);
            }
            match take(server, service, address.into()).await {
                Ok(true) => return Ok(address),
                // Somebody else was faster.
                Ok(false) => {}
                Err(status) => return Err(Fault::Store(status)),
            }
        }
    }
    Err(Fault::Full)
}

fn is_of(object: &Value, service: &Service) -> bool {
    let parent = object.at("spec.parentRef");
    parent.text("group").is_empty()
        && parent.text("resource") == "services"
        && parent.text("namespace") == service.0
        && parent.text("name") == service.1
}

/// Gives an address back, if it is still this Service's.
pub(super) async fn release(server: &Arc<ApiServer>, service: &Service, address: IpAddr) {
    let name = address.to_string();
    let Some(object) = server.objects.value(GROUP, "ipaddresses", "", &name) else {
        return;
    };
    if !is_of(&object, service) {
        return;
    }
    let options = DeleteOptions {
        uid: Some(meta::uid(&object).to_owned()),
        ..DeleteOptions::default()
    };
    let gone = match call(server) {
        Ok(call) => Box::pin(delete(&call, &name, &options)).await.map(|_| ()),
        Err(status) => Err(status),
    };
    if let Err(status) = gone
        && status.code != 404
    {
        // It is taken up again by the repair at the next start.
        tracing::warn!(%address, %status, "give the address of a service back");
    }
}

/// See [`super::repair`].
pub(super) async fn repair(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let mut wanted: HashMap<IpAddr, Service> = HashMap::new();
    for service in server.objects.values("", "services", None) {
        let owner = (
            meta::namespace(&service).to_owned(),
            meta::name(&service).to_owned(),
        );
        for address in super::held(&service).addresses {
            wanted.entry(address).or_insert_with(|| owner.clone());
        }
    }
    let lost: Vec<(IpAddr, Service)> = server
        .objects
        .values(GROUP, "ipaddresses", None)
        .iter()
        .filter(|object| meta::label(object, MANAGED_BY) == Some(MANAGER))
        .filter_map(|object| {
            let address = meta::name(object).parse().ok()?;
            let parent = object.at("spec.parentRef");
            let owner = (
                parent.text("namespace").to_owned(),
                parent.text("name").to_owned(),
            );
            (wanted.get(&address) != Some(&owner)).then_some((address, owner))
        })
        .collect();
    futures::stream::iter(&lost)
        .for_each_concurrent(AT_ONCE, |(address, owner)| release(server, owner, *address))
        .await;
    let missing = wanted
        .iter()
        .filter(|(address, _)| !is_taken(server, **address));
    futures::stream::iter(missing)
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, |(address, owner)| async move {
            match take(server, owner, *address).await {
                Ok(_) => Ok(()),
                Err(status) => Err(StartError::Bootstrap {
                    what: format!("ipaddress {address}"),
                    reason: status.message,
                }),
            }
        })
        .await
}
