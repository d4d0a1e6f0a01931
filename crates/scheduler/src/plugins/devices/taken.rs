//! Which devices claims have, and how much of those that several share.

use std::collections::HashMap;

use k8s_openapi::api::resource::v1::AllocationResult;

use super::slice::{Amounts, DeviceId, quantity};

/// See the module.
#[derive(Debug, Default)]
pub struct Taken {
    /// Devices somebody has for himself. Counted, though the API lets nobody have another's.
    alone: HashMap<DeviceId, usize>,
    /// Devices that are shared: by how many, and how much of them is taken.
    shared: HashMap<DeviceId, (usize, Amounts)>,
}

impl Taken {
    /// An allocation came (`by` is 1) or went (-1).
    pub fn count(&mut self, allocation: &AllocationResult, by: isize) {
        let devices = allocation.devices.as_ref();
        let results = devices.and_then(|d| d.results.as_ref());
        for result in results.into_iter().flatten() {
            // Who only watches over a device does not take it.
            if result.admin_access == Some(true) {
                continue;
            }
            let id = DeviceId::new(&result.driver, &result.pool, &result.device);
            if result.share_id.is_none() {
                let count = self.alone.entry(id.clone()).or_default();
                *count = count.saturating_add_signed(by);
                if *count == 0 {
                    self.alone.remove(&id);
                }
                continue;
            }
            let (count, amounts) = self.shared.entry(id.clone()).or_default();
            *count = count.saturating_add_signed(by);
            for (name, amount) in result.consumed_capacity.iter().flatten() {
                let amount = quantity(amount);
                let sum = amounts.entry(name.as_str().into()).or_default();
                *sum = if by > 0 { *sum + amount } else { *sum - amount };
            }
            if *count == 0 {
                self.shared.remove(&id);
            }
        }
    }

    /// Whether somebody has it for himself.
    pub fn is_taken(&self, id: &DeviceId) -> bool {
        self.alone.contains_key(id)
    }

    /// Whether anybody has any of it.
    pub fn is_used(&self, id: &DeviceId) -> bool {
        self.is_taken(id) || self.shared.contains_key(id)
    }

    /// What is taken of a device that is shared; none where it is not.
    pub fn amounts(&self, id: &DeviceId) -> Option<&Amounts> {
        self.shared.get(id).map(|(_, amounts)| amounts)
    }
}
