//! Audit: who did what with which outcome, as events of `audit.k8s.io/v1`.
//!
//! ```text
//! request ─▶ policy (which level?) ─▶ trail (what is known so far) ─▶ log (lines in a file)
//! ```
//!
//! Without a policy everything is told of at level `Metadata`. A request never waits for the disk: at
//! the bound of what waits for it, further events are counted and left out.

mod log;
mod object;
pub mod policy;
mod trail;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::clock::Clock;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::authorization::Attributes;
use log::Log;
use policy::{Level, Policy, PolicyError, Stage};
pub use trail::{Source, Trail};

/// What the server is told of its audit log.
#[derive(Clone, Debug, Default)]
pub struct AuditConfig {
    /// An `audit.k8s.io/v1 Policy`.
    pub policy_file: Option<PathBuf>,
    /// File that events are appended to; `-` is standard output. Without one nothing is recorded.
    pub log_path: Option<PathBuf>,
    /// The file is put aside before it grows beyond so many megabytes; 0 means 100.
    pub max_size: u64,
    /// So many files that were put aside are kept; 0 means all.
    pub max_backups: usize,
    /// Files that were put aside are kept for so many days; 0 means for ever.
    pub max_age: u32,
}

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file of events cannot be opened.
    #[error("open the audit log {path}: {source}")]
    Log {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy cannot be read.
    #[error("read the audit policy {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy is no policy.
    #[error("audit policy {path}: {source}")]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

/// What audit counts.
#[derive(Clone, Default)]
pub struct Counts {
    events: Counter,
    lost: Counter,
    levels: Family<LevelLabels, Counter>,
}

impl Counts {
    /// Shows the counts at /metrics.
    pub fn register(&self, registry: &mut Registry) {
        let events = "Audit events given to the log";
        registry.register("apiserver_audit_event", events, self.events.clone());
        let lost = "Audit events left out: the disk was full or too slow";
        registry.register("apiserver_audit_error", lost, self.lost.clone());
        let levels = "Requests by the level that the audit policy gives them";
        registry.register("apiserver_audit_level", levels, self.levels.clone());
    }
}

/// The audit log with its policy.
pub struct Audit {
    log: Option<Arc<Log>>,
    policy: Policy,
    counts: Counts,
    clock: Arc<dyn Clock>,
}

/// Notes about one request, for its event.
#[derive(Default)]
pub struct Annotations(Mutex<BTreeMap<String, String>>);

/// Notes about one request; further ones are left out.
const MAX_ANNOTATIONS: usize = 100;

impl Annotations {
    /// Adds a note; the first under a key stays.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        let mut notes = self.0.lock();
        if notes.len() < MAX_ANNOTATIONS {
            notes.entry(key.into()).or_insert_with(|| value.into());
        }
    }
}

fn read_policy(path: &Path) -> Result<Policy, AuditError> {
    let text = std::fs::read(path).map_err(|source| AuditError::Read {
        path: path.to_owned(),
        source,
    })?;
    Policy::parse(&text).map_err(|source| AuditError::Policy {
        path: path.to_owned(),
        source,
    })
}

impl Audit {
    /// Reads the policy and opens the log.
    pub fn open(
        config: &AuditConfig,
        clock: Arc<dyn Clock>,
        counts: Counts,
    ) -> Result<Audit, AuditError> {
        let policy = match &config.policy_file {
            Some(path) => read_policy(path)?,
            None => Policy::metadata(),
        };
        let log = config.log_path.as_ref().map(|path| {
            let opened = Log::open(path, config, clock.clone(), counts.lost.clone());
            opened.map(Arc::new).map_err(|source| AuditError::Log {
                path: path.clone(),
                source,
            })
        });
        Ok(Audit {
            log: log.transpose()?,
            policy,
            counts,
            clock,
        })
    }

    /// Is anything recorded?
    pub fn enabled(&self) -> bool {
        self.log.is_some()
    }

    /// What is to be told of a request: nothing, or a trail, which is told of its beginning.
    /// `attributes` are those of who really asks; none when nobody proved to be anybody.
    pub fn begin(
        &self,
        attributes: Option<&Attributes<'_>>,
        source: Source<'_>,
        annotations: &Arc<Annotations>,
    ) -> Option<Arc<Trail>> {
        let log = self.log.as_ref()?;
        let ruling = self.policy.judge(attributes, source.info);
        let labels = LevelLabels {
            level: ruling.level.name(),
        };
        self.counts.levels.get_or_create(&labels).inc();
        if ruling.level == Level::None {
            return None;
        }
        let trail = Trail::new(
            log.clone(),
            self.counts.events.clone(),
            self.clock.clone(),
            ruling,
            attributes.map(|a| a.user),
            source,
            annotations.clone(),
        );
        if attributes.is_some() {
            trail.tell(Stage::RequestReceived);
        }
        Some(Arc::new(trail))
    }

    /// Waits until what was recorded so far is in the file, for a bounded time.
    pub async fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush().await;
        }
    }
}
