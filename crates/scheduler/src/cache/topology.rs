//! Which nodes share a label's value, as numbers: a domain per value, so that counts per domain are
//! arrays and a node's domain is one look-up.

use std::collections::HashMap;

/// A node without the label.
pub const NONE: u32 = u32::MAX;

/// The domains of one label.
#[derive(Debug)]
pub struct Topology {
    /// The label.
    pub key: Box<str>,
    values: HashMap<Box<str>, u32>,
    /// By the node's slot.
    of_node: Vec<u32>,
}

impl Topology {
    /// Of no nodes yet.
    pub fn new(key: &str) -> Topology {
        Topology {
            key: key.into(),
            values: HashMap::new(),
            of_node: Vec::new(),
        }
    }

    /// The node's value changed. Domains are never given up: see [`super::Cache::remove_node`].
    pub fn set(&mut self, slot: u32, value: Option<&str>) {
        let domain = match value {
            None => NONE,
            Some(value) => match self.values.get(value) {
                Some(domain) => *domain,
                None => {
                    let next = u32::try_from(self.values.len()).unwrap_or(NONE);
                    self.values.insert(value.into(), next);
                    next
                }
            },
        };
        let slot = slot as usize;
        if self.of_node.len() <= slot {
            self.of_node.resize(slot + 1, NONE);
        }
        self.of_node[slot] = domain;
    }

    /// The node's domain, or [`NONE`].
    pub fn of(&self, slot: u32) -> u32 {
        self.of_node.get(slot as usize).copied().unwrap_or(NONE)
    }

    /// How many domains there have been.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// A number per domain; those never touched are zero.
#[derive(Clone, Debug, Default)]
pub struct PerDomain(Vec<i64>);

impl PerDomain {
    /// The number; zero for [`NONE`].
    pub fn get(&self, domain: u32) -> i64 {
        self.0.get(domain as usize).copied().unwrap_or_default()
    }

    /// Adds to the number; nothing for [`NONE`].
    pub fn add(&mut self, domain: u32, by: i64) {
        if domain == NONE {
            return;
        }
        let domain = domain as usize;
        if self.0.len() <= domain {
            self.0.resize(domain + 1, 0);
        }
        self.0[domain] += by;
    }
}
