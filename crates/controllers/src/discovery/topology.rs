//! Topology-aware hints (`service.kubernetes.io/topology-mode: Auto`): each zone is meant to use as
//! large a share of a Service's endpoints as it has of the cluster's CPUs. Endpoints serve their own
//! zone; a zone that has more than its share gives some to one that has less. Where that cannot be
//! done without loading an endpoint with more than a fifth above its share, nobody is given hints.
//! Pure.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForZone};

/// How much more than its share an endpoint may get.
const OVERLOAD: f64 = 0.2;

/// Whether a Service asks for it; where both are there, the older annotation counts.
pub(crate) fn is_wanted(service: &Service) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let mode = annotations.and_then(|all| {
        all.get("service.kubernetes.io/topology-aware-hints")
            .or_else(|| all.get("service.kubernetes.io/topology-mode"))
    });
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// What hints depend on in a node: its zone and CPUs (in thousandths) where it counts.
pub(crate) fn share_of(node: &Node) -> Option<(Option<String>, i64)> {
    let labels = node.metadata.labels.as_ref();
    let has = |key: &str| labels.is_some_and(|labels| labels.contains_key(key));
    let status = node.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let excluded = has("node-role.kubernetes.io/control-plane")
        || has("node-role.kubernetes.io/master")
        || !ready;
    if excluded {
        return None;
    }
    let zone = labels.and_then(|labels| labels.get("topology.kubernetes.io/zone"));
    let cpu = status.and_then(|s| s.allocatable.as_ref()?.get("cpu"));
    let cpu = cpu.and_then(|cpu| cpu.0.parse::<Quantity>().ok());
    Some((
        zone.cloned().filter(|zone| !zone.is_empty()),
        cpu.map_or(0, |cpu| cpu.millis()),
    ))
}

/// Each zone's part of the cluster's CPUs; none where that is not known, or there is one zone.
pub(crate) fn ratios(shares: impl Iterator<Item = (Option<String>, i64)>) -> BTreeMap<String, f64> {
    let mut zones: BTreeMap<String, i64> = BTreeMap::new();
    for (zone, cpu) in shares {
        match zone {
            Some(zone) if cpu > 0 => *zones.entry(zone).or_default() += cpu,
            _ => return BTreeMap::new(),
        }
    }
    if zones.len() < 2 {
        return BTreeMap::new();
    }
    let total: i64 = zones.values().sum();
    let part = |cpu: i64| cpu as f64 / total as f64;
    zones
        .into_iter()
        .map(|(zone, cpu)| (zone, part(cpu)))
        .collect()
}

#[derive(Clone, Copy, Debug)]
struct Allocation {
    minimum: usize,
    maximum: usize,
    desired: f64,
}

/// How many endpoints each zone needs and would like; the error says why that cannot be had.
fn allocate(
    endpoints: usize,
    ratios: &BTreeMap<String, f64>,
) -> Result<BTreeMap<&str, Allocation>, String> {
    if ratios.is_empty() {
        return Err("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes".to_owned());
    }
    let zones = ratios.len();
    let counts = format!("({endpoints} endpoints, {zones} zones)");
    if zones > endpoints {
        return Err(format!("Insufficient number of endpoints {counts}"));
    }
    let mut allocations = BTreeMap::new();
    let mut least = 0;
    for (zone, ratio) in ratios {
        let desired = ratio * endpoints as f64;
        let minimum = (desired / (1.0 + OVERLOAD)).ceil() as usize;
        least += minimum;
        if least > endpoints {
            return Err(format!(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold {counts}"
            ));
        }
        let allocation = Allocation {
            minimum,
            maximum: 0,
            desired: desired.max(minimum as f64),
        };
        allocations.insert(zone.as_str(), allocation);
    }
    for allocation in allocations.values_mut() {
        allocation.maximum = allocation.minimum + endpoints - least;
    }
    Ok(allocations)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|c| c.ready == Some(true))
}

fn hinted(endpoint: &Endpoint) -> Option<&str> {
    let zones = endpoint.hints.as_ref()?.for_zones.as_ref()?;
    zones.first().map(|zone| zone.name.as_str())
}

/// Gives the endpoints of one address family their hints, or says why they get none. `before`
/// answers the zone that an endpoint was meant for so far: as long as that leaves no zone short,
/// nothing moves.
pub(crate) fn hint(
    endpoints: &mut [&mut Endpoint],
    ratios: &BTreeMap<String, f64>,
    before: impl Fn(&Endpoint) -> Option<String>,
) -> Result<(), String> {
    for endpoint in endpoints.iter_mut() {
        endpoint.hints = None;
    }
    let mut ready: Vec<&mut Endpoint> = endpoints
        .iter_mut()
        .map(|endpoint| &mut **endpoint)
        .filter(|endpoint| is_ready(endpoint))
        .collect();
    let allocations = allocate(ready.len(), ratios)?;
    let zone = |endpoint: &Endpoint| endpoint.zone.clone().filter(|zone| !zone.is_empty());
    if ready.iter().any(|endpoint| zone(endpoint).is_none()) {
        return Err("One or more endpoints do not have a zone specified".to_owned());
    }
    let kept = |endpoint: &Endpoint| {
        let known = before(endpoint).filter(|zone| allocations.contains_key(zone.as_str()));
        known.or_else(|| zone(endpoint)).unwrap_or_default()
    };
    let as_before: Vec<String> = ready.iter().map(|endpoint| kept(endpoint)).collect();
    if is_enough(&as_before, &allocations) {
        give(&mut ready, as_before);
        return Ok(());
    }
    let mut zones: Vec<String> = ready
        .iter()
        .map(|endpoint| zone(endpoint).unwrap_or_default())
        .collect();
    let (mut giving, mut receiving) = moves(&zones, &allocations);
    // Those that serve another zone already go on doing so.
    let mut order: Vec<usize> = (0..zones.len()).collect();
    order.sort_by_key(|at| as_before[*at] == zones[*at]);
    for at in order {
        let Some(to_give) = giving.get_mut(&zones[at]).filter(|n| **n > 0) else {
            continue;
        };
        let takes = |zone: &String, receiving: &BTreeMap<String, usize>| {
            receiving.get(zone).is_some_and(|n| *n > 0)
        };
        let to = match takes(&as_before[at], &receiving) {
            true => Some(as_before[at].clone()),
            false => receiving
                .iter()
                .find(|(_, n)| **n > 0)
                .map(|(zone, _)| zone.clone()),
        };
        let Some(to) = to else { break };
        *to_give -= 1;
        if let Some(left) = receiving.get_mut(&to) {
            *left -= 1;
        }
        zones[at] = to;
    }
    give(&mut ready, zones);
    Ok(())
}

fn give(endpoints: &mut [&mut Endpoint], zones: Vec<String>) {
    for (endpoint, name) in endpoints.iter_mut().zip(zones) {
        endpoint.hints = Some(EndpointHints {
            for_nodes: None,
            for_zones: Some(vec![ForZone { name }]),
        });
    }
}

fn count<'z>(zones: &'z [String], zone: &str) -> usize {
    let same = |own: &&'z String| own.as_str() == zone;
    zones.iter().filter(same).count()
}

/// Whether each zone has what it needs and none more than it may.
fn is_enough(zones: &[String], allocations: &BTreeMap<&str, Allocation>) -> bool {
    zones
        .iter()
        .all(|zone| allocations.contains_key(zone.as_str()))
        && allocations.iter().all(|(zone, allocation)| {
            (allocation.minimum..=allocation.maximum).contains(&count(zones, zone))
        })
}

type Counts = BTreeMap<String, usize>;

/// How many endpoints zones give away, and how many others get: one after the other from the zone
/// that has most too many to the one that has most too few, while at least half an endpoint is.
fn moves(zones: &[String], allocations: &BTreeMap<&str, Allocation>) -> (Counts, Counts) {
    let (mut over, mut under) = (BTreeMap::new(), BTreeMap::new());
    for (zone, allocation) in allocations {
        let difference = count(zones, zone) as f64 - allocation.desired;
        if difference > 0.0 {
            over.insert(*zone, difference);
        } else if difference < 0.0 {
            under.insert(*zone, -difference);
        }
    }
    // Zones without a node that counts give all they have.
    for zone in zones {
        if !allocations.contains_key(zone.as_str()) {
            over.insert(zone, count(zones, zone) as f64);
        }
    }
    let most = |amounts: &BTreeMap<&str, f64>| {
        let most = amounts.iter().max_by(|a, b| a.1.total_cmp(b.1));
        most.map(|(zone, amount)| ((*zone).to_owned(), *amount))
    };
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    while let (Some((from, give)), Some((to, take))) = (most(&over), most(&under)) {
        if (give < 1.0 && take < 1.0) || give < 0.5 || take < 0.5 {
            break;
        }
        *giving.entry(from.clone()).or_default() += 1;
        *receiving.entry(to.clone()).or_default() += 1;
        for (amounts, zone) in [(&mut over, &from), (&mut under, &to)] {
            if let Some(amount) = amounts.get_mut(zone.as_str()) {
                *amount -= 1.0;
            }
        }
    }
    (giving, receiving)
}

/// For whom an existing endpoint is meant.
pub(crate) fn zone_hinted(endpoint: &Endpoint) -> Option<String> {
    hinted(endpoint).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoints(zones: &[&str]) -> Vec<Endpoint> {
        let endpoint = |(n, zone): (usize, &&str)| {
            serde_json::from_value(json!({"addresses": [format!("10.0.0.{n}")], "zone": zone,
                "conditions": {"ready": true}}))
            .unwrap()
        };
        zones.iter().enumerate().map(endpoint).collect()
    }

    fn cpus(zones: &[(&str, i64)]) -> BTreeMap<String, f64> {
        ratios(
            zones
                .iter()
                .map(|(zone, cpu)| (Some((*zone).to_owned()), *cpu)),
        )
    }

    fn hints(endpoints: &mut [Endpoint], ratios: &BTreeMap<String, f64>) -> Result<String, String> {
        let before = endpoints.to_vec();
        let same = |own: &Endpoint| {
            let mut all = before.iter();
            all.find(|e| e.addresses == own.addresses)
                .and_then(zone_hinted)
        };
        let mut all: Vec<&mut Endpoint> = endpoints.iter_mut().collect();
        hint(&mut all, ratios, same)?;
        let zones = endpoints.iter().map(|e| hinted(e).unwrap_or("-"));
        Ok(zones.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn zones_get_as_large_a_share_as_they_have_of_the_cpus() {
        let even = cpus(&[("a", 1000), ("b", 1000)]);
        let three = cpus(&[("a", 1000), ("b", 1000), ("c", 1000)]);
        let uneven = cpus(&[("a", 3000), ("b", 1000)]);
        type Case<'c> = (
            &'c [&'c str],
            &'c BTreeMap<String, f64>,
            Result<&'c str, &'c str>,
        );
        let cases: [Case<'_>; 9] = [
            (&["a", "b"], &even, Ok("a b")),
            (&["a", "a", "a", "b"], &even, Ok("b a a b")),
            (&["a", "a"], &even, Ok("b a")),
            (&["a", "a", "a", "b", "b", "c"], &three, Ok("c a a b b c")),
            (&["a", "a", "b", "b"], &uneven, Ok("a a a b")),
            (
                &["a"],
                &even,
                Err("Insufficient number of endpoints (1 endpoints, 2 zones)"),
            ),
            (
                &["a", "b", "b"],
                &cpus(&[("a", 1000), ("b", 1000), ("c", 0)]),
                Err(
                    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
                ),
            ),
            (
                &["a", "b", "c", "c"],
                &three,
                Err(
                    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)",
                ),
            ),
            (
                &["a", "", "b"],
                &cpus(&[("a", 1000), ("b", 2000)]),
                Err("One or more endpoints do not have a zone specified"),
            ),
        ];
        for (zones, ratios, want) in cases {
            let got = hints(&mut endpoints(zones), ratios);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{zones:?}");
        }
    }

    #[test]
    fn nothing_moves_while_no_zone_is_short() {
        let even = cpus(&[("a", 1000), ("b", 1000)]);
        let mut own = endpoints(&["a", "a", "a", "a", "a", "b", "b", "b", "b", "b"]);
        assert_eq!(hints(&mut own, &even).unwrap(), "a a a a a b b b b b");
        // One more in a zone, or one less, is borne.
        own.push(endpoints(&["x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "b"]).remove(10));
        assert_eq!(hints(&mut own, &even).unwrap(), "a a a a a b b b b b b");
        // A given endpoint stays given.
        let mut given = endpoints(&["a", "a", "a", "b"]);
        assert_eq!(hints(&mut given, &even).unwrap(), "b a a b");
        given.reverse();
        assert_eq!(hints(&mut given, &even).unwrap(), "b a a b");
    }

    #[test]
    fn which_annotation_counts() {
        let (old, new) = (
            "service.kubernetes.io/topology-aware-hints",
            "service.kubernetes.io/topology-mode",
        );
        for (annotations, expected) in [
            (json!({new: "Auto"}), true),
            (json!({old: "auto"}), true),
            (json!({old: "Disabled", new: "Auto"}), false),
            (json!({old: "Auto", new: "Disabled"}), true),
            (json!({new: "on"}), false),
        ] {
            let service = json!({"metadata": {"annotations": annotations}});
            let wanted = is_wanted(&serde_json::from_value(service).unwrap());
            assert_eq!(wanted, expected, "{annotations}");
        }
    }

    #[test]
    fn nodes_count_when_they_are_ready_and_workers() {
        let node = |labels: serde_json::Value, ready: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"labels": labels}, "status": {
                "allocatable": {"cpu": "2"}, "conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        let zone = json!({"topology.kubernetes.io/zone": "a"});
        let plane = json!({"topology.kubernetes.io/zone": "a", "node-role.kubernetes.io/control-plane": ""});
        assert_eq!(
            share_of(&node(zone.clone(), "True")),
            Some((Some("a".to_owned()), 2000))
        );
        assert_eq!(share_of(&node(zone, "False")), None);
        assert_eq!(share_of(&node(plane, "True")), None);
        assert_eq!(share_of(&node(json!({}), "True")), Some((None, 2000)));
    }
}
