//! The proxy's state, and the step from changed objects to a committed transaction.

use std::collections::{BTreeMap, HashMap};

use super::plan::{self, Frontends, Surroundings};
use super::service::{Node, Service, local_endpoints};
use super::stale::Suspects;
use super::table::{Changes, Table};
use super::{Config, frame};
use crate::names;
use crate::netlink::nft::{self, Batch, Family};
use crate::netlink::{Error, socket, socket::Socket};
use crate::services::{Key, Objects, Slices};

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
    node: Node,
    surroundings: Surroundings,
    table_name: String,
    table: Table,
    /// Whether `table` is what the kernel has.
    in_force: bool,
    socket: Socket,
    /// UDP addresses whose endpoints changed since connections were last cleared.
    suspects: Suspects,
    udp: HashMap<Key, Frontends>,
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
                cluster: config.cluster_cidrs,
                node_ports: config.node_port_addresses,
            },
            table_name: names::services_table(&config.instance),
            table: Table::default(),
            in_force: false,
            socket: Socket::open(socket::Family::Netfilter)?,
            udp: HashMap::new(),
            health: BTreeMap::new(),
        })
    }

    /// Brings the kernel's table in line with the objects. After a failure the next call writes the
    /// whole table.
    pub fn apply(&mut self, objects: &mut Objects) -> Result<(), Error> {
        let mut changes = Changes::default();
        for key in objects.take_changed() {
            self.plan(objects, &key, &mut changes);
        }
        let batch = if self.in_force {
            let mut batch = Batch::new(Family::V4, &self.table_name);
            frame::write(&mut batch, changes.steps());
            batch
        } else {
            let mut batch = frame::fresh(&self.table_name, &self.surroundings);
            frame::write(&mut batch, self.table.whole().steps());
            // Clients bound to an endpoint by an earlier table stay with it.
            for set in self.table.sets() {
                let clients = nft::ending(&mut self.socket, Family::V4, &self.table_name, set)?;
                batch.add_ending(set, &clients);
            }
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

    /// Whether the table that was written last still stands; if not, the next [`Self::apply`]
    /// writes it anew.
    pub fn is_intact(&mut self) -> bool {
        // An error here is no proof of anything, and would meet the next transaction too.
        let stands =
            nft::table_exists(&mut self.socket, Family::V4, &self.table_name).unwrap_or(true);
        if !stands {
            tracing::warn!(
                table = self.table_name,
                "the service rules were removed: putting them back"
            );
            self.in_force = false;
        }
        stands
    }

    fn plan(&mut self, objects: &Objects, key: &Key, changes: &mut Changes) {
        let none = Slices::new();
        let slices = objects.slices(key).unwrap_or(&none);
        let view = objects
            .service(key)
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
