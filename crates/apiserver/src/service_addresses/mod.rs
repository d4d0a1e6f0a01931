//! ClusterIPs and node ports of Services: taken with the write that needs them, given back when it
//! fails or the Service goes. The books are in memory, rebuilt from the objects at start.

mod books;

use std::net::Ipv4Addr;

use api::object::Object;
use api::resource::Resource;
use api::status::{About, Status};
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use schema::field_error::FieldError;
use serde_json::{Value, json};

use crate::config::Random;
use crate::objects::Objects;
use books::Books;

/// The addresses and ports of Services.
pub struct Addresses {
    books: Mutex<Books>,
    random: Random,
}

/// What a write has taken; given back unless [`Reservation::keep`] is called.
#[must_use]
pub struct Reservation<'a> {
    addresses: &'a Addresses,
    taken: Vec<Taken>,
    /// Given back when the write succeeds: what the old Service had and the new one lacks.
    freed: Vec<Taken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Address(Ipv4Addr),
    Port(u16),
}

impl Reservation<'_> {
    /// The write has happened.
    pub fn keep(mut self) {
        self.taken.clear();
        let mut books = self.addresses.books.lock();
        for freed in self.freed.drain(..) {
            books.give_back(freed);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut books = self.addresses.books.lock();
        for taken in self.taken.drain(..) {
            books.give_back(taken);
        }
    }
}

impl Addresses {
    /// Addresses of this network, ports of this range (both ends included).
    pub fn new(network: Ipv4Net, ports: (u16, u16), random: Random) -> Addresses {
        Addresses {
            books: Mutex::new(Books::new(network, ports)),
            random,
        }
    }

    /// Enters what the Services have.
    pub fn load(&self, objects: &Objects) {
        let mut books = self.books.lock();
        for service in objects.values("", "services", None) {
            for held in held(&service) {
                // Two Services with one address come from another server's mistake; both keep it
                // until one goes.
                books.take(held);
            }
        }
    }

    /// The first address: that of the `kubernetes` Service.
    pub fn first(&self) -> Ipv4Addr {
        self.books.lock().first()
    }

    /// Fills in and takes what a Service needs; anything else needs nothing.
    pub fn reserve(
        &self,
        resource: &Resource,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation<'_>, Status> {
        let mut reservation = Reservation {
            addresses: self,
            taken: Vec::new(),
            freed: Vec::new(),
        };
        if !is_service(resource) {
            return Ok(reservation);
        }
        let had: Vec<Taken> = old.map(held).unwrap_or_default();
        let mut books = self.books.lock();
        let mut hand = Hand {
            books: &mut books,
            taken: Vec::new(),
            random: &self.random,
            errors: Vec::new(),
        };
        address(&mut hand, object, old, &had);
        ports(&mut hand, object, old, &had);
        let Hand { taken, errors, .. } = hand;
        drop(books);
        reservation.taken = taken;
        if !errors.is_empty() {
            let name = object.text("metadata.name").to_owned();
            return Err(Status::invalid(About::new("", "Service"), &name, errors));
        }
        let has = held(object);
        reservation.freed = had
            .into_iter()
            .filter(|taken| !has.contains(taken))
            .collect();
        Ok(reservation)
    }

    /// Gives back what a Service that is gone had.
    pub fn release(&self, resource: &Resource, object: &Value) {
        if is_service(resource) {
            let mut books = self.books.lock();
            held(object)
                .into_iter()
                .for_each(|taken| books.give_back(taken));
        }
    }
}

fn is_service(resource: &Resource) -> bool {
    &*resource.gvk.kind == "Service" && resource.gvk.group.is_empty()
}

/// The addresses and ports a Service has.
fn held(service: &Value) -> Vec<Taken> {
    let mut held: Vec<Taken> = service
        .texts("spec.clusterIPs")
        .chain(std::iter::once(service.text("spec.clusterIP")))
        .filter_map(|ip| ip.parse().ok())
        .map(Taken::Address)
        .collect();
    let ports = service
        .list("spec.ports")
        .iter()
        .filter_map(|p| p.int("nodePort"));
    let check = service.int("spec.healthCheckNodePort");
    held.extend(
        ports
            .chain(check)
            .filter_map(|p| u16::try_from(p).ok())
            .filter(|p| *p > 0)
            .map(Taken::Port),
    );
    // One port may serve TCP and UDP; an address stands in two fields.
    let mut once = Vec::with_capacity(held.len());
    for taken in held {
        if !once.contains(&taken) {
            once.push(taken);
        }
    }
    once
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

/// The books in hand while one Service is looked at.
struct Hand<'a> {
    books: &'a mut Books,
    taken: Vec<Taken>,
    random: &'a Random,
    errors: Vec<FieldError>,
}

fn address(hand: &mut Hand<'_>, service: &mut Value, old: Option<&Value>, had: &[Taken]) {
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
        return;
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
    if service.list("spec.ipFamilies").is_empty() {
        service.set("spec.ipFamilies", json!(["IPv4"]));
    }
    service.set_default_text("spec.ipFamilyPolicy", "SingleStack");
    let address = match wanted.as_str() {
        "None" => {
            service.set("spec.clusterIP", "None");
            service.set("spec.clusterIPs", json!(["None"]));
            return;
        }
        "" => match hand.books.any_address(hand.random) {
            Some(address) => {
                hand.taken.push(Taken::Address(address));
                address
            }
            None => {
                hand.errors
                    .push(FieldError::internal("spec.clusterIPs", "range is full"));
                return;
            }
        },
        text => {
            let Ok(address) = text.parse::<Ipv4Addr>() else {
                // Validation names what is wrong with it.
                return;
            };
            if !had.contains(&Taken::Address(address)) {
                let fault = match hand.books.claim(Taken::Address(address)) {
                    books::Claim::Done => None,
                    books::Claim::Taken => Some("provided IP is already allocated".to_owned()),
                    books::Claim::Outside => Some(format!(
                        "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                        hand.books.network()
                    )),
                };
                if let Some(why) = fault {
                    let why = format!("failed to allocate IP {address}: {why}");
                    hand.errors
                        .push(FieldError::invalid("spec.clusterIPs", json!([text]), why));
                    return;
                }
                hand.taken.push(Taken::Address(address));
            }
            address
        }
    };
    service.set("spec.clusterIP", address.to_string());
    service.set("spec.clusterIPs", json!([address.to_string()]));
}

fn ports(hand: &mut Hand<'_>, service: &mut Value, old: Option<&Value>, had: &[Taken]) {
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
            None => match hand.books.any_port(hand.random) {
                Some(number) => {
                    hand.taken.push(Taken::Port(number));
                    port.set("nodePort", number);
                    own.push((number, protocol));
                }
                None => hand.errors.push(FieldError::internal(
                    format!("spec.ports[{at}].nodePort"),
                    "failed to allocate a nodePort: range is full",
                )),
            },
            Some(number) => {
                let known = had.contains(&Taken::Port(number))
                    || own.iter().any(|(n, p)| *n == number && *p != protocol);
                if !known {
                    let why = match hand.books.claim(Taken::Port(number)) {
                        books::Claim::Done => None,
                        books::Claim::Taken => {
                            Some("provided port is already allocated".to_owned())
                        }
                        books::Claim::Outside => Some(format!(
                            "provided port is not in the valid range. The range of valid ports is {}",
                            hand.books.port_range()
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
                        None => hand.taken.push(Taken::Port(number)),
                    }
                }
                own.push((number, protocol));
            }
        }
    }
}

#[cfg(test)]
mod tests;
