//! ClusterIPs and node ports of Services: taken with the write that needs them, given back when it
//! fails or the Service goes.
//!
//! Which addresses are taken is said by IPAddress objects, and which may be given by the ServiceCIDRs
//! that are ready (KEP-1880): [`allocator`]. Ports are in memory, rebuilt from the Services at start:
//! [`ports`].

mod allocator;
mod families;
mod networks;
mod ports;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::resource::Resource;
use api::status::{About, Status};
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::config::Random;
use crate::objects::Objects;
use crate::server::{ApiServer, StartError};
use allocator::Fault;
use ports::Ports;

/// The addresses and ports of Services.
pub struct Addresses {
    network: Ipv4Net,
    ports: Mutex<Ports>,
    random: Random,
}

/// What a write has taken; given back unless [`Reservation::keep`] is called.
#[must_use]
pub struct Reservation {
    server: Arc<ApiServer>,
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
    /// Given back when the write succeeds: what the old Service had and the new one lacks.
    freed: Held,
    service: (String, String),
}

/// The addresses and ports that a Service has.
#[derive(Default)]
struct Held {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Reservation {
    fn nothing(server: &Arc<ApiServer>) -> Reservation {
        Reservation {
            server: server.clone(),
            ports: Vec::new(),
            addresses: Vec::new(),
            freed: Held::default(),
            service: Default::default(),
        }
    }

    /// The write has happened.
    pub async fn keep(mut self) {
        self.ports.clear();
        self.addresses.clear();
        let freed = std::mem::take(&mut self.freed);
        give_back(&self.server, &self.service, &freed).await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.ports.is_empty() && self.addresses.is_empty() {
            return;
        }
        let taken = Held {
            addresses: std::mem::take(&mut self.addresses),
            ports: std::mem::take(&mut self.ports),
        };
        let (server, service) = (self.server.clone(), std::mem::take(&mut self.service));
        // A write that fails does not wait for this; whoever asks meanwhile finds them taken.
        tokio::spawn(async move { give_back(&server, &service, &taken).await });
    }
}

async fn give_back(server: &Arc<ApiServer>, service: &(String, String), held: &Held) {
    if !held.ports.is_empty() {
        let mut ports = server.addresses.ports.lock();
        held.ports.iter().for_each(|port| ports.give_back(*port));
    }
    for address in &held.addresses {
        allocator::release(server, service, *address).await;
    }
}

impl Addresses {
    /// Addresses of this network first of all, ports of this range (both ends included).
    pub fn new(network: Ipv4Net, ports: (u16, u16), random: Random) -> Addresses {
        Addresses {
            network,
            ports: Mutex::new(Ports::new(ports)),
            random,
        }
    }

    /// Enters the ports that the Services have.
    pub fn load(&self, objects: &Objects) {
        let mut ports = self.ports.lock();
        for service in objects.values("", "services", None) {
            for port in held(&service).ports {
                // Two Services with one port come from another server's mistake; both keep it
                // until one goes.
                ports.take(port);
            }
        }
    }

    /// The network of the default ServiceCIDR.
    pub fn network(&self) -> Ipv4Net {
        self.network
    }

    /// The first address: that of the `kubernetes` Service.
    pub fn first(&self) -> Ipv4Addr {
        networks::Range::new(self.network).first()
    }
}

/// Makes the IPAddress objects that Services lack and takes away those whose Services are gone or
/// have another address: what a server that stopped half-way has left.
pub async fn repair(server: &Arc<ApiServer>) -> Result<(), StartError> {
    allocator::repair(server).await
}

/// Fills in and takes what a Service needs; anything else needs nothing.
pub async fn reserve(
    server: &Arc<ApiServer>,
    resource: &Resource,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Reservation, Status> {
    let mut reservation = Reservation::nothing(server);
    if !is_service(resource) {
        return Ok(reservation);
    }
    reservation.service = (
        meta::namespace(object).to_owned(),
        meta::name(object).to_owned(),
    );
    let had = old.map(held).unwrap_or_default();
    let about = About::new("", "Service");
    // From here on an early return gives back what has been taken.
    if let Some(taken) = address(server, &reservation.service, object, old, &had, dry_run)
        .await
        .map_err(|fault| refusal(fault, about, object))?
    {
        reservation.addresses.push(taken);
    }
    let (taken, errors) = {
        let mut books = server.addresses.ports.lock();
        let mut hand = Hand {
            books: &mut books,
            taken: Vec::new(),
            random: &server.addresses.random,
            errors: Vec::new(),
        };
        ports(&mut hand, object, old, &had.ports);
        (hand.taken, hand.errors)
    };
    reservation.ports = taken;
    if !errors.is_empty() {
        return Err(Status::invalid(about, meta::name(object), errors));
    }
    let has = held(object);
    reservation.freed = Held {
        addresses: had
            .addresses
            .into_iter()
            .filter(|a| !has.addresses.contains(a))
            .collect(),
        ports: had
            .ports
            .into_iter()
            .filter(|p| !has.ports.contains(p))
            .collect(),
    };
    if dry_run {
        // Nothing was written for the address; the ports go back with the reservation.
        reservation.addresses.clear();
    }
    Ok(reservation)
}

fn refusal(fault: Fault, about: About<'_>, object: &Value) -> Status {
    let name = meta::name(object);
    match fault {
        Fault::Full => Status::internal(format!(
            "failed to allocate a serviceIP for Service {name:?}: range is full"
        )),
        Fault::Refused(address, why) => {
            let why = format!("failed to allocate IP {address}: {why}");
            let shown = json!([address.to_string()]);
            let error = FieldError::invalid("spec.clusterIPs", shown, why);
            Status::invalid(about, name, vec![error])
        }
        Fault::Families(errors) => Status::invalid(about, name, errors),
        Fault::Store(status) => status,
    }
}

/// Gives back what a Service that is gone had.
pub async fn release(server: &Arc<ApiServer>, resource: &Resource, object: &Value) {
    if is_service(resource) {
        let service = (
            meta::namespace(object).to_owned(),
            meta::name(object).to_owned(),
        );
        give_back(server, &service, &held(object)).await;
    }
}

fn is_service(resource: &Resource) -> bool {
    &*resource.gvk.kind == "Service" && resource.gvk.group.is_empty()
}

/// The addresses and ports a Service has, each once: an address stands in two fields, and one port
/// may serve TCP and UDP.
fn held(service: &Value) -> Held {
    let mut held = Held::default();
    for ip in service
        .texts("spec.clusterIPs")
        .chain(std::iter::once(service.text("spec.clusterIP")))
    {
        if let Ok(ip) = ip.parse()
            && !held.addresses.contains(&ip)
        {
            held.addresses.push(ip);
        }
    }
    let numbers = service
        .list("spec.ports")
        .iter()
        .filter_map(|p| p.int("nodePort"));
    let check = service.int("spec.healthCheckNodePort");
    for port in numbers.chain(check) {
        if let Ok(port) = u16::try_from(port)
            && port > 0
            && !held.ports.contains(&port)
        {
            held.ports.push(port);
        }
    }
    held
}

fn needs_address(service: &Value) -> bool {
    service.text("spec.type") != "ExternalName"
}

fn needs_ports(service: &Value) -> bool {
    match service.text("spec.type") {
        "NodePort" => true,
        "LoadBalancer" => service
            .at("spec.allocateLoadBalancerNodePorts")
            .as_bool()
            .unwrap_or(true),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    service.text("spec.type") == "LoadBalancer"
        && service.text("spec.externalTrafficPolicy") == "Local"
}

/// Fills in the address; gives the one that was taken.
async fn address(
    server: &Arc<ApiServer>,
    owner: &(String, String),
    service: &mut Value,
    old: Option<&Value>,
    had: &Held,
    dry_run: bool,
) -> Result<Option<IpAddr>, Fault> {
    if !needs_address(service) {
        for path in [
            "spec.clusterIP",
            "spec.clusterIPs",
            "spec.ipFamilies",
            "spec.ipFamilyPolicy",
        ] {
            if old.is_some() || service.text(path).is_empty() {
                service.remove(path);
            }
        }
        return Ok(None);
    }
    // An update that leaves the address out keeps it.
    if let Some(old) = old.filter(|old| needs_address(old)) {
        if service.text("spec.clusterIP").is_empty() {
            service.restore("spec.clusterIP", old);
        }
        if service.list("spec.clusterIPs").is_empty() {
            service.restore("spec.clusterIPs", old);
        }
    }
    let wanted = match service.text("spec.clusterIP") {
        "" => service
            .texts("spec.clusterIPs")
            .next()
            .unwrap_or("")
            .to_owned(),
        ip => ip.to_owned(),
    };
    families::settle(service, old).map_err(Fault::Families)?;
    let (address, taken) = match wanted.as_str() {
        "None" => {
            service.set("spec.clusterIP", "None");
            service.set("spec.clusterIPs", json!(["None"]));
            return Ok(None);
        }
        "" => {
            let address = allocator::any(server, owner, dry_run).await?;
            (address, Some(IpAddr::V4(address)))
        }
        text => {
            let Ok(address) = text.parse::<Ipv4Addr>() else {
                // Validation names what is wrong with it.
                return Ok(None);
            };
            if had.addresses.contains(&IpAddr::V4(address)) {
                (address, None)
            } else {
                allocator::claim(server, owner, address, dry_run).await?;
                (address, Some(IpAddr::V4(address)))
            }
        }
    };
    service.set("spec.clusterIP", address.to_string());
    service.set("spec.clusterIPs", json!([address.to_string()]));
    Ok(taken)
}

/// The ports in hand while one Service is looked at.
struct Hand<'a> {
    books: &'a mut Ports,
    taken: Vec<u16>,
    random: &'a Random,
    errors: Vec<FieldError>,
}

/// The port on which nodes say whether they have endpoints of a load balancer that keeps to them.
fn health_port(hand: &mut Hand<'_>, service: &mut Value, old: Option<&Value>, had: &[u16]) {
    let path = "spec.healthCheckNodePort";
    if !needs_health_port(service) {
        if old.is_some_and(needs_health_port) {
            service.remove(path);
        }
        return;
    }
    if service.int(path).unwrap_or(0) == 0
        && let Some(old) = old.filter(|old| needs_health_port(old))
    {
        service.restore(path, old);
    }
    match service.int(path).and_then(|p| u16::try_from(p).ok()) {
        None | Some(0) => match hand.books.any(hand.random) {
            Some(number) => {
                hand.taken.push(number);
                service.set(path, number);
            }
            None => hand.errors.push(FieldError::internal(
                path,
                "failed to allocate a HealthCheck NodePort: range is full",
            )),
        },
        Some(number) if !had.contains(&number) => match hand.books.claim(number) {
            ports::Claim::Done => hand.taken.push(number),
            ports::Claim::Taken | ports::Claim::Outside => {
                hand.errors.push(FieldError::internal(
                    path,
                    format!("failed to allocate requested HealthCheck NodePort {number}"),
                ));
            }
        },
        Some(_) => {}
    }
}

fn ports(hand: &mut Hand<'_>, service: &mut Value, old: Option<&Value>, had: &[u16]) {
    health_port(hand, service, old, had);
    if !needs_ports(service) {
        if old.is_some_and(needs_ports) && service.text("spec.type") != "LoadBalancer" {
            for port in service.list_mut("spec.ports") {
                port.remove("nodePort");
            }
        }
        return;
    }
    let before: Vec<Value> = old
        .map(|o| o.list("spec.ports").to_vec())
        .unwrap_or_default();
    let mut own: Vec<(u16, String)> = Vec::new();
    // Numbers asked for are taken first, so that none of them is given to another port before.
    let mut list: Vec<(usize, &mut Value)> = service
        .list_mut("spec.ports")
        .iter_mut()
        .enumerate()
        .collect();
    list.sort_by_key(|(_, port)| port.int("nodePort").unwrap_or(0) == 0);
    for (at, port) in list {
        let protocol = match port.text("protocol") {
            "" => "TCP".to_owned(),
            protocol => protocol.to_owned(),
        };
        // An update that leaves a port's number out keeps it.
        if port.int("nodePort").unwrap_or(0) == 0
            && let Some(same) = before.iter().find(|b| {
                b.text("name") == port.text("name")
                    && b.int("port") == port.int("port")
                    && b.text("protocol") == protocol
            })
            && let Some(number) = same.int("nodePort").filter(|n| *n > 0)
        {
            port.set("nodePort", number);
        }
        match port
            .int("nodePort")
            .and_then(|p| u16::try_from(p).ok())
            .filter(|p| *p > 0)
        {
            None => match hand.books.any(hand.random) {
                Some(number) => {
                    hand.taken.push(number);
                    port.set("nodePort", number);
                    own.push((number, protocol));
                }
                None => hand.errors.push(FieldError::internal(
                    format!("spec.ports[{at}].nodePort"),
                    "failed to allocate a nodePort: range is full",
                )),
            },
            Some(number) => {
                let known = had.contains(&number)
                    || own.iter().any(|(n, p)| *n == number && *p != protocol);
                if !known {
                    let why = match hand.books.claim(number) {
                        ports::Claim::Done => None,
                        ports::Claim::Taken => {
                            Some("provided port is already allocated".to_owned())
                        }
                        ports::Claim::Outside => Some(format!(
                            "provided port is not in the valid range. The range of valid ports is {}",
                            hand.books.range()
                        )),
                    };
                    match why {
                        Some(why) => {
                            hand.errors.push(FieldError::invalid(
                                format!("spec.ports[{at}].nodePort"),
                                number,
                                why,
                            ));
                            continue;
                        }
                        None => hand.taken.push(number),
                    }
                }
                own.push((number, protocol));
            }
        }
    }
}
