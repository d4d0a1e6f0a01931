//! Leader election by Lease, with upstream's semantics: whoever holds the Lease renews it every
//! `retry`; others watch their own clocks, and take it over once they have seen it unrenewed for
//! `lease`. A leader that could not renew for `renew_deadline` stops leading before others start.
//! Clocks of different machines are never compared.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::fence::Fence;
use crate::metrics::Metrics;
use crate::random::Random;

/// Who stands for which Lease.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Lease's namespace: `kube-system`.
    pub namespace: String,
    /// The Lease's name: `kube-controller-manager`.
    pub name: String,
    /// Differs between candidates.
    pub identity: String,
    /// How long others wait after the last renewal they saw.
    pub lease: Duration,
    /// How long a leader goes on without a renewal.
    pub renew_deadline: Duration,
    /// Between tries.
    pub retry: Duration,
}

impl Config {
    /// Upstream's times: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// How long a holder may be silent.
    fn their_lease(&self, held: &LeaseSpec) -> Duration {
        held.lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.lease, Duration::from_secs)
    }
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the caller's shutdown; the Lease was given back.
    Shutdown,
    /// The Lease could not be renewed in time, or someone else holds it.
    Lost,
    /// The work given to the leader returned by itself; the Lease was given back.
    Finished,
}

/// A candidate.
pub struct LeaderElector {
    config: Config,
    leases: Api<Lease>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    metrics: Metrics,
    fence: Fence,
}

/// What a candidate last saw of the Lease, and when by its own clock.
struct Observed {
    spec: LeaseSpec,
    at: Instant,
}

/// What a look at the Lease comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Someone else holds it; wait.
    Held,
    /// Write this spec: it renews or takes over.
    Write(LeaseSpec),
}

/// Decides over a Lease: `unrenewed_for` is how long this candidate has seen it unchanged.
pub fn claim(
    config: &Config,
    current: &LeaseSpec,
    unrenewed_for: Duration,
    now: Timestamp,
) -> Claim {
    let holder = current.holder_identity.as_deref().unwrap_or_default();
    let mine = holder == config.identity;
    if !mine && !holder.is_empty() && unrenewed_for < config.their_lease(current) {
        return Claim::Held;
    }
    let (acquired, transitions) = if mine {
        (current.acquire_time.clone(), current.lease_transitions)
    } else {
        let taken_over = current
            .lease_transitions
            .unwrap_or_default()
            .saturating_add(1);
        (None, Some(taken_over))
    };
    Claim::Write(LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(i32::try_from(config.lease.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: transitions.or(Some(0)),
        ..current.clone()
    })
}

impl LeaderElector {
    /// A candidate that reaches the Lease through this client, which is not behind the fence itself.
    pub fn new(
        config: Config,
        client: kube::Client,
        fence: Fence,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        metrics: Metrics,
    ) -> Self {
        let leases = Api::namespaced(client, &config.namespace);
        Self {
            config,
            leases,
            clock,
            random,
            metrics,
            fence,
        }
    }

    /// Waits for the Lease, then runs `lead` with a token that is cancelled when the term ends. After a
    /// shutdown it returns when `lead` has. When the Lease is lost it drops what `lead` is doing:
    /// somebody else is about to begin. A process that lost should exit or stand again with fresh
    /// state.
    pub fn run<'a, F, Fut>(&'a self, shutdown: CancellationToken, lead: F) -> BoxFuture<'a, Ended>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'a,
        Fut: Future<Output = ()> + Send + 'a,
    {
        self.stand(shutdown, Box::new(|term| lead(term).boxed()))
    }

    /// [`Self::run`] without type parameters, so that it is translated here.
    fn stand<'a>(
        &'a self,
        shutdown: CancellationToken,
        lead: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'a, ()> + Send + 'a>,
    ) -> BoxFuture<'a, Ended> {
        async move {
        let mut observed = None;
        let pace = Backoff {
            initial: self.config.retry,
            max: self.config.retry,
            factor: 1.0,
            jitter: 1.2,
        };
        while !self.try_hold(&mut observed).await {
            let pause = pace.delay(0, &*self.random);
            // Not later than the Lease runs out.
            let pause = self.left(observed.as_ref()).map_or(pause, |left| pause.min(left));
            tokio::select! {
                () = shutdown.cancelled() => return Ended::Shutdown,
                () = tokio::time::sleep(pause) => {}
            }
        }
        info!(
            lease = self.config.name,
            identity = self.config.identity,
            "leading"
        );
        let leading = self.metrics.leading(&self.config.name);
        leading.set(1);
        let term = CancellationToken::new();
        let mut work = std::pin::pin!(lead(term.clone()));
        let mut renewed = Instant::now();
        let ended = loop {
            tokio::select! {
                () = &mut work => {
                    self.fence.close();
                    self.release().await;
                    leading.set(0);
                    return Ended::Finished;
                }
                () = shutdown.cancelled() => break Ended::Shutdown,
                () = tokio::time::sleep(self.config.retry) => {
                    let tried = tokio::time::timeout(self.config.renew_deadline, self.try_hold(&mut observed));
                    if tried.await.unwrap_or(false) {
                        renewed = Instant::now();
                    } else if self.taken(observed.as_ref()) || renewed.elapsed() >= self.config.renew_deadline {
                        warn!(lease = self.config.name, "no longer leading");
                        break Ended::Lost;
                    }
                }
            }
        };
        leading.set(0);
        if ended == Ended::Lost {
            self.fence.close();
        }
        term.cancel();
        if ended == Ended::Shutdown {
            work.await;
            self.fence.close();
            self.release().await;
        }
        ended
            }
        .boxed()
    }

    /// How long somebody else's Lease still runs, as far as this candidate has seen; none once it is
    /// over.
    fn left(&self, observed: Option<&Observed>) -> Option<Duration> {
        let seen = observed?;
        let left = self
            .config
            .their_lease(&seen.spec)
            .checked_sub(seen.at.elapsed());
        left.filter(|left| !left.is_zero())
    }

    fn taken(&self, observed: Option<&Observed>) -> bool {
        observed.is_some_and(|seen| {
            let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
            !holder.is_empty() && holder != self.config.identity
        })
    }

    /// Takes or renews the Lease; false when someone else holds it or the API did not answer.
    async fn try_hold(&self, observed: &mut Option<Observed>) -> bool {
        let began = Instant::now();
        match self.hold(observed).await {
            Ok(held) => {
                if held {
                    self.fence.open(began + self.config.renew_deadline);
                }
                held
            }
            Err(failure) => {
                debug!(lease = self.config.name, "lease: {failure}");
                false
            }
        }
    }

    async fn hold(&self, observed: &mut Option<Observed>) -> Result<bool, kube::Error> {
        let now = self.clock.now();
        let Some(mut lease) = self.leases.get_opt(&self.config.name).await? else {
            let Claim::Write(spec) = claim(&self.config, &LeaseSpec::default(), Duration::MAX, now)
            else {
                return Ok(false);
            };
            let spec = LeaseSpec {
                lease_transitions: Some(0),
                ..spec
            };
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.config.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec.clone()),
            };
            self.leases.create(&PostParams::default(), &lease).await?;
            *observed = Some(Observed {
                spec,
                at: Instant::now(),
            });
            return Ok(true);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let seen = match observed {
            Some(seen) if seen.spec == spec => seen.at,
            _ => {
                observed
                    .insert(Observed {
                        spec: spec.clone(),
                        at: Instant::now(),
                    })
                    .at
            }
        };
        let Claim::Write(spec) = claim(&self.config, &spec, seen.elapsed(), now) else {
            return Ok(false);
        };
        lease.spec = Some(spec.clone());
        // The resourceVersion in it makes the write fail if anybody was faster.
        self.leases
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await?;
        *observed = Some(Observed {
            spec,
            at: Instant::now(),
        });
        Ok(true)
    }

    /// Gives the Lease back, so that the next candidate need not wait. Failing that is no harm.
    async fn release(&self) {
        let released = async {
            let Some(mut lease) = self.leases.get_opt(&self.config.name).await? else {
                return Ok(());
            };
            let Some(spec) = &mut lease.spec else {
                return Ok(());
            };
            if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
                return Ok(());
            }
            let now = MicroTime(self.clock.now());
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(now.clone());
            spec.acquire_time = Some(now);
            self.leases
                .replace(&self.config.name, &PostParams::default(), &lease)
                .await
                .map(drop)
        };
        let result: Result<Result<(), kube::Error>, _> =
            tokio::time::timeout(self.config.retry, released).await;
        if let Ok(Err(failure)) = result {
            debug!(lease = self.config.name, "lease not given back: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_when_free_or_seen_unrenewed() {
        let config = Config::new("kube-system", "x", "me");
        let now = Timestamp::from_second(1_000).unwrap();
        let held = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::from_second(5).unwrap())),
            ..LeaseSpec::default()
        };
        let transitions = |claim: Claim| match claim {
            Claim::Held => None,
            Claim::Write(spec) => Some((
                spec.lease_transitions,
                spec.acquire_time.map(|at| at.0.as_second()),
            )),
        };
        let cases = [
            ("other, fresh", held("other"), 14, None),
            (
                "other, silent",
                held("other"),
                15,
                Some((Some(4), Some(1_000))),
            ),
            ("mine, renewed", held("me"), 0, Some((Some(3), Some(5)))),
            ("given back", held(""), 0, Some((Some(4), Some(1_000)))),
        ];
        for (name, spec, seconds, expected) in cases {
            let claim = claim(&config, &spec, Duration::from_secs(seconds), now);
            assert_eq!(transitions(claim), expected, "{name}");
        }
    }
}
