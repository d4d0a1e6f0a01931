//! The search for devices: which ones a pod's claims get on one node.
//!
//! One claim after the other, one request after the other, one device after the other, going back
//! where it does not come out; the first solution is taken. Pools, slices and devices are tried in
//! the order of their names, as upstream does, so that drivers can say by names what to prefer.
//! Within a request only combinations are tried, not their permutations. The search is bounded by
//! [`STEPS`]; beyond that the node counts as one that cannot be judged.

use std::collections::{BTreeMap, HashMap, HashSet};

use api::quantity::Quantity;
use k8s_openapi::api::resource::v1::AllocationResult;

use super::{
    Devices, capacity,
    constraint::Constraint,
    pools::{Pool, State},
    request::{Ask, Count, MOST, Unmet, constraints_of, display},
    result,
    slice::{Amounts, Device, DeviceId, PoolId, Slice},
};
use crate::cache::NodeInfo;

/// Devices looked at for one pod on one node at the most.
pub const STEPS: usize = 250_000;

/// What is wrong.
#[derive(Debug)]
pub enum Trouble {
    /// With the node: others may do.
    Node(String),
    /// With a claim or class, or there was not enough time: the pod is tried again, on any node.
    Pod(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Pod(why)
    }
}

/// How a part of the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Everything from here on has its devices.
    Done,
    /// There is no way from here.
    No,
    /// There is none because a claim would get more devices than it may: trying other devices for
    /// what comes before changes nothing, fewer might.
    TooMany,
}

/// Where a search for a request's next device begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    pool: usize,
    slice: usize,
    device: usize,
}

/// A device that is free to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Found<'c> {
    /// The pool's place.
    pool: usize,
    /// Its slice.
    pub slice: &'c Slice,
    /// It.
    pub device: &'c Device,
}

/// A device a claim gets.
#[derive(Debug)]
pub struct Chosen<'c> {
    /// Which.
    pub found: Found<'c>,
    /// For which request, and which of its alternatives.
    pub request: (usize, usize),
    /// What it takes of a device that is shared.
    pub amounts: Option<Amounts>,
}

struct Search<'c, 'p> {
    devices: &'c Devices,
    node: &'c NodeInfo,
    claims: &'p [Unmet<'c>],
    pools: &'p [Pool<'c>],
    /// All devices there are for the requests that want them all, by claim, request, alternative.
    all: HashMap<(usize, usize, usize), Vec<Found<'c>>>,
    constraints: Vec<Vec<Constraint<'c>>>,
    chosen: Vec<Vec<Chosen<'c>>>,
    /// Devices chosen and not shared, and for which claims.
    busy: HashMap<&'c DeviceId, HashSet<usize>>,
    /// What is chosen of shared devices.
    sharing: HashMap<&'c DeviceId, Vec<Amounts>>,
    counters: Counters<'c>,
    steps: usize,
}

/// What each claim gets on the node, or none if they cannot all get something. The error says what
/// is wrong with a claim, a class or the node's pools.
pub fn allocate(
    devices: &Devices,
    node: &NodeInfo,
    claims: &[Unmet<'_>],
) -> Result<Option<Vec<AllocationResult>>, Trouble> {
    let pools = devices.pools.of(node);
    let mut constraints = Vec::new();
    for unmet in claims {
        let read = constraints_of(unmet.claim)
            .iter()
            .enumerate()
            .map(|(at, c)| {
                Constraint::read(c).ok_or_else(|| {
                    format!(
                        "claim {}, constraint #{at}: empty constraint (unsupported constraint type?)",
                        display(unmet.claim)
                    )
                })
            });
        constraints.push(read.collect::<Result<Vec<_>, _>>()?);
    }
    let mut search = Search {
        devices,
        node,
        claims,
        pools: &pools,
        all: HashMap::new(),
        constraints,
        chosen: claims.iter().map(|_| Vec::new()).collect(),
        busy: HashMap::new(),
        sharing: HashMap::new(),
        counters: Counters::default(),
        steps: 0,
    };
    search.begin()?;
    match search.claim(0)? {
        Step::Done => {
            let found = claims.iter().zip(&search.chosen);
            let results = found.map(|(unmet, chosen)| result::write(unmet, chosen, node));
            Ok(Some(results.collect()))
        }
        Step::TooMany => Err("allocation max size exceeded".to_owned().into()),
        Step::No if pools.iter().any(|p| p.state == State::Invalid) => {
            let why = "invalid resource pools were encountered";
            Err(Trouble::Node(why.to_owned()))
        }
        Step::No => Ok(None),
    }
}

impl<'c> Search<'c, '_> {
    /// Finds out how much "all" is, and refuses what can never be met.
    fn begin(&mut self) -> Result<(), Trouble> {
        let claims = self.claims;
        for (c, unmet) in claims.iter().enumerate() {
            let mut least = 0;
            for (r, request) in unmet.requests.iter().enumerate() {
                let mut fewest = usize::MAX;
                for (a, ask) in request.asks.iter().enumerate() {
                    let count = match ask.count {
                        Count::Exactly(count) => count,
                        Count::All => {
                            let found = self.all_for(c, ask)?;
                            let count = found.len();
                            self.all.insert((c, r, a), found);
                            count
                        }
                    };
                    fewest = fewest.min(count);
                }
                least += fewest;
            }
            if least > MOST {
                return Err(Trouble::Pod(format!(
                    "claim {}: number of requested devices {least} exceeds the claim limit of {MOST}",
                    display(unmet.claim)
                )));
            }
        }
        Ok(())
    }

    fn all_for(&mut self, claim: usize, ask: &Ask<'c>) -> Result<Vec<Found<'c>>, Trouble> {
        let mut found = Vec::new();
        for (at, pool) in self.pools.iter().enumerate() {
            let trouble = match pool.state {
                State::Whole => None,
                State::Incomplete => Some("being updated"),
                State::Invalid => Some("invalid"),
            };
            if let Some(trouble) = trouble {
                let PoolId { driver, pool } = pool.id;
                return Err(Trouble::Pod(format!(
                    "claim {}, request {}: asks for all devices, but resource pool {driver}/{pool} is currently {trouble}",
                    display(self.claims[claim].claim),
                    ask.name
                )));
            }
            for slice in &pool.slices {
                for device in &slice.devices {
                    let candidate = Found {
                        pool: at,
                        slice,
                        device,
                    };
                    if self.is_wanted(ask, candidate)? && self.amounts(ask, device).is_some() {
                        found.push(candidate);
                    }
                }
            }
        }
        Ok(found)
    }

    fn claim(&mut self, c: usize) -> Result<Step, Trouble> {
        if c == self.claims.len() {
            return Ok(Step::Done);
        }
        self.request(c, 0)
    }

    fn request(&mut self, c: usize, r: usize) -> Result<Step, Trouble> {
        let claims = self.claims;
        let Some(request) = claims[c].requests.get(r) else {
            // What the next claim gets too much of is not this one's fault.
            return Ok(match self.claim(c + 1)? {
                Step::TooMany => Step::No,
                other => other,
            });
        };
        if !request.prioritized {
            return self.device((c, r, 0), 0, Place::default());
        }
        let mut always_too_many = true;
        for a in 0..request.asks.len() {
            match self.device((c, r, a), 0, Place::default())? {
                Step::Done => return Ok(Step::Done),
                Step::TooMany => {}
                Step::No => always_too_many = false,
            }
        }
        Ok(if always_too_many {
            Step::TooMany
        } else {
            Step::No
        })
    }

    /// Finds the device `d` of a request, and everything after it.
    fn device(
        &mut self,
        at: (usize, usize, usize),
        d: usize,
        from: Place,
    ) -> Result<Step, Trouble> {
        let (c, r, a) = at;
        let claims = self.claims;
        let ask = &claims[c].requests[r].asks[a];
        let count = match ask.count {
            Count::Exactly(count) => count,
            Count::All => self.all.get(&at).map_or(0, Vec::len),
        };
        if ask.count == Count::All && count == 0 {
            return Ok(Step::No);
        }
        if d >= count {
            return self.request(c, r + 1);
        }
        if self.chosen[c].len() + count - d > MOST {
            return Ok(Step::TooMany);
        }
        if ask.count == Count::All {
            // Which ones is settled; they only have to be free.
            let Some(found) = self.all.get(&at).and_then(|all| all.get(d)).copied() else {
                return Ok(Step::No);
            };
            if !self.take(at, found)? {
                return Ok(Step::No);
            }
            let step = self.device(at, d + 1, Place::default())?;
            if step != Step::Done {
                self.give_back(at);
            }
            return Ok(step);
        }
        let pools = self.pools;
        for (p, pool) in pools.iter().enumerate().skip(from.pool) {
            if pool.state != State::Whole {
                continue;
            }
            let first = if p == from.pool { from.slice } else { 0 };
            for (s, slice) in pool.slices.iter().enumerate().skip(first) {
                let same = p == from.pool && s == from.slice;
                let first = if same { from.device } else { 0 };
                for (n, device) in slice.devices.iter().enumerate().skip(first) {
                    self.steps += 1;
                    if self.steps > STEPS {
                        let node = &self.node.name;
                        return Err(Trouble::Pod(format!(
                            "node {node}: timed out trying to allocate devices"
                        )));
                    }
                    let found = Found {
                        pool: p,
                        slice,
                        device,
                    };
                    if !self.is_free(c, ask, device)
                        || !self.is_wanted(ask, found)?
                        || !self.take(at, found)?
                    {
                        continue;
                    }
                    let next = Place {
                        pool: p,
                        slice: s,
                        device: n + 1,
                    };
                    let step = self.device(at, d + 1, next)?;
                    if step == Step::Done {
                        return Ok(step);
                    }
                    self.give_back(at);
                    if step == Step::TooMany {
                        return Ok(step);
                    }
                }
            }
        }
        Ok(Step::No)
    }

    fn is_free(&self, c: usize, ask: &Ask<'_>, device: &Device) -> bool {
        let busy = self.busy.get(&device.id);
        match ask.is_admin() {
            true => busy.is_none_or(|claims| !claims.contains(&c)),
            false => busy.is_none() && !self.devices.taken.is_taken(&device.id),
        }
    }

    fn is_wanted(&self, ask: &Ask<'_>, found: Found<'_>) -> Result<bool, Trouble> {
        for wanted in &ask.wanted {
            if !found.slice.meets(found.device, wanted)? {
                return Ok(false);
            }
        }
        Ok(found.slice.reaches(found.device, self.node))
    }

    /// What the request takes of the device, if there is so much.
    fn amounts(&self, ask: &Ask<'_>, device: &Device) -> Option<Amounts> {
        let amounts = capacity::taken(ask, device)?;
        let others = self.devices.taken.amounts(&device.id).into_iter();
        let beside = others.chain(self.sharing.get(&device.id).into_iter().flatten());
        capacity::is_left(&amounts, device, beside).then_some(amounts)
    }

    /// Gives a claim a device, if nothing speaks against it.
    fn take(&mut self, at: (usize, usize, usize), found: Found<'c>) -> Result<bool, Trouble> {
        let (c, r, a) = at;
        let claims = self.claims;
        let ask = &claims[c].requests[r].asks[a];
        let Found { slice, device, .. } = found;
        let Some(published) = slice.published(device) else {
            return Ok(false);
        };
        if !self.is_free(c, ask, device) {
            return Ok(false);
        }
        let Some(amounts) = self.amounts(ask, device) else {
            return Ok(false);
        };
        let tainted = published.taints.iter().flatten();
        if !tainted.into_iter().all(|taint| ask.tolerates(taint)) {
            return Ok(false);
        }
        // The first who shares a device has taken its counters.
        let counted = device.shared && self.is_shared(&device.id);
        let counts = !counted && !device.counters.is_empty();
        if counts
            && !self
                .counters
                .take(&self.pools[found.pool], device, self.devices)
        {
            return Ok(false);
        }
        let constraints = &mut self.constraints[c];
        let refused = constraints
            .iter_mut()
            .position(|one| !one.add(ask.base, &ask.name, published, &device.id));
        if let Some(refused) = refused {
            for one in &mut constraints[..refused] {
                one.take_back(ask.base, &ask.name);
            }
            if counts {
                self.counters.give_back(device);
            }
            if ask.count == Count::All {
                return Err(Trouble::Pod(format!(
                    "claim {}, request {}: cannot add device {} because a claim constraint would not be satisfied",
                    display(claims[c].claim),
                    ask.name,
                    device.id
                )));
            }
            return Ok(false);
        }
        let amounts = if device.shared {
            let sharing = self.sharing.entry(&device.id).or_default();
            sharing.push(amounts.clone());
            Some(amounts)
        } else {
            self.busy.entry(&device.id).or_default().insert(c);
            None
        };
        self.chosen[c].push(Chosen {
            found,
            request: (r, a),
            amounts,
        });
        Ok(true)
    }

    fn is_shared(&self, id: &DeviceId) -> bool {
        self.devices.taken.amounts(id).is_some() || self.sharing.contains_key(id)
    }

    /// Takes the device back that the claim got last.
    fn give_back(&mut self, (c, r, a): (usize, usize, usize)) {
        let claims = self.claims;
        let ask = &claims[c].requests[r].asks[a];
        let Some(last) = self.chosen[c].pop() else {
            return;
        };
        let device = last.found.device;
        for one in &mut self.constraints[c] {
            one.take_back(ask.base, &ask.name);
        }
        if device.shared {
            let left = self.sharing.get_mut(&device.id).map_or(0, |sharing| {
                sharing.pop();
                sharing.len()
            });
            if left == 0 {
                self.sharing.remove(&device.id);
            }
            if left > 0 || self.devices.taken.amounts(&device.id).is_some() {
                return;
            }
        } else if let Some(claims) = self.busy.get_mut(&device.id) {
            claims.remove(&c);
            if claims.is_empty() {
                self.busy.remove(&device.id);
            }
        }
        self.counters.give_back(device);
    }
}

/// Counters of pools: what is left of them, and what the devices chosen take.
#[derive(Default)]
struct Counters<'c> {
    left: HashMap<&'c PoolId, BTreeMap<&'c str, Amounts>>,
}

impl<'c> Counters<'c> {
    /// Takes what a device needs; false where there is not so much.
    fn take(&mut self, pool: &Pool<'c>, device: &'c Device, devices: &Devices) -> bool {
        let left = self
            .left
            .entry(pool.id)
            .or_insert_with(|| unused(pool, devices));
        change(left, device, -1);
        let short = |amounts: &Amounts| amounts.values().any(Quantity::is_negative);
        let enough = !left.values().any(short);
        if !enough {
            change(left, device, 1);
        }
        enough
    }

    fn give_back(&mut self, device: &Device) {
        if let Some(left) = self.left.get_mut(&device.id.pool) {
            change(left, device, 1);
        }
    }
}

/// What the devices that are allocated leave of a pool's counters.
fn unused<'c>(pool: &Pool<'c>, devices: &Devices) -> BTreeMap<&'c str, Amounts> {
    let counters = pool.counters.iter();
    let mut left = counters
        .map(|(name, amounts)| (*name, (*amounts).clone()))
        .collect();
    let slices = pool.slices.iter().chain(&pool.elsewhere);
    for device in slices.flat_map(|slice| &slice.devices) {
        if !device.counters.is_empty() && devices.taken.is_used(&device.id) {
            change(&mut left, device, -1);
        }
    }
    left
}

fn change(left: &mut BTreeMap<&str, Amounts>, device: &Device, by: i64) {
    for (set, amounts) in &device.counters {
        let Some(left) = left.get_mut(&**set) else {
            continue;
        };
        for (name, amount) in amounts {
            if let Some(left) = left.get_mut(name) {
                *left = if by > 0 {
                    *left + *amount
                } else {
                    *left - *amount
                };
            }
        }
    }
}
