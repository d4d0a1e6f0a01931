//! How many replicas each ReplicaSet of a Deployment should have: growth of the new one within the
//! surge, shrinking of the old ones within what may be unavailable, and proportional scaling while
//! several are active.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::plan::Work;
use super::revision;

pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.paused)
        .unwrap_or_default()
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// A number or a percentage of `total`.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let product = percent * i64::from(total);
            let result = if round_up {
                (product + 99).div_euclid(100)
            } else {
                product.div_euclid(100)
            };
            i32::try_from(result).unwrap_or(i32::MAX)
        }
    }
}

/// Surge and unavailable in pods; never both 0, for then nothing could move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let quarter = IntOrString::String("25%".to_owned());
    let rolling = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref()?.rolling_update.clone())
        .unwrap_or_default();
    let surge = scaled(
        rolling.max_surge.as_ref().unwrap_or(&quarter),
        wanted(deployment),
        true,
    );
    let unavailable = scaled(
        rolling.max_unavailable.as_ref().unwrap_or(&quarter),
        wanted(deployment),
        false,
    );
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

/// How many pods there may be beyond the wanted number.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) {
        0
    } else {
        fenceposts(deployment).0
    }
}

/// How many of the wanted pods may be missing.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(wanted(deployment))
}

/// The new ReplicaSet's size, given its present one and the sum over all.
pub(super) fn new_replicas(deployment: &Deployment, current: i32, total: i32) -> i32 {
    let wanted = wanted(deployment);
    let room = wanted.saturating_add(max_surge(deployment)) - total;
    if room <= 0 || is_recreate(deployment) {
        return if is_recreate(deployment) {
            wanted
        } else {
            current.min(wanted)
        };
    }
    if current > wanted {
        wanted
    } else {
        current + room.min(wanted - current)
    }
}

/// Shrinks the old ReplicaSets: first by pods that are not available anyway, then by available ones
/// as far as enough others are.
pub(super) fn shrink_old(deployment: &Deployment, new: &Work, old: &mut [Work]) {
    let at_least = wanted(deployment) - max_unavailable(deployment);
    let total = new.replicas + old.iter().map(|work| work.replicas).sum::<i32>();
    let new_unavailable = new.replicas - new.available();
    let mut unhealthy = total - at_least - new_unavailable;
    if unhealthy <= 0 {
        return;
    }
    for work in old.iter_mut().filter(|work| work.replicas > 0) {
        let gone = unhealthy.min(work.replicas - work.available()).max(0);
        if gone > 0 {
            work.scale(work.replicas - gone, deployment);
            unhealthy -= gone;
        }
    }
    let available = new.available() + old.iter().map(Work::available).sum::<i32>();
    let mut healthy = available - at_least;
    for work in old.iter_mut().filter(|work| work.replicas > 0) {
        if healthy <= 0 {
            return;
        }
        let gone = healthy.min(work.replicas);
        work.scale(work.replicas - gone, deployment);
        healthy -= gone;
    }
}

/// Was the Deployment scaled since the ReplicaSets were last sized?
pub(super) fn is_scaling<'a>(
    deployment: &Deployment,
    sets: impl Iterator<Item = &'a Work>,
) -> bool {
    sets.filter(|work| work.replicas > 0)
        .filter_map(|work| revision::count(&work.set, revision::DESIRED))
        .any(|desired| desired != wanted(deployment))
}

/// Brings the ReplicaSets to the Deployment's size without moving the rollout on.
pub(super) fn scale(deployment: &Deployment, new: Option<&mut Work>, old: &mut [Work]) {
    let wanted = wanted(deployment);
    let active = new.iter().filter(|work| work.replicas > 0).count()
        + old.iter().filter(|work| work.replicas > 0).count();
    if active <= 1 {
        let latest = match new {
            Some(work) if active == 0 || work.replicas > 0 => Some(work),
            // The only active one, or else the youngest.
            _ => {
                let at = old
                    .iter()
                    .position(|work| work.replicas > 0)
                    .unwrap_or(old.len().saturating_sub(1));
                old.get_mut(at)
            }
        };
        if let Some(work) = latest.filter(|work| work.replicas != wanted) {
            work.scale(wanted, deployment);
        }
        return;
    }
    if new
        .as_ref()
        .is_some_and(|work| is_saturated(deployment, work))
    {
        for work in old.iter_mut().filter(|work| work.replicas > 0) {
            work.scale(0, deployment);
        }
        return;
    }
    if is_recreate(deployment) {
        return;
    }
    let mut active: Vec<&mut Work> = old
        .iter_mut()
        .chain(new)
        .filter(|work| work.replicas > 0)
        .collect();
    let total: i32 = active.iter().map(|work| work.replicas).sum();
    let allowed = if wanted > 0 {
        wanted.saturating_add(max_surge(deployment))
    } else {
        0
    };
    let to_add = allowed - total;
    active.sort_by(|a, b| {
        let age = |work: &Work| work.set.metadata.creation_timestamp.clone();
        let size = b.replicas.cmp(&a.replicas);
        // Growing favours the newer of equals, shrinking the older.
        size.then_with(|| {
            if to_add > 0 {
                age(b).cmp(&age(a))
            } else {
                age(a).cmp(&age(b))
            }
        })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for work in &active {
        let share = proportion(deployment, work, to_add, added);
        added += share;
        sizes.push(work.replicas + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (work, size) in active.into_iter().zip(sizes) {
        work.scale(size, deployment);
    }
}

fn is_saturated(deployment: &Deployment, work: &Work) -> bool {
    let wanted = wanted(deployment);
    work.replicas == wanted
        && revision::count(&work.set, revision::DESIRED) == Some(wanted)
        && work.available() == wanted
}

/// A ReplicaSet's share of what is to be added (or, negative, taken away).
fn proportion(deployment: &Deployment, work: &Work, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(deployment, work);
    let left = to_add - added;
    if to_add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

fn fraction(deployment: &Deployment, work: &Work) -> i32 {
    if wanted(deployment) == 0 {
        return -work.replicas;
    }
    let maximum = f64::from(wanted(deployment).saturating_add(max_surge(deployment)));
    let status = deployment
        .status
        .as_ref()
        .and_then(|status| status.replicas);
    let before = revision::count(&work.set, revision::MAXIMUM)
        .filter(|before| *before != 0)
        .or(status);
    match before {
        None | Some(0) => 0,
        Some(before) => {
            let size = f64::from(work.replicas) * maximum / f64::from(before);
            size.round() as i32 - work.replicas
        }
    }
}
