//! Devices that several claims share: how much of each capacity one takes, and whether that is left.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};

use super::{
    request::Ask,
    slice::{Amounts, Capacity, Device, quantity},
};

/// What a request takes of each capacity of a device; none where it asks for something the device
/// does not have, or for an amount that is not given.
pub fn taken(ask: &Ask<'_>, device: &Device) -> Option<Amounts> {
    let requests = ask.capacity.and_then(|c| c.requests.as_ref());
    let known = |name: &String| device.capacity.contains_key(name.as_str());
    if !requests.into_iter().flat_map(BTreeMap::keys).all(known) {
        return None;
    }
    let amounts = device.capacity.iter().map(|(name, capacity)| {
        let amount = one(ask.capacity(name).map(quantity), capacity);
        allowed(&amount, capacity).then(|| (name.clone(), amount))
    });
    amounts.collect()
}

/// Whether so much is left beside what is taken already.
pub fn is_left<'a>(
    wanted: &Amounts,
    device: &Device,
    taken: impl Iterator<Item = &'a Amounts> + Clone,
) -> bool {
    device.capacity.iter().all(|(name, capacity)| {
        let beside: Quantity = taken.clone().filter_map(|t| t.get(name)).copied().sum();
        let wanted = wanted.get(name).copied().unwrap_or_default();
        beside + wanted <= capacity.value
    })
}

/// What is taken for a request, rounded up to what is given.
fn one(asked: Option<Quantity>, capacity: &Capacity) -> Quantity {
    let Some(asked) = asked else {
        return capacity.default.unwrap_or(capacity.value);
    };
    if let Some((least, _, step)) = &capacity.range {
        if asked < *least {
            return *least;
        }
        let step = step.map(|s| s.value()).filter(|s| *s > 0);
        let Some(step) = step else { return asked };
        let over = asked.value() - least.value();
        let steps = over / step + i64::from(over % step != 0);
        return Quantity::new(least.value() + step * steps, Format::Binary);
    }
    let enough = capacity.values.iter().find(|value| asked <= **value);
    enough.copied().unwrap_or(asked)
}

fn allowed(amount: &Quantity, capacity: &Capacity) -> bool {
    if capacity.default.as_ref() == Some(amount) {
        return true;
    }
    if let Some((least, most, step)) = &capacity.range {
        let step = step.map(|s| s.value()).filter(|s| *s > 0);
        return most.as_ref().is_none_or(|most| amount <= most)
            && step.is_none_or(|step| (amount.value() - least.value()) % step == 0);
    }
    capacity.values.is_empty() || capacity.values.contains(amount)
}
