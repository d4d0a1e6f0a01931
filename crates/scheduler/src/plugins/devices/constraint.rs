//! What devices of one claim must have in common, or not.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

use super::slice::DeviceId;

/// A constraint, with the attributes of the devices chosen so far.
#[derive(Debug)]
pub struct Constraint<'c> {
    attribute: &'c str,
    distinct: bool,
    /// Requests it is about; all where there are none.
    requests: &'c [String],
    chosen: Vec<&'c DeviceAttribute>,
}

impl<'c> Constraint<'c> {
    /// Reads one; none where it is of a kind that is not known.
    pub fn read(constraint: &'c DeviceConstraint) -> Option<Constraint<'c>> {
        let (attribute, distinct) = match constraint {
            DeviceConstraint {
                match_attribute: Some(name),
                ..
            } => (name, false),
            DeviceConstraint {
                distinct_attribute: Some(name),
                ..
            } => (name, true),
            _ => return None,
        };
        Some(Constraint {
            attribute,
            distinct,
            requests: constraint.requests.as_deref().unwrap_or_default(),
            chosen: Vec::new(),
        })
    }

    /// Whether it is about a request, named as results name it.
    fn concerns(&self, base: &str, name: &str) -> bool {
        self.requests.is_empty() || self.requests.iter().any(|r| r == base || r == name)
    }

    /// Adds a device; false where the constraint forbids that, which then stays as it was.
    pub fn add(&mut self, base: &str, name: &str, device: &'c Device, id: &DeviceId) -> bool {
        if !self.concerns(base, name) {
            return true;
        }
        let Some(value) = attribute(device, id, self.attribute) else {
            return false;
        };
        let fits = match self.distinct {
            false => self.chosen.first().is_none_or(|first| same(first, value)),
            true => self.chosen.iter().all(|other| !same(other, value)),
        };
        if fits {
            self.chosen.push(value);
        }
        fits
    }

    /// Takes the device back that was added last of those it is about.
    pub fn take_back(&mut self, base: &str, name: &str) {
        if self.concerns(base, name) {
            self.chosen.pop();
        }
    }
}

fn same(a: &DeviceAttribute, b: &DeviceAttribute) -> bool {
    fn both<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
        a.is_some() && a == b
    }
    // Versions are the same if they are written the same: their form is minimal.
    both(&a.string, &b.string)
        || both(&a.int, &b.int)
        || both(&a.bool, &b.bool)
        || both(&a.version, &b.version)
}

/// An attribute by its full name; the driver's own are published without their domain.
fn attribute<'c>(device: &'c Device, id: &DeviceId, name: &str) -> Option<&'c DeviceAttribute> {
    let all = device.attributes.as_ref()?;
    all.get(name).or_else(|| {
        let (domain, own) = name.split_once('/')?;
        let driver: &Arc<str> = &id.pool.driver;
        all.get(own).filter(|_| **driver == *domain)
    })
}
