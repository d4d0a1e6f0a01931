//! What a claim asks for, with its device classes looked up.

use std::sync::Arc;

use k8s_openapi::{
    api::resource::v1::{
        CapacityRequirements, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector,
        DeviceTaint, DeviceToleration, ResourceClaim,
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use super::{Devices, selector::Wanted};

/// Devices a claim may get (`AllocationResultsMaxSize`).
pub const MOST: usize = 32;

/// How many devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exactly(usize),
    /// All there are.
    All,
}

/// A request, or one alternative of a request.
#[derive(Debug)]
pub struct Ask<'c> {
    /// As results name it: `gpu`, or `gpu/large`.
    pub name: Box<str>,
    /// The request alone: `gpu`.
    pub base: &'c str,
    /// The class it is of.
    pub class: &'c Arc<DeviceClass>,
    /// How many.
    pub count: Count,
    /// Devices in use will do.
    pub admin: Option<bool>,
    /// The class's selectors and its own.
    pub wanted: Vec<Wanted>,
    /// Taints it tolerates.
    pub tolerations: Option<&'c Vec<DeviceToleration>>,
    /// Capacity it needs of each device.
    pub capacity: Option<&'c CapacityRequirements>,
}

impl Ask<'_> {
    /// Whether any device will do whether it is in use or not.
    pub fn is_admin(&self) -> bool {
        self.admin == Some(true)
    }

    /// The capacity asked for by name.
    pub fn capacity(&self, name: &str) -> Option<&ApiQuantity> {
        self.capacity?.requests.as_ref()?.get(name)
    }

    /// Whether a taint does not keep it from a device.
    pub fn tolerates(&self, taint: &DeviceTaint) -> bool {
        // Effects that are not known, and `None`, keep nobody away.
        if !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") {
            return true;
        }
        let same =
            |own: Option<&str>, theirs: &str| own.is_none_or(|o| o.is_empty() || o == theirs);
        let value = taint.value.as_deref().unwrap_or_default();
        self.tolerations.into_iter().flatten().any(|toleration| {
            same(toleration.effect.as_deref(), &taint.effect)
                && same(toleration.key.as_deref(), &taint.key)
                && match toleration.operator.as_deref().unwrap_or_default() {
                    "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == value,
                    operator => operator == "Exists",
                }
        })
    }
}

/// One request of a claim: one of these is to be met, the first that can be.
#[derive(Debug)]
pub struct Request<'c> {
    /// It is a list of alternatives, each with a name of its own.
    pub prioritized: bool,
    /// One, or the alternatives.
    pub asks: Vec<Ask<'c>>,
}

/// A claim that has no devices yet.
#[derive(Debug)]
pub struct Unmet<'c> {
    /// The claim.
    pub claim: &'c Arc<ResourceClaim>,
    /// In order.
    pub requests: Vec<Request<'c>>,
}

/// `namespace/name`
pub fn display(claim: &ResourceClaim) -> String {
    let meta = &claim.metadata;
    let (space, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    format!("{}/{}", space.unwrap_or_default(), name.unwrap_or_default())
}

/// The requests of a claim.
pub fn requests_of(claim: &ResourceClaim) -> &[DeviceRequest] {
    let devices = claim.spec.devices.as_ref();
    devices
        .and_then(|d| d.requests.as_deref())
        .unwrap_or_default()
}

/// The constraints of a claim.
pub fn constraints_of(claim: &ResourceClaim) -> &[DeviceConstraint] {
    let devices = claim.spec.devices.as_ref();
    devices
        .and_then(|d| d.constraints.as_deref())
        .unwrap_or_default()
}

struct Parts<'c> {
    class: &'c str,
    mode: Option<&'c str>,
    count: Option<i64>,
    selectors: &'c [DeviceSelector],
    tolerations: Option<&'c Vec<DeviceToleration>>,
    capacity: Option<&'c CapacityRequirements>,
    admin: Option<bool>,
}

/// Looks up what a claim needs; the error says why it cannot be met on any node.
pub fn read<'c>(claim: &'c Arc<ResourceClaim>, devices: &'c Devices) -> Result<Unmet<'c>, String> {
    let mut requests = Vec::new();
    for request in requests_of(claim) {
        let base = request.name.as_str();
        let ask = |name: String, parts: Parts<'c>| ask(claim, devices, base, name, parts);
        let alternatives = request.first_available.as_deref().unwrap_or_default();
        let asks = match &request.exactly {
            Some(exactly) => {
                let parts = Parts {
                    class: &exactly.device_class_name,
                    mode: exactly.allocation_mode.as_deref(),
                    count: exactly.count,
                    selectors: exactly.selectors.as_deref().unwrap_or_default(),
                    tolerations: exactly.tolerations.as_ref(),
                    capacity: exactly.capacity.as_ref(),
                    admin: exactly.admin_access,
                };
                vec![ask(base.to_owned(), parts)?]
            }
            None if alternatives.is_empty() => {
                return Err(format!(
                    "resource claim {}, request {base}: unknown request type",
                    display(claim)
                ));
            }
            None => {
                let asks = alternatives.iter().map(|sub| {
                    let parts = Parts {
                        class: &sub.device_class_name,
                        mode: sub.allocation_mode.as_deref(),
                        count: sub.count,
                        selectors: sub.selectors.as_deref().unwrap_or_default(),
                        tolerations: sub.tolerations.as_ref(),
                        capacity: sub.capacity.as_ref(),
                        admin: None,
                    };
                    ask(format!("{base}/{}", sub.name), parts)
                });
                asks.collect::<Result<Vec<_>, _>>()?
            }
        };
        requests.push(Request {
            prioritized: request.exactly.is_none(),
            asks,
        });
    }
    Ok(Unmet { claim, requests })
}

fn ask<'c>(
    claim: &'c Arc<ResourceClaim>,
    devices: &'c Devices,
    base: &'c str,
    name: String,
    parts: Parts<'c>,
) -> Result<Ask<'c>, String> {
    let Some(class) = devices.class(parts.class) else {
        let class = parts.class;
        return Err(format!(
            "request {name}: device class {class} does not exist"
        ));
    };
    let count = match parts.mode.unwrap_or("ExactCount") {
        "All" => Count::All,
        "ExactCount" => Count::Exactly(usize::try_from(parts.count.unwrap_or(1)).unwrap_or(0)),
        other => {
            return Err(format!(
                "claim {}, request {name}: unsupported count mode {other}",
                display(claim)
            ));
        }
    };
    let mut wanted = Vec::new();
    let own = format!("claim {}", display(claim));
    let of_class = class.spec.selectors.as_deref().unwrap_or_default();
    let theirs = format!("class {}", parts.class);
    for (origin, selectors) in [(theirs, of_class), (own, parts.selectors)] {
        for (index, selector) in selectors.iter().enumerate() {
            let Some(cel) = &selector.cel else {
                return Err(format!(
                    "claim {}, request {name}, selector #{index}: CEL expression empty (unsupported selector type?)",
                    display(claim)
                ));
            };
            wanted.push(Wanted {
                origin: format!("{origin}: selector #{index}").into(),
                selector: devices.selector(&cel.expression),
            });
        }
    }
    Ok(Ask {
        name: name.into(),
        base,
        class,
        count,
        admin: parts.admin,
        wanted,
        tolerations: parts.tolerations,
        capacity: parts.capacity,
    })
}
