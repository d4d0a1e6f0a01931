//! Keeps volumes of files up to date: one task per pod that has any, woken by changes of the
//! objects, of the pod, and when a token has lived four fifths of its life.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use client::Informer;
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    File, Payload, VolumeError, atomic,
    awaited::{Follow, follow},
    blocking, downward, payload,
    projected::{self, Part, Source, Token},
};
use crate::{
    agent::Agent,
    pods::{fields::Surroundings, view::PodView},
};

/// How long the first sight of an object may take.
const SYNC: Duration = Duration::from_secs(10);
/// Tokens are renewed at least this often.
const LONGEST: u64 = 24 * 3600;
/// Wait after a renewal that failed.
const RETRY: Duration = Duration::from_secs(15);

/// A volume of files with what it is made from.
pub struct Live {
    source: Source,
    dir: PathBuf,
    config_maps: BTreeMap<String, Informer<ConfigMap>>,
    secrets: BTreeMap<String, Informer<Secret>>,
    namespace: String,
    tokens: BTreeMap<usize, (Token, Instant)>,
}

impl Live {
    /// Writes the volume for the first time.
    pub async fn mount(
        agent: &Arc<Agent>,
        pod: &PodView,
        source: Source,
        dir: PathBuf,
    ) -> Result<Self, VolumeError> {
        let informers = &agent.context.informers;
        let namespace = pod.namespace().to_owned();
        let mut live = Self {
            config_maps: source
                .config_maps()
                .into_iter()
                .map(|name| (name.to_owned(), informers.one(&namespace, name)))
                .collect(),
            secrets: source
                .secrets()
                .into_iter()
                .map(|name| (name.to_owned(), informers.one(&namespace, name)))
                .collect(),
            source,
            dir,
            namespace,
            tokens: BTreeMap::new(),
        };
        let synced = async {
            for informer in live.config_maps.values() {
                informer.synced().await;
            }
            for informer in live.secrets.values() {
                informer.synced().await;
            }
        };
        if timeout(SYNC, synced).await.is_err() {
            let kind = if live.secrets.is_empty() {
                "configmap"
            } else {
                "secret"
            };
            return Err(VolumeError::Api(format!(
                "failed to sync {kind} cache: timed out waiting for the condition"
            )));
        }
        live.write(agent, pod).await?;
        Ok(live)
    }

    async fn write(&mut self, agent: &Arc<Agent>, pod: &PodView) -> Result<(), VolumeError> {
        self.renew_tokens(agent, pod).await?;
        let payload = self.payload(pod, &agent.surroundings(pod))?;
        let group = pod
            .spec()
            .security_context
            .as_ref()
            .and_then(|s| s.fs_group);
        let dir = self.dir.clone();
        let version = agent.now().as_nanosecond().to_string();
        blocking(move || atomic::write(&dir, &payload, group, &version).map(|_| ())).await
    }

    async fn renew_tokens(&mut self, agent: &Arc<Agent>, pod: &PodView) -> Result<(), VolumeError> {
        for (index, part) in self.source.parts.iter().enumerate() {
            let Part::Token(part) = part else { continue };
            let due = self
                .tokens
                .get(&index)
                .is_none_or(|(_, at)| *at <= Instant::now());
            if due {
                let token = projected::request_token(agent, pod, part).await?;
                let life = u64::try_from(token.lifetime).unwrap_or(0);
                let renew = Duration::from_secs((life * 4 / 5).clamp(1, LONGEST));
                self.tokens.insert(index, (token, Instant::now() + renew));
            }
        }
        Ok(())
    }

    fn payload(&self, pod: &PodView, around: &Surroundings) -> Result<Payload, VolumeError> {
        let default_mode = payload::mode(self.source.default_mode, 0o644);
        let mut out = Payload::new();
        for (index, part) in self.source.parts.iter().enumerate() {
            let files = match part {
                Part::ConfigMap(p) => {
                    let optional = p.optional == Some(true);
                    let object = self
                        .config_maps
                        .get(&p.name)
                        .and_then(|i| i.store().get(&self.namespace, &p.name));
                    match object {
                        Some(object) => payload::config_map(
                            &object,
                            p.items.as_deref(),
                            default_mode,
                            optional,
                        )?,
                        None if optional => Payload::new(),
                        None => return Err(projected::not_found("configmap", &p.name)),
                    }
                }
                Part::Secret(p) => {
                    let optional = p.optional == Some(true);
                    let object = self
                        .secrets
                        .get(&p.name)
                        .and_then(|i| i.store().get(&self.namespace, &p.name));
                    match object {
                        Some(object) => {
                            payload::secret(&object, p.items.as_deref(), default_mode, optional)?
                        }
                        None if optional => Payload::new(),
                        None => return Err(projected::not_found("secret", &p.name)),
                    }
                }
                Part::Downward(items) => downward::files(pod, around, items, default_mode)?,
                Part::Token(p) => {
                    let Some((token, _)) = self.tokens.get(&index) else {
                        continue;
                    };
                    let (mode, uid) = token_access(pod, default_mode);
                    let file = File {
                        data: token.text.clone().into_bytes(),
                        mode,
                        uid,
                    };
                    [(payload::checked(&p.path)?, file)].into()
                }
            };
            out.extend(files);
        }
        Ok(out)
    }

    fn next_renewal(&self) -> Option<Instant> {
        self.tokens.values().map(|(_, at)| *at).min()
    }
}

/// Mode and owner of a token file: as narrow as the pod's users allow.
fn token_access(pod: &PodView, default_mode: u32) -> (u32, Option<u32>) {
    let security = pod.spec().security_context.as_ref();
    if security.is_some_and(|s| s.fs_group.is_some()) {
        return (0o600, None);
    }
    let default_user = security.and_then(|s| s.run_as_user);
    let mut users = pod.all().map(|(c, _)| {
        c.security_context
            .as_ref()
            .and_then(|s| s.run_as_user)
            .or(default_user)
    });
    let first = users.next().flatten();
    match first.and_then(|user| u32::try_from(user).ok()) {
        Some(user) if users.all(|other| other == first) => (0o600, Some(user)),
        _ => (default_mode, None),
    }
}

/// The task that keeps a pod's volumes up to date; ends when dropped.
#[derive(Debug)]
pub struct Refresher {
    task: AbortHandle,
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Refresher {
    /// Starts it.
    pub fn start(agent: Arc<Agent>, volumes: Vec<Live>, updates: watch::Receiver<PodView>) -> Self {
        let task = tokio::spawn(run(agent, volumes, updates)).abort_handle();
        Self { task }
    }
}

async fn run(agent: Arc<Agent>, mut volumes: Vec<Live>, mut updates: watch::Receiver<PodView>) {
    let mut changes = FuturesUnordered::new();
    for (index, live) in volumes.iter().enumerate() {
        for informer in live.config_maps.values() {
            let object: Box<dyn Follow> = Box::new(informer.subscribe());
            changes.push(follow(index, object));
        }
        for informer in live.secrets.values() {
            let object: Box<dyn Follow> = Box::new(informer.subscribe());
            changes.push(follow(index, object));
        }
    }
    let follows_pod = volumes.iter().any(|live| live.source.follows_pod());
    let mut renewal: Option<Instant> = volumes.iter().filter_map(Live::next_renewal).min();
    loop {
        let at = renewal.unwrap_or_else(Instant::now);
        let dirty: Vec<usize> = tokio::select! {
            Some((index, object)) = changes.next() => {
                changes.push(follow(index, object));
                vec![index]
            }
            changed = updates.changed(), if follows_pod => {
                if changed.is_err() {
                    return;
                }
                (0..volumes.len()).filter(|i| volumes[*i].source.follows_pod()).collect()
            }
            () = sleep_until(at), if renewal.is_some() => {
                let now = Instant::now();
                (0..volumes.len())
                    .filter(|i| volumes[*i].next_renewal().is_some_and(|at| at <= now))
                    .collect()
            }
            else => return,
        };
        let pod = updates.borrow().clone();
        let mut failed = false;
        for index in dirty {
            let live = &mut volumes[index];
            if let Err(error) = live.write(&agent, &pod).await {
                failed = true;
                let (pod_name, dir) = (pod.full_name(), live.dir.display());
                // A namespace that goes takes the pod's objects before the pod: no trouble.
                match error {
                    _ if pod.deletion().is_some() => {
                        tracing::debug!(pod = %pod_name, %dir, %error, "volume keeps its old content");
                    }
                    VolumeError::Object(_) => {
                        tracing::info!(pod = %pod_name, %dir, %error, "volume keeps its old content");
                    }
                    _ => {
                        tracing::warn!(pod = %pod_name, %dir, %error, "volume keeps its old content");
                    }
                }
            }
        }
        renewal = volumes.iter().filter_map(Live::next_renewal).min();
        if failed && let Some(at) = renewal.as_mut() {
            *at = (*at).max(Instant::now() + RETRY);
        }
    }
}
