//! The proxy's state, and the step from changed objects to a committed transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service as ApiService;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::plan::{self, Frontend, Surroundings};
use super::service::{Key, Node, Service, local_endpoints};
use super::stale::Suspects;
use super::table::{Changes, Table};
use super::{Config, Slices, frame, owner};
use crate::names;
use crate::netlink::nft::{Batch, Family};
use crate::netlink::{Error, socket, socket::Socket};

/// The objects the table is made from, and which services changed since it was.
#[derive(Debug, Default)]
pub struct Objects {
    services: HashMap<Key, Arc<ApiService>>,
    slices: HashMap<Key, Slices>,
    dirty: BTreeSet<Key>,
}

fn key(service: &ApiService) -> Key {
    Key {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    }
}

impl Objects {
    /// A service was made or changed.
    pub fn put_service(&mut self, service: Arc<ApiService>) {
        let key = key(&service);
        self.dirty.insert(key.clone());
        self.services.insert(key, service);
    }

    /// A service went.
    pub fn remove_service(&mut self, service: &ApiService) {
        let key = key(service);
        self.services.remove(&key);
        self.dirty.insert(key);
    }

    /// A slice was made or changed.
    pub fn put_slice(&mut self, slice: Arc<EndpointSlice>) {
        let (Some(owner), Some(name)) = (owner(&slice), slice.metadata.name.clone()) else {
            return;
        };
        self.slices
            .entry(owner.clone())
            .or_default()
            .insert(name, slice);
        self.dirty.insert(owner);
    }

    /// A slice went.
    pub fn remove_slice(&mut self, slice: &EndpointSlice) {
        let (Some(owner), Some(name)) = (owner(slice), &slice.metadata.name) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.dirty.insert(owner);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }
}

/// How many endpoints of a service are on this node, for its health check port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HealthCheck {
    pub key: Key,
    pub port: u16,
    pub local_endpoints: usize,
}

/// The proxy without its sources: what turns objects into rules.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    node: Node,
    surroundings: Surroundings,
    table_name: String,
    table: Table,
    /// Whether `table` is what the kernel has.
    in_force: bool,
    socket: Socket,
    /// UDP addresses whose endpoints changed since connections were last cleared.
    suspects: Suspects,
    udp: HashMap<Key, BTreeMap<Frontend, Vec<(Ipv4Addr, u16)>>>,
    health: BTreeMap<Key, HealthCheck>,
}

impl Engine {
    /// Opens one; nothing is changed before the first [`Self::apply`].
    pub fn open(config: Config) -> Result<Self, Error> {
        Ok(Self {
            suspects: Suspects::default(),
            node: Node {
                name: config.node_name.clone(),
                zone: config.zone.clone(),
            },
            surroundings: Surroundings {
                cluster: config.cluster_cidrs.clone(),
            },
            table_name: names::services_table(&config.instance),
            table: Table::default(),
            in_force: false,
            socket: Socket::open(socket::Family::Netfilter)?,
            udp: HashMap::new(),
            health: BTreeMap::new(),
            config,
        })
    }

    /// Brings the kernel's table in line with the objects. After a failure the next call writes the whole table.
    pub fn apply(&mut self, objects: &mut Objects) -> Result<(), Error> {
        let mut changes = Changes::default();
        for key in std::mem::take(&mut objects.dirty) {
            self.plan(objects, &key, &mut changes);
        }
        let batch = if self.in_force {
            let mut batch = Batch::new(Family::V4, &self.table_name);
            frame::write(&mut batch, changes.steps());
            batch
        } else {
            let mut batch = frame::fresh(&self.table_name, &self.config.node_port_addresses);
            frame::write(&mut batch, self.table.whole().steps());
            batch
        };
        self.in_force = false;
        batch.commit(&mut self.socket)?;
        self.in_force = true;
        let suspects = std::mem::take(&mut self.suspects);
        if !suspects.is_empty() {
            match suspects.clear(&mut self.socket) {
                Ok(0) => {}
                Ok(count) => tracing::debug!(count, "deleted UDP connections to former endpoints"),
                Err(error) => {
                    tracing::warn!(%error, "UDP clients may keep sending to former endpoints")
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self, objects: &Objects, key: &Key, changes: &mut Changes) {
        let none = Slices::new();
        let slices = objects.slices.get(key).unwrap_or(&none);
        let view = objects
            .services
            .get(key)
            .and_then(|service| Service::view(service, slices, &self.node));
        let contribution = view
            .as_ref()
            .map(|view| plan::contribution(view, &self.surroundings));
        self.table.replace(key, contribution, changes);
        let before = self.udp.remove(key).unwrap_or_default();
        let now = view.as_ref().map(plan::udp).unwrap_or_default();
        self.suspects.note(&before, &now);
        if !now.is_empty() {
            self.udp.insert(key.clone(), now);
        }
        self.health.remove(key);
        if let Some(view) = view
            && let Some(port) = view.health_check_port
        {
            let mut ips: Vec<_> = view
                .ports
                .iter()
                .flat_map(|p| local_endpoints(&p.endpoints))
                .filter(|e| e.ready)
                .map(|e| e.ip)
                .collect();
            ips.sort_unstable();
            ips.dedup();
            let check = HealthCheck {
                key: key.clone(),
                port,
                local_endpoints: ips.len(),
            };
            self.health.insert(key.clone(), check);
        }
    }

    pub(super) fn services(&self) -> usize {
        self.table.services().count()
    }

    pub(super) fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.health.values()
    }
}
