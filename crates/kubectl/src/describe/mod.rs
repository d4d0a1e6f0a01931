//! What `kubectl describe` says of an object: for each kind a layout of rows, and a generic one for
//! the others.
//!
//! A [`Layout`] plans: which further objects it needs ([`Ask`]) depends on the object alone. The
//! command executes that, and [`describe`] draws, without IO, from the object and the [`Answers`].

mod autoscaling;
mod batch;
mod certificates;
mod config;
mod containers;
mod events;
mod generic;
mod namespace;
mod networking;
mod node;
pub mod page;
mod pod;
mod policy;
mod rbac;
mod services;
mod storage;
mod template;
mod volumes;
mod workloads;

use std::collections::BTreeMap;

use api::object::{NULL, Object};
use serde_json::Value;

use crate::error::{Error, Result};
pub use events::age as event_age;
use page::{Moment, Page, Row};
pub use rbac::permissions;

/// Which events are about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// None are shown.
    None,
    /// Those of its kind, name and UID.
    Own,
    /// Those of its name and UID: what tells of a pod does not always say so.
    AnyKind,
    /// Its own, and those that have its name for a UID, as kubelets write them.
    Node,
}

/// How a kind is described.
pub struct Layout {
    /// The version whose fields the rows name.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    rows: &'static [Row],
    asks: fn(&Value) -> Vec<Ask>,
    events: Events,
}

impl Layout {
    const fn new(api_version: &'static str, kind: &'static str, rows: &'static [Row]) -> Layout {
        Layout {
            api_version,
            kind,
            rows,
            asks: |_| Vec::new(),
            events: Events::Own,
        }
    }
}

/// Every kind with a layout of its own.
const LAYOUTS: &[Layout] = &[
    autoscaling::AUTOSCALER,
    batch::CRON_JOB,
    batch::JOB,
    certificates::REQUEST,
    config::CONFIG_MAP,
    config::SECRET,
    config::SERVICE_ACCOUNT,
    namespace::LIMIT_RANGE,
    namespace::NAMESPACE,
    namespace::QUOTA,
    networking::IP_ADDRESS,
    networking::POLICY,
    networking::SERVICE_CIDR,
    node::NODE,
    pod::POD,
    policy::BUDGET,
    policy::PRIORITY_CLASS,
    rbac::CLUSTER_ROLE,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::ROLE,
    rbac::ROLE_BINDING,
    services::ENDPOINTS,
    services::INGRESS,
    services::INGRESS_CLASS,
    services::SERVICE,
    services::SLICE,
    storage::ATTRIBUTES_CLASS,
    storage::CLAIM,
    storage::CLASS,
    storage::CSI_NODE,
    storage::VOLUME,
    workloads::DAEMON_SET,
    workloads::DEPLOYMENT,
    workloads::REPLICA_SET,
    workloads::REPLICATION_CONTROLLER,
    workloads::STATEFUL_SET,
];

/// The layout of a kind in a group, when it has one.
pub fn layout(group: &str, kind: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|l| {
        let own = l.api_version.split_once('/').map_or("", |(group, _)| group);
        own == group && l.kind == kind
    })
}

/// Something else a description needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the layout calls it.
    pub key: String,
    /// Where it is.
    pub path: String,
    tolerated: Tolerated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tolerated {
    Nothing,
    Code(u16),
    Everything,
}

impl Ask {
    fn new(key: impl Into<String>, path: impl Into<String>) -> Ask {
        Ask {
            key: key.into(),
            path: path.into(),
            tolerated: Tolerated::Nothing,
        }
    }

    /// The description can do without it.
    fn optional(mut self) -> Ask {
        self.tolerated = Tolerated::Everything;
        self
    }

    /// The description can do without it where the server answers so.
    fn tolerated(mut self, code: u16) -> Ask {
        self.tolerated = Tolerated::Code(code);
        self
    }
}

/// What an object's description needs besides the object.
pub fn asks(group: &str, kind: &str, object: &Value, with_events: bool) -> Vec<Ask> {
    let layout = layout(group, kind);
    let mut asks = layout.map_or_else(Vec::new, |l| (l.asks)(object));
    if with_events {
        let which = layout.map_or(Events::Own, |l| l.events);
        asks.extend(events::asks(which, kind, object));
    }
    asks
}

/// What came of the asking.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<String, std::result::Result<Value, String>>);

impl Answers {
    /// Takes in one answer. An error the layout cannot do without ends the description.
    pub fn take(&mut self, ask: &Ask, answer: Result<Value>) -> Result<()> {
        let answer = match (answer, ask.tolerated) {
            (Ok(answer), _) => Ok(answer),
            (Err(Error::Server(status)), Tolerated::Code(code)) if status.code == code => {
                Err(status.message.clone())
            }
            (Err(Error::Server(status)), Tolerated::Everything) => Err(status.message.clone()),
            (Err(error), _) => return Err(error),
        };
        self.0.insert(ask.key.clone(), answer);
        Ok(())
    }

    /// Was this asked for?
    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The object asked for.
    fn object(&self, key: &str) -> &Value {
        match self.0.get(key) {
            Some(Ok(object)) => object,
            _ => &NULL,
        }
    }

    /// The items of the list asked for.
    fn items(&self, key: &str) -> &[Value] {
        self.object(key).list("items")
    }

    /// Why there is none.
    fn error(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Err(message)) => Some(message),
            _ => None,
        }
    }
}

/// A pod template as `rollout history` shows one: with tabs where descriptions have columns.
pub fn pod_template(template: &Value) -> String {
    let mut page = Page::new(Moment::here(), Answers::default());
    template::template(template, &mut page);
    page.tabbed()
}

/// The description of an object.
pub fn describe(
    group: &str,
    kind: &str,
    object: &Value,
    answers: Answers,
    moment: Moment,
) -> String {
    let mut page = Page::new(moment, answers);
    let rows = layout(group, kind).map_or(generic::ROWS, |l| l.rows);
    page.rows(0, object, rows);
    events::print(&mut page);
    page.finish()
}
