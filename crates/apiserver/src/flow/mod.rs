//! API priority and fairness (KEP-1040): FlowSchemas sort requests into flows of priority levels, each
//! level has its seats, and where they do not suffice requests wait in queues that let every flow have
//! its turn. Requests of one client cannot crowd out another's, nor anybody's those of nodes.
//!
//! [`schema`] sorts, [`plan`] and [`level`] decide who is next, [`estimate`] says how many seats a
//! request takes, [`objects`] are the schemas and levels of a new cluster and what is said of them.
//! Without requests nothing runs.

pub mod estimate;
mod level;
pub mod objects;
mod plan;
mod schema;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::meta;
use api::object::Object;
use api::status::Status;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::authorization::Attributes;
use crate::metrics::Flows;
use estimate::Work;
use level::{Limits, Queuing};
use plan::{Entry, Plan};
use schema::Schema;

/// A request waits this long for its seats, then is sent away: a quarter of what a request may take
/// altogether, as upstream's.
const PATIENCE: Duration = Duration::from_secs(15);
/// The level that is never held back.
const EXEMPT: &str = "exempt";
/// The level of what no schema names.
const CATCH_ALL: &str = "catch-all";
/// Seats that one request may take, at most.
const MAX_SEATS: u64 = 10;

type Waker = oneshot::Sender<()>;

/// Schemas and levels as they are configured.
struct Configured {
    schemas: Vec<Schema>,
    levels: HashMap<String, (HeaderValue, Limits)>,
}

/// Decides when requests are let in.
pub struct FlowControl {
    configured: RwLock<Arc<Configured>>,
    plan: Mutex<Plan<Waker>>,
    metrics: Flows,
    patience: Duration,
}

/// Where a request belongs; told to clients in headers.
#[derive(Clone)]
pub struct Class {
    configured: Arc<Configured>,
    schema: usize,
    level: String,
    /// The uid of the FlowSchema.
    pub schema_uid: HeaderValue,
    /// The uid of the PriorityLevelConfiguration.
    pub level_uid: HeaderValue,
}

/// A request's seats, until dropped.
pub struct Seats {
    control: Arc<FlowControl>,
    class: Class,
    work: Work,
}

impl FlowControl {
    /// With so many seats altogether, and the schemas and levels of a new cluster.
    pub fn new(seats: usize, metrics: Flows) -> FlowControl {
        let configured = Configured::read(seats as u64, &objects::schemas(), &objects::levels());
        let mut plan = Plan::new(seats as u64);
        plan.configure(&configured.limits());
        FlowControl {
            configured: RwLock::new(Arc::new(configured)),
            plan: Mutex::new(plan),
            metrics,
            patience: PATIENCE,
        }
    }

    /// Takes over the schemas and levels there are now.
    pub fn configure(&self, schemas: &[Value], levels: &[Value]) {
        let mut plan = self.plan.lock();
        let configured = Configured::read(plan.total, schemas, levels);
        plan.configure(&configured.limits());
        *self.configured.write() = Arc::new(configured);
        plan.settle(|waker| waker.send(()).is_ok());
    }

    /// Where a request belongs.
    pub fn classify(&self, request: &Attributes<'_>) -> Class {
        let configured = self.configured.read().clone();
        let schema = configured
            .schemas
            .iter()
            .position(|schema| schema.matches(request))
            // The last one takes whatever is left.
            .unwrap_or(configured.schemas.len() - 1);
        let level = configured.schemas[schema].level.clone();
        let level_uid = configured.levels.get(&level).map(|(uid, _)| uid.clone());
        Class {
            schema_uid: configured.schemas[schema].uid.clone(),
            level_uid: level_uid.unwrap_or_else(|| HeaderValue::from_static("")),
            schema,
            level,
            configured,
        }
    }

    /// The seats that one request of this class may take: a sixth of its level's, so that none keeps
    /// its level from everybody else.
    pub fn widest(&self, class: &Class) -> u64 {
        match class.configured.levels.get(&class.level) {
            Some((_, limits)) if !limits.exempt => (limits.nominal * 15 / 100).clamp(1, MAX_SEATS),
            _ => MAX_SEATS,
        }
    }

    /// Waits for the seats of a request, held until they are dropped.
    pub async fn enter(
        self: &Arc<Self>,
        class: Class,
        request: &Attributes<'_>,
        work: Work,
    ) -> Result<Seats, Status> {
        let names = (class.schema_name(), class.level.as_str());
        let (waker, turn) = oneshot::channel();
        let hash = || {
            let schema = &class.configured.schemas[class.schema];
            hash(&schema.name, schema.flow(request))
        };
        let came = Instant::now();
        let entry = self
            .plan
            .lock()
            .enter(&class.level, work.seats, hash, waker);
        let id = match entry {
            Entry::In => {
                self.metrics.dispatched(names, came.elapsed());
                return Ok(Seats {
                    control: self.clone(),
                    class,
                    work,
                });
            }
            Entry::Refused(_) => {
                let queues = self
                    .plan
                    .lock()
                    .levels
                    .get(&class.level)
                    .is_some_and(|l| l.limits.queuing.is_some());
                let why = if queues {
                    "queue-full"
                } else {
                    "concurrency-limit"
                };
                self.metrics.rejected(names, why);
                return Err(busy());
            }
            Entry::Waits(id) => id,
        };
        let mut wait = Wait {
            control: self,
            level: &class.level,
            id,
            seats: work.seats,
            waits: true,
        };
        let outcome = tokio::time::timeout(self.patience, turn).await;
        let in_time = matches!(outcome, Ok(Ok(())));
        if !in_time && self.plan.lock().give_up(&class.level, id) {
            wait.waits = false;
            self.metrics.rejected(names, "time-out");
            return Err(busy());
        }
        // Let in, in time or at the very last moment.
        wait.waits = false;
        drop(wait);
        self.metrics.dispatched(names, came.elapsed());
        Ok(Seats {
            control: self.clone(),
            class,
            work,
        })
    }

    fn leave(&self, level: &str, seats: u64, done: bool) {
        let mut plan = self.plan.lock();
        plan.free(level, seats);
        if done {
            plan.done(level);
        }
        plan.settle(|waker| waker.send(()).is_ok());
    }

    /// Puts the present state into the metrics.
    pub fn observe(&self) {
        let plan = self.plan.lock();
        for (name, level) in &plan.levels {
            let limits = &level.limits;
            self.metrics.level(
                name,
                [level.requests, level.seats, level.waiting],
                [limits.nominal, limits.least, limits.most],
            );
        }
    }
}

/// A request that waits; one whose client goes meanwhile gives its place up.
struct Wait<'a> {
    control: &'a FlowControl,
    level: &'a str,
    id: u64,
    seats: u64,
    waits: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.waits && !self.control.plan.lock().give_up(self.level, self.id) {
            self.control.leave(self.level, self.seats, true);
        }
    }
}

impl Class {
    fn schema_name(&self) -> &str {
        &self.configured.schemas[self.schema].name
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let (control, level) = (self.control.clone(), std::mem::take(&mut self.class.level));
        let Work {
            seats,
            final_seats,
            lingers,
        } = self.work;
        let kept = final_seats.min(seats);
        if kept == 0 || lingers.is_zero() {
            control.leave(&level, seats, true);
            return;
        }
        control.leave(&level, seats - kept, true);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(lingers).await;
                control.leave(&level, kept, false);
            })),
            Err(_) => control.leave(&level, kept, false),
        }
    }
}

fn busy() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", 1)
}

/// A flow's hash. It need not be quick: only who has to wait is dealt queues.
fn hash(schema: &str, flow: &str) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(schema.as_bytes());
    context.update(&[0]);
    context.update(flow.as_bytes());
    let digest = context.finish();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    u64::from_le_bytes(first)
}

impl Configured {
    fn read(total: u64, schemas: &[Value], levels: &[Value]) -> Configured {
        // What must be there is there, also when its object is not.
        let with = |given: &[Value], own: Vec<Value>| -> Vec<Value> {
            let must = own
                .into_iter()
                .filter(|o| matches!(meta::name(o), EXEMPT | CATCH_ALL));
            let missing: Vec<Value> = must
                .filter(|o| !given.iter().any(|g| meta::name(g) == meta::name(o)))
                .collect();
            given.iter().cloned().chain(missing).collect()
        };
        let levels = with(levels, objects::levels());
        let shares = |object: &Value| {
            let kind = if object.text("spec.type") == "Exempt" {
                "exempt"
            } else {
                "limited"
            };
            let default = if kind == "exempt" { 0 } else { 30 };
            let path = format!("spec.{kind}.nominalConcurrencyShares");
            u64::try_from(object.int(&path).unwrap_or(default)).unwrap_or(0)
        };
        let sum: u64 = levels.iter().map(shares).sum();
        let mut map = HashMap::new();
        for object in &levels {
            let uid = HeaderValue::from_str(meta::uid(object))
                .unwrap_or_else(|_| HeaderValue::from_static(""));
            let nominal = (total * shares(object)).div_ceil(sum.max(1));
            map.insert(
                meta::name(object).to_owned(),
                (uid, limits(object, total, nominal)),
            );
        }
        let mut schemas: Vec<Schema> = with(schemas, objects::schemas())
            .iter()
            .map(Schema::read)
            // One that names a level that is not there is passed over.
            .filter(|schema| map.contains_key(&schema.level))
            .collect();
        schemas.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Configured {
            schemas,
            levels: map,
        }
    }

    fn limits(&self) -> HashMap<String, Limits> {
        let limits = self.levels.iter();
        limits.map(|(name, (_, l))| (name.clone(), *l)).collect()
    }
}

/// The limits of a level with so many nominal seats.
fn limits(object: &Value, total: u64, nominal: u64) -> Limits {
    let spec = object.at("spec");
    let exempt = spec.text("type") == "Exempt";
    let own = spec.at(if exempt { "exempt" } else { "limited" });
    let percent = |path: &str| own.int(path).and_then(|n| u64::try_from(n).ok());
    let lent = (nominal * percent("lendablePercent").unwrap_or(0) + 50) / 100;
    let most = match percent("borrowingLimitPercent") {
        Some(percent) => nominal + (nominal * percent + 50) / 100,
        None => total,
    };
    let queuing = (own.text("limitResponse.type") == "Queue").then(|| {
        let number = |path: &str, default: i64| {
            let path = format!("limitResponse.queuing.{path}");
            usize::try_from(own.int(&path).unwrap_or(default)).unwrap_or(1)
        };
        Queuing {
            queues: number("queues", 64).clamp(1, 10_000),
            hand: number("handSize", 8).max(1),
            length: number("queueLengthLimit", 50).max(1),
        }
    });
    Limits {
        exempt,
        nominal,
        least: nominal - lent.min(nominal),
        most,
        queuing,
    }
}

#[cfg(test)]
mod tests;
